"""Cifar10Mnist: a CIFAR-10 picture with a half transparent MNIST digit on it.

Run as a command, this composes the data set, keeps it in the data folder and draws ten samples of it:

    python Data_loaders/Create_Cifar10Mnist_dataset.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":  # a script finds the modules in its own folder, but these are named from the project's
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from Data_loaders.datasets import MultiTaskDataset, cached_arrays
from Data_loaders.sources import (
    CIFAR10_CLASSES,
    DIGIT_CLASSES,
    PHOTOGRAPH_CLASSES,
    Images,
    Labels,
    Source,
    load_cifar10,
    load_digits_source,
    load_mnist,
    load_photographs_source,
    resized,
)
from src.utils.errors import UserError

Progress = Callable[[int, int], None]

ROOT = Path(__file__).resolve().parent.parent
SIZE, OPACITY = 32, 128
CHUNK = 2_000  # images pasted at a time: 50 MB beside the result
ALIGNED, ALL = VARIANTS = (50_000, 60_000)
NAMES = {ALIGNED: "Cifar10Mnist", ALL: "Cifar10Mnist60k"}
VALIDATION_SIZE = 10_000
MAX_ROTATION = 20.0
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
DEMO_COPIES = 4


def paste(pictures: Images, digits: Images) -> Images:
    """Put a digit on every picture.

    The digit is resized to 32x32, bilinear. Where it is not black, the result is
    :math:`(127 \\cdot picture + 128 \\cdot digit) / 255`, rounded, in every channel; elsewhere it is the picture.

    Args:
        pictures: uint8, shape (N, 32, 32, 3). Returns the same shape and type.
        digits: uint8, shape (N, 28, 28).
    """
    grey = resized(digits, SIZE)[..., None]  # (N, 32, 32, 1)
    mixed = pictures * np.uint16(255 - OPACITY) + grey * np.uint16(OPACITY) + np.uint16(255 // 2)
    mixed //= 255
    return np.where(grey > 0, mixed.astype(np.uint8), pictures)


def compose(pictures: Images, digits: Images, pairs: Labels, progress: Callable[[int], None]) -> Images:
    """Paste digits on pictures, a chunk at a time.

    Args:
        pictures: uint8, shape (P, 32, 32, 3).
        digits: uint8, shape (D, 28, 28).
        pairs: number of the picture and number of the digit of every image, shape (N, 2).
        progress: told how many images are done.

    Returns:
        uint8, shape (N, 32, 32, 3).
    """
    composed = np.empty((len(pairs), SIZE, SIZE, 3), dtype=np.uint8)
    for start in range(0, len(pairs), CHUNK):
        picture, digit = pairs[start : start + CHUNK].T
        composed[start : start + CHUNK] = paste(pictures[picture], digits[digit])
        progress(min(start + CHUNK, len(pairs)))
    return composed


def aligned_pairs(pictures: int, digits: int) -> Labels:
    """Picture i with digit i, as long as there are both; shape (N, 2)."""
    number = np.arange(min(pictures, digits))
    return np.stack([number, number], axis=1)


def training_pairs(pictures: int, digits: int, variant: int, seed: int) -> Labels:
    """Which picture and which digit each training image is made of.

    Args:
        pictures, digits: how many there are; fewer than MNIST's and CIFAR-10's give fewer pairs.
        variant: 50,000 pairs digit i with picture i; 60,000 also pairs the digits left over with random pictures.
        seed: of those random pictures.

    Returns:
        Numbers of picture and digit, shape (N, 2).
    """
    aligned = aligned_pairs(min(pictures, ALIGNED), digits)
    left_over = np.arange(len(aligned), digits if variant == ALL else len(aligned))
    partners = np.random.default_rng(seed).integers(pictures, size=len(left_over))
    return np.concatenate([aligned, np.stack([partners, left_over], axis=1)])


def load_cifar10mnist(
    folder: Path,
    seed: int,
    warn: Callable[[str], None],
    variant: int = ALIGNED,
    progress: Progress = lambda done, total: None,
) -> MultiTaskDataset:
    """Cifar10Mnist: 50,000 (or 60,000) training and 10,000 test images, cached in ``folder/Cifar10Mnist``.

    Args:
        folder: data folder with MNIST and CIFAR-10 in it (or where they are downloaded to).
        seed: of the random pictures of the last 10,000 digits of the variant of 60,000; the other has nothing random.
        warn: told when the cache cannot be written.
        variant: number of training images, 50,000 or 60,000.
        progress: told while composing how many of how many images are done.

    Raises:
        UserError: for another variant, and for files that are missing or damaged.
    """
    if variant not in VARIANTS:
        raise UserError(f"variant is {variant}; allowed: {ALIGNED}, {ALL}")
    digits, pictures = load_mnist(folder), load_cifar10(folder)
    recipe = {"name": "Cifar10Mnist", "variant": variant, "pictures": pictures.checksum, "digits": digits.checksum}
    if variant == ALL:
        recipe["seed"] = seed

    train = training_pairs(len(pictures.x_train), len(digits.x_train), variant, seed)

    def work() -> dict[str, np.ndarray]:
        return _compose_sources(pictures, digits, train, progress)

    arrays = cached_arrays(cache_file(folder, seed, variant), recipe, work, warn)
    validation_size = min(VALIDATION_SIZE, len(arrays["x_train"]) // 5)  # fewer only of fewer images than MNIST's
    dataset = _dataset(NAMES[variant], ("CIFAR-10 class", "MNIST digit"), CIFAR10_CLASSES, arrays, validation_size)
    return dataset if variant == ALIGNED else replace(dataset, origins=train[:, 0])  # of 60,000 some share a picture


def load_colour_digits(folder: Path, seed: int, warn: Callable[[str], None]) -> MultiTaskDataset:
    """The demonstration: bundled digits on random crops of bundled photographs.

    Every digit for training is on four crops, every digit for testing on one, of other parts of the photographs.
    Nothing is read from or written to ``folder``.
    """
    digits = load_digits_source()
    train, test = DEMO_COPIES * len(digits.x_train), len(digits.x_test)
    crop = np.arange(train)
    pairs = np.stack([crop, crop % len(digits.x_train)], axis=1)
    arrays = _compose_sources(load_photographs_source(train, test, seed), digits, pairs, lambda done, total: None)
    dataset = _dataset("ColourDigits", ("photograph", "digit"), PHOTOGRAPH_CLASSES, arrays, None)
    return replace(dataset, origins=pairs[:, 1])


def cache_file(folder: Path, seed: int, variant: int) -> Path:
    """Where the composed data set is kept."""
    random = f"_seed{seed}" if variant == ALL else ""
    return folder / "Cifar10Mnist" / f"cifar10mnist_{variant}{random}.npz"


def _compose_sources(pictures: Source, digits: Source, train: Labels, progress: Progress) -> dict[str, np.ndarray]:
    """Training images of the given pairs, test images of the aligned ones."""
    test = aligned_pairs(len(pictures.x_test), len(digits.x_test))
    total = len(train) + len(test)
    return {
        "x_train": compose(pictures.x_train, digits.x_train, train, lambda done: progress(done, total)),
        "y_train": np.stack([pictures.y_train[train[:, 0]], digits.y_train[train[:, 1]]], axis=1),
        "x_test": compose(pictures.x_test, digits.x_test, test, lambda done: progress(len(train) + done, total)),
        "y_test": np.stack([pictures.y_test[test[:, 0]], digits.y_test[test[:, 1]]], axis=1),
    }


def _dataset(
    name: str,
    task_names: tuple[str, ...],
    picture_classes: tuple[str, ...],
    arrays: Mapping[str, np.ndarray],
    validation_size: int | None,
) -> MultiTaskDataset:
    return MultiTaskDataset(
        name=name,
        task_names=task_names,
        class_names=(picture_classes, DIGIT_CLASSES),
        **{split: arrays[split] for split in ("x_train", "y_train", "x_test", "y_test")},
        mean=MEAN,
        std=STD,
        max_rotation=MAX_ROTATION,
        validation_size=validation_size,
    )


if __name__ == "__main__":
    from src.utils.command_line.create_dataset import main

    sys.exit(main(__doc__))
