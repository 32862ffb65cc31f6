"""Single-task image sources: uint8 images and labels, from files already there or a checked download."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.datasets import MNIST

from src.utils.errors import UserError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

DATA_VARIABLE = "MDMTN_DATA"


@dataclass(frozen=True)
class Source:
    """Images of one classification task.

    Attributes:
        x_train, x_test: uint8, shape (N, H, W) or (N, H, W, 3).
        y_train, y_test: class numbers, shape (N,).
        checksum: SHA-256 of all four arrays, the identity of the data.
    """

    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    checksum: str


def data_folder(data_dir: str | None) -> Path:
    """The data folder: the argument, else ``$MDMTN_DATA``, else ``Data/`` in the project."""
    default = Path(__file__).resolve().parent.parent / "Data"
    return Path(data_dir or os.environ.get(DATA_VARIABLE) or default)


def load_mnist(folder: Path) -> Source:
    """MNIST through torchvision: the IDX files in ``folder/MNIST/raw``, downloaded there if they are missing.

    Raises:
        UserError: if the files are missing and cannot be downloaded, or are damaged.
    """
    if not _mnist_files_present(folder):
        _download("MNIST", folder, lambda: MNIST(str(folder), train=True, download=True))
    try:
        parts = [MNIST(str(folder), train=train) for train in (True, False)]
        arrays = [array for part in parts for array in (part.data.numpy(), part.targets.numpy())]
    except (RuntimeError, ValueError, AssertionError, OSError, EOFError, IndexError) as error:
        raise UserError(
            f"the MNIST files in {folder / 'MNIST' / 'raw'} are damaged ({_first_line(error)}): "
            "delete that folder and run again"
        ) from error
    return make_source("MNIST", *arrays)


def load_digits_source() -> Source:
    """The 1,797 digits of 8x8 pixels that scikit-learn carries, enlarged to 28x28: no download.

    A fixed random choice of 397 is the test set, so that training and test digits are of the same writers.
    """
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), values 0..16 -> 0..255
    large = np.stack(
        [np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BICUBIC)) for image in images]
    )
    labels = digits.target.astype(np.int64)
    train, test = np.split(np.random.default_rng(0).permutation(len(labels)), [1400])
    return make_source("digits", large[train], labels[train], large[test], labels[test])


def make_source(name: str, x_train: Images, y_train: Labels, x_test: Images, y_test: Labels) -> Source:
    """Check shapes and put the checksum beside the arrays.

    Raises:
        UserError: if images and labels differ in number or there are none.
    """
    for split, images, labels in (("training", x_train, y_train), ("test", x_test, y_test)):
        if len(images) != len(labels) or not len(images):
            raise UserError(f"{name}: {len(images)} {split} images but {len(labels)} labels: the files are damaged")
    y_train, y_test = y_train.astype(np.int64), y_test.astype(np.int64)
    digest = hashlib.sha256()
    for array in (x_train, y_train, x_test, y_test):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return Source(x_train, y_train, x_test, y_test, digest.hexdigest())


def _mnist_files_present(folder: Path) -> bool:
    raw = folder / "MNIST" / "raw"
    stems = [f"{split}-{kind}" for split in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    return all((raw / stem).is_file() for stem in stems)


def _download(name: str, folder: Path, download: Callable[[], object]) -> None:
    """Run a torchvision download (it checks the files' checksums) and put a failure in one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        download()
    except PermissionError as error:
        raise UserError(f"cannot write the data folder {folder}: choose another with --data-dir") from error
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{name} is not in {folder} and cannot be downloaded ({_first_line(error)}): "
            f"put its files there, or name their folder with --data-dir or ${DATA_VARIABLE}"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
