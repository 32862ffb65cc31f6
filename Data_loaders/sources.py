"""Single-task image sources: uint8 images and labels, from files already there or a checked download.

What reads the files is imported where it is called: torchvision and scikit-learn take long to start.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from src.utils.errors import UserError
from src.utils.files import read_npz

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

DATA_VARIABLE = "MDMTN_DATA"
DIGIT_CLASSES = tuple(str(digit) for digit in range(10))
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PHOTOGRAPH_CLASSES = ("China", "flower")

CROP, STRIPE = 32, 64
TEST_STRIPES = (2, 7)  # of 10: inner ones, so that they show what the photographs show


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
    from torchvision.datasets import MNIST

    raw = folder / "MNIST" / "raw"
    if not _mnist_files_present(folder):
        _download("MNIST", folder, lambda: MNIST(str(folder), train=True, download=True))
    parts = [
        _read_idx(raw / f"{split}-{kind}-ubyte")
        for split in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    for images, labels in (parts[:2], parts[2:]):
        if images.shape[1:] != (28, 28) or images.dtype != np.uint8:
            raise UserError(
                f"the MNIST images in {raw} are {images.dtype} of shape {images.shape}; allowed: uint8, (N, 28, 28)"
            )
        if labels.ndim != 1 or (len(labels) and not 0 <= labels.min() <= labels.max() < len(DIGIT_CLASSES)):
            raise UserError(f"the MNIST labels in {raw} have shape {labels.shape}; allowed: (N,), from 0 to 9")
    return make_source("MNIST", *parts)


def _read_idx(path: Path) -> np.ndarray:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    try:
        read = read_image_file if "images" in path.name else read_label_file
        return np.asarray(read(str(path)).numpy())
    except (RuntimeError, ValueError, TypeError, LookupError, AssertionError, OSError, EOFError) as error:
        raise UserError(
            f"{path} is damaged ({_first_line(error)}): put the original file there, or see --data-dir"
        ) from error


def load_cifar10(folder: Path) -> Source:
    """CIFAR-10 from ``folder/cifar10.npz`` if there is one, else through torchvision, downloaded if it is missing.

    The ``.npz`` file holds x_train and x_test, uint8, shape (N, 32, 32, 3), and y_train and y_test, whole numbers from
    0 to 9, shape (N,) or (N, 1). torchvision reads its own files in ``folder/cifar-10-batches-py``.

    Raises:
        UserError: if the files are missing and cannot be downloaded, or are damaged.
    """
    path = folder / "cifar10.npz"
    return _read_cifar10(path) if path.exists() else _torchvision_cifar10(folder)


def load_photographs_source(train: int, test: int, seed: int) -> Source:
    """Random crops of the two photographs that scikit-learn carries, 32x32 pixels in colour: no download.

    The photographs, 427 x 640 pixels, are cut into ten upright stripes of 64 pixels. Every crop lies inside one stripe:
    test crops in the stripes 2 and 7 (from 0), training crops in the others, so that no pixel is in both.

    Args:
        train, test: numbers of crops.
        seed: of which photograph each crop is from, and where.

    Returns:
        The crops; their class is the number of the photograph in PHOTOGRAPH_CLASSES.
    """
    from sklearn.datasets import load_sample_images

    photographs = np.stack(load_sample_images().images)  # (2, 427, 640, 3)
    stripes = np.arange(photographs.shape[2] // STRIPE)
    for_test = np.isin(stripes, TEST_STRIPES)
    parts = [
        _crops(photographs, chosen, count, np.random.default_rng([seed, stream]))
        for stream, (chosen, count) in enumerate(((stripes[~for_test], train), (stripes[for_test], test)))
    ]
    return make_source("photographs", *parts[0], *parts[1])


def _crops(
    photographs: Images, stripes: NDArray[np.int64], count: int, rng: np.random.Generator
) -> tuple[Images, Labels]:
    """Crops, shape (count, 32, 32, 3), that lie inside one of the stripes, and the number of their photograph."""
    labels = rng.integers(len(photographs), size=count)
    top = rng.integers(photographs.shape[1] - CROP + 1, size=count)
    left = STRIPE * rng.choice(stripes, size=count) + rng.integers(STRIPE - CROP + 1, size=count)
    side = np.arange(CROP)
    rows, columns = top[:, None, None] + side[:, None], left[:, None, None] + side  # (count, 32, 1), (count, 1, 32)
    return photographs[labels[:, None, None], rows, columns], labels


def load_digits_source() -> Source:
    """The 1,797 digits of 8x8 pixels that scikit-learn carries, enlarged to 28x28: no download.

    A fixed random choice of 397 is the test set, so that training and test digits are of the same writers.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), values 0..16 -> 0..255
    large = np.stack(
        [np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BICUBIC)) for image in images]
    )
    labels = digits.target.astype(np.int64)
    train, test = np.split(np.random.default_rng(0).permutation(len(labels)), [1400])
    return make_source("digits", large[train], labels[train], large[test], labels[test])


def resized(images: Images, side: int) -> Images:
    """Grey images of another size, bilinear, with anti-aliasing where they shrink.

    Computed in whole numbers, as Pillow does it, and so the same on every machine.

    Args:
        images: shape (N, H, W).
        side: of the images returned, shape (N, side, side).
    """
    batch = torch.from_numpy(images).unsqueeze(1)
    found: Images = functional.interpolate(batch, (side, side), mode="bilinear", antialias=True).squeeze(1).numpy()
    return found


def make_source(name: str, x_train: Images, y_train: Labels, x_test: Images, y_test: Labels) -> Source:
    """Check shapes and put the checksum beside the arrays.

    Raises:
        UserError: if images and labels differ in number or there are none.
    """
    for split, images, labels in (("training", x_train, y_train), ("test", x_test, y_test)):
        if len(images) != len(labels) or not len(images):
            raise UserError(f"{name}: {len(images)} {split} images but {len(labels)} labels: the files are damaged")
    y_train, y_test = y_train.astype(np.int64), y_test.astype(np.int64)
    return Source(x_train, y_train, x_test, y_test, checksum(x_train, y_train, x_test, y_test))


def checksum(*arrays: NDArray[Any]) -> str:
    """SHA-256 of arrays: of their types, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read_cifar10(path: Path) -> Source:
    arrays = read_npz(path)
    return make_source(str(path), *_cifar10_part(path, arrays, "train"), *_cifar10_part(path, arrays, "test"))


def _cifar10_part(path: Path, arrays: Mapping[str, np.ndarray], split: str) -> tuple[Images, Labels]:
    """The checked images and labels of one split."""
    missing = [name for name in (f"x_{split}", f"y_{split}") if name not in arrays]
    if missing:
        raise UserError(f"{path} has no array {missing[0]}; wanted: x_train, y_train, x_test, y_test")
    x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
    if x.dtype != np.uint8 or x.shape[1:] != (32, 32, 3):
        raise UserError(f"{path}: x_{split} is {x.dtype} of shape {x.shape}; allowed: uint8 of shape (N, 32, 32, 3)")
    if y.dtype.kind not in "iu" or y.shape not in ((len(x),), (len(x), 1)):
        raise UserError(
            f"{path}: y_{split} is {y.dtype} of shape {y.shape}; allowed: whole numbers of shape ({len(x)},)"
        )
    if len(y) and not (y.min() >= 0 and y.max() < len(CIFAR10_CLASSES)):
        raise UserError(f"{path}: y_{split} ranges from {y.min()} to {y.max()}; allowed: 0 to 9")
    return x, y.reshape(-1)


def _torchvision_cifar10(folder: Path) -> Source:
    from torchvision.datasets import CIFAR10

    files = folder / CIFAR10.base_folder
    if not files.is_dir():
        _download("CIFAR-10", folder, lambda: CIFAR10(str(folder), download=True))
    try:
        parts = [CIFAR10(str(folder), train=train) for train in (True, False)]  # compares the files' checksums
        arrays = [array for part in parts for array in (np.ascontiguousarray(part.data), np.array(part.targets))]
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"the CIFAR-10 files in {files} are damaged ({_first_line(error)}): put the original files there"
        ) from error
    return make_source("CIFAR-10", *arrays)


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
