"""Multi-task data sets: what they hold and how they are cached."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from Data_loaders.sources import Images, Labels, checksum
from src.utils.errors import UserError
from src.utils.files import read_npz, write_npz
from src.utils.tasks import Task, classifications

FORMAT_VERSION = 2


@dataclass(frozen=True)
class MultiTaskDataset:
    """Images with one class label per task.

    Attributes:
        name: of the data set.
        task_names: one per task.
        class_names: of every task, in the order of the class numbers.
        x_train, x_test: uint8, shape (N, H, W) or (N, H, W, 3).
        y_train, y_test: class numbers, shape (N, m).
        mean, std: per channel, of pixels in [0, 1], for the normalisation.
        max_rotation: training images are turned by up to this many degrees, either way.
        validation_size: how many training images are set aside for validation; None is a sixth of them.
        origins: number of what a training image is made from, shape (N,): images with the same number are all set aside
            or none of them. None where all of them are different.
    """

    name: str
    task_names: tuple[str, ...]
    class_names: tuple[tuple[str, ...], ...]
    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_rotation: float = 0.0
    validation_size: int | None = None
    origins: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.validation_size is not None and not 0 <= self.validation_size < len(self.x_train):
            raise UserError(
                f"{self.name}: validation_size is {self.validation_size}; allowed: 0 to {len(self.x_train) - 1}"
            )
        if self.origins is not None and self.origins.shape != (len(self.x_train),):
            raise UserError(f"{self.name}: origins has shape {self.origins.shape}; allowed: ({len(self.x_train)},)")
        tasks = len(self.task_names)
        for split, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if y.ndim != 2 or y.shape != (len(x), tasks):
                raise UserError(f"{self.name}: y_{split} has shape {y.shape}; allowed: ({len(x)}, {tasks})")
            for task, names in enumerate(self.class_names):
                if len(y) and not (y[:, task].min() >= 0 and y[:, task].max() < len(names)):
                    raise UserError(
                        f"{self.name}: y_{split} of task {task + 1} ranges from {y[:, task].min()} to "
                        f"{y[:, task].max()}; allowed: 0 to {len(names) - 1}"
                    )

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of images and labels, the identity of the data."""
        return checksum(self.x_train, self.y_train, self.x_test, self.y_test)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """A classification per label."""
        return classifications(self.task_names, self.num_outs)

    @property
    def num_outs(self) -> list[int]:
        """Number of classes per task."""
        return [len(names) for names in self.class_names]


def cached_arrays(
    path: Path,
    recipe: Mapping[str, Any],
    compose: Callable[[], dict[str, np.ndarray]],
    warn: Callable[[str], None],
) -> dict[str, np.ndarray]:
    """Composed arrays from the cache file, composed anew if it is missing, altered or of another recipe.

    Args:
        path: the ``.npz`` file; the recipe is stored inside as JSON, and the checksum of the arrays.
        recipe: everything the arrays depend on; compared as a whole.
        compose: makes the arrays.
        warn: told when the cache cannot be written; the arrays are returned all the same.
    """
    wanted = json.dumps({"format_version": FORMAT_VERSION, **recipe}, sort_keys=True)
    if path.exists():
        try:
            found = read_npz(path)
        except UserError:
            found = {}  # a damaged cache is made anew
        noted = [str(found.pop(name, "")) for name in ("recipe", "checksum")]
        if noted == [wanted, _checksum_of(found)]:
            return found
    arrays = compose()
    try:
        write_npz(path, {**arrays, "recipe": np.array(wanted), "checksum": np.array(_checksum_of(arrays))})
    except UserError as error:
        warn(f"the composed data are not cached: {error}")
    return arrays


def _checksum_of(arrays: Mapping[str, np.ndarray]) -> str:
    """Of named arrays."""
    names = sorted(arrays)
    return " ".join([*names, checksum(*(arrays[name] for name in names))])
