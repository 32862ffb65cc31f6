"""The first training images of a run, with their labels, for a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from Data_loaders.datasets import MultiTaskDataset
from src.utils.errors import UserError
from src.utils.files import read_npz, write_npz

MOST_SAMPLES = 10


@dataclass(frozen=True)
class Samples:
    """The first training images, uint8, shape (n, H, W) or (n, H, W, 3), and the names of their classes, (n, m)."""

    images: np.ndarray
    labels: np.ndarray


def samples_of(dataset: MultiTaskDataset, count: int = MOST_SAMPLES) -> Samples:
    """The first training images of a data set with their labels."""
    labels = [
        [names[label] for names, label in zip(dataset.class_names, row, strict=True)] for row in dataset.y_train[:count]
    ]
    return Samples(dataset.x_train[:count], np.array(labels))


def write_samples(path: Path, samples: Samples) -> None:
    """Write images with their labels."""
    write_npz(path, {"images": samples.images, "labels": samples.labels})


def read_samples(path: Path) -> Samples:
    """The images of :func:`write_samples`.

    Raises:
        UserError: if they cannot be read.
    """
    arrays = read_npz(path)
    if {"images", "labels"} - set(arrays):
        raise UserError(f"{path} is damaged or of another version")
    images, labels = arrays["images"], arrays["labels"]
    good = images.dtype == np.uint8 and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3))
    if not good or labels.dtype.kind != "U" or labels.ndim != 2 or not 0 < len(images) == len(labels) <= MOST_SAMPLES:
        raise UserError(f"{path} is damaged or of another version")
    return Samples(images, labels)
