"""MultiMNIST: two digits in one image, the left one at the top, the right one at the bottom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from Data_loaders.datasets import MultiTaskDataset, cached_arrays
from Data_loaders.sources import DIGIT_CLASSES, Images, Labels, Source, load_digits_source, load_mnist, resized

SIZE, CANVAS, OFFSET = 28, 36, 6
TASK_NAMES = ("left digit", "right digit")
MEAN, STD = (0.1307,), (0.3081,)
DEMO_PARTNERS = 4


def overlay(left: Images, right: Images) -> Images:
    """Compose pairs of digits.

    The left digit goes to the top left corner of a 36x36 canvas, the right one 6 pixels down and to the right;
    where they overlap the brighter pixel wins; the canvas is resized to 28x28, bilinear with anti-aliasing.

    Args:
        left, right: uint8, shape (N, 28, 28). Returns the same shape and type.
    """
    canvas = np.zeros((len(left), CANVAS, CANVAS), dtype=np.uint8)
    canvas[:, :SIZE, :SIZE] = left
    corner = canvas[:, OFFSET : OFFSET + SIZE, OFFSET : OFFSET + SIZE]
    np.maximum(corner, right, out=corner)
    return resized(canvas, SIZE)


def compose(x: Images, y: Labels, rng: np.random.Generator, partners: int = 1) -> tuple[Images, Labels]:
    """Pair every digit, as the left one, with random digits of the same set.

    Args:
        x: digits, shape (N, 28, 28).
        y: their classes, shape (N,).
        rng: draws the partners, with replacement.
        partners: how many images are made of every left digit.

    Returns:
        Images, shape (N * partners, 28, 28), and labels, shape (N * partners, 2): left, right.
    """
    left = np.tile(np.arange(len(x)), partners)
    right = rng.integers(len(x), size=len(left))
    return overlay(x[left], x[right]), np.stack([y[left], y[right]], axis=1)


def load_multimnist(folder: Path, seed: int, warn: Callable[[str], None]) -> MultiTaskDataset:
    """MultiMNIST: 60,000 training and 10,000 test images, cached in ``folder/MultiMNIST``.

    Args:
        folder: data folder with MNIST in it (or where it is downloaded to).
        seed: of the partner digits; test partners come from a stream of their own.
        warn: told when the cache cannot be written.
    """
    source = load_mnist(folder)
    recipe = {"name": "MultiMnist", "seed": seed, "partners": 1, "source": source.checksum}
    path = folder / "MultiMnist" / f"multimnist_seed{seed}.npz"
    return _dataset("MultiMnist", cached_arrays(path, recipe, lambda: _compose_source(source, seed, 1), warn))


def load_multidigits(folder: Path, seed: int, warn: Callable[[str], None]) -> MultiTaskDataset:
    """The demonstration: MultiMNIST made from the bundled digits; nothing is read from or written to ``folder``."""
    source = load_digits_source()
    return _dataset("MultiDigits", _compose_source(source, seed, DEMO_PARTNERS))


def _compose_source(source: Source, seed: int, partners: int) -> dict[str, np.ndarray]:
    train_rng, test_rng = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    x_train, y_train = compose(source.x_train, source.y_train, train_rng, partners)
    x_test, y_test = compose(source.x_test, source.y_test, test_rng)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _dataset(name: str, arrays: Mapping[str, np.ndarray]) -> MultiTaskDataset:
    x_train, y_train, x_test, y_test = (arrays[split] for split in ("x_train", "y_train", "x_test", "y_test"))
    classes = (DIGIT_CLASSES, DIGIT_CLASSES)
    return MultiTaskDataset(name, TASK_NAMES, classes, x_train, y_train, x_test, y_test, MEAN, STD)
