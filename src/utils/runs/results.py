"""The files that a run leaves, ``results.json`` and ``history.csv``: their one writer and their one reader."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from Data_loaders.datasets import MultiTaskDataset
from src.utils.errors import UserError
from src.utils.files import read_npz, write_csv, write_json, write_npz
from src.utils.runs.config import RESULTS
from src.utils.sparsity.metrics import RowCounts, total
from src.utils.training.method import MethodState
from src.utils.training.records import EpochRecord

RATES = ("sparsity_rate", "compression_rate", "parameter_sharing")


class Accuracies:
    """Means over the tasks, of whatever has accuracies in percent per task."""

    validation_accuracy: tuple[float, ...]
    test_accuracy: tuple[float, ...]

    @property
    def mean_accuracy(self) -> float:
        """Mean validation accuracy of the tasks, percent."""
        return float(np.mean(self.validation_accuracy))

    @property
    def mean_test_accuracy(self) -> float:
        """Mean test accuracy of the tasks that have test labels, percent."""
        return float(np.mean([value for value in self.test_accuracy if value == value] or float("nan")))


@dataclass(frozen=True)
class TaskScores:
    """What tasks are measured by; these names are in ``results.json``.

    Attributes:
        tasks: what each task is, see :class:`~src.utils.tasks.Task`.
        validation_scores, test_scores: metrics by name, per task; NaN (``null``) where there are no labels.
    """

    tasks: list[dict[str, Any]]
    validation_scores: dict[str, dict[str, float]]
    test_scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Results(Accuracies):
    """What a finished run reached; ``results.json`` has these names, and the rates of ``rows`` and ``all_layers``.

    Attributes:
        folder: where the files of the run are.
        script, architecture, dataset, task, task_names, k: what was run.
        test_accuracy, validation_accuracy, validation_losses: per task, the first two in percent.
        objectives: sparsity objective and mean training loss per task, of the model kept.
        state: of the method in the epoch of the model kept, at those objectives.
        layers: row counts of the GrOWL layers, by name.
        all_layers: sparsity, compression and sharing over all layers, those without GrOWL included.
        reached_min_sparsRate: whether it is as sparse as asked for; None without sparsity.
        sparsity_binds: whether the sparsity constraint still held at the end of phase 1; None without phase 1.
        sparsity_advice: what to change where k_0 is above 0 and there are fewer zero rows than asked for, or none.
        found_in_search: epoch, sparsity rate and validation accuracy of what phase 1 kept.
        best_epoch: epoch the model kept comes from.
        parameter_count: trainable numbers of the network, and how many of them are not zero; seconds: of the training.
        compression: of a run on its own with zero or equal rows, the figures of the network before and after it, see
            :class:`~src.utils.sparsity.figures.Comparison`; else None.
        images: what the network takes: ``shape`` of an image, ``mean`` and ``std`` per channel of pixels in [0, 1], and
            the ``class_names`` of each task; None for a user's own tensors.
        parameters, seed, data_seed, device, versions: what it depends on.
        scores: metrics of the tasks by name, where not all of them are classifications measured by their accuracy;
            then ``test_accuracy`` and ``validation_accuracy`` are the scores of those that are not, in percent.
    """

    folder: Path
    script: str
    architecture: str
    dataset: str
    task: int | None
    task_names: tuple[str, ...]
    k: tuple[float, ...]
    test_accuracy: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    validation_losses: tuple[float, ...]
    objectives: tuple[float, ...]
    state: MethodState
    layers: dict[str, RowCounts]
    all_layers: dict[str, float]
    reached_min_sparsRate: bool | None
    sparsity_binds: bool | None
    sparsity_advice: str | None
    found_in_search: dict[str, Any] | None
    best_epoch: int
    parameter_count: dict[str, int]
    seconds: dict[str, Any]
    compression: dict[str, Any] | None
    images: dict[str, Any] | None
    parameters: dict[str, Any]
    seed: int
    data_seed: int
    device: str
    versions: dict[str, str]
    scores: TaskScores | None = None

    @property
    def rows(self) -> RowCounts:
        """Row counts summed over the GrOWL layers."""
        return total(self.layers.values())

    @property
    def sparsity_rate(self) -> float:
        """Zero rows of the GrOWL layers, percent."""
        return self.rows.sparsity_rate

    @property
    def omega(self) -> float:
        """Value of the sparsity objective."""
        return self.objectives[0]

    @property
    def score_name(self) -> str:
        """What ``test_accuracy`` and ``validation_accuracy`` are called."""
        return "score" if self.scores else "accuracy"

    @property
    def merit(self) -> tuple[bool, float]:
        """Sparse enough first, then mean validation accuracy."""
        return self.reached_min_sparsRate is not False, self.mean_accuracy

    def as_plain(self) -> dict[str, Any]:
        """Plain values for ``results.json`` and for the file of the model."""
        content: dict[str, Any] = {}
        for item in fields(self)[1:]:  # the folder is where they are
            value = getattr(self, item.name)
            content |= _PARTS[item.name](self) if item.name in _PARTS else {item.name: value}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}


_PARTS = {
    "scores": lambda results: asdict(results.scores) if results.scores else {},
    "test_accuracy": lambda results: {
        "test_accuracy": results.test_accuracy,
        "test_accuracy_mean": results.mean_test_accuracy,
    },
    "state": lambda results: {
        "weighted_objectives": results.state.weighted_objectives,
        "lambda": results.state.lam,
        **results.state.details,
    },
    "layers": lambda results: {
        **{name: getattr(results.rows, name) for name in RATES},
        "layers": {name: counts.summary() for name, counts in results.layers.items()},
    },
    "all_layers": lambda results: {f"{name}_all_layers": rate for name, rate in results.all_layers.items()},
}


def write_results(results: Results) -> None:
    """Write ``results.json`` into the run's folder."""
    write_json(results.folder / RESULTS, results.as_plain())


def read_results(folder: Path) -> Results:
    """The results of the finished run in a folder.

    Raises:
        UserError: if they cannot be read.
    """
    path = folder / RESULTS
    try:
        return _results(folder, json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise UserError(f"{folder} holds no finished run (no {RESULTS})") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged or of another version: delete {folder} and start again") from error


def _results(folder: Path, content: Mapping[str, Any]) -> Results:
    derived = ("test_accuracy_mean", "weighted_objectives", "lambda", *RATES, *(f"{name}_all_layers" for name in RATES))
    scored = [item.name for item in fields(TaskScores)]
    known = {item.name for item in fields(Results)} | set(derived) | set(scored)
    details = {name: value for name, value in content.items() if name not in known}
    counts = [item.name for item in fields(RowCounts)]
    made: dict[str, Any] = {
        "folder": folder,
        "state": MethodState(content["weighted_objectives"], content["lambda"], details),
        "layers": {n: RowCounts(**{c: layer[c] for c in counts}) for n, layer in content["layers"].items()},
        "scores": TaskScores(*(content[name] for name in scored)) if "test_scores" in content else None,
        "test_accuracy": tuple(float("nan") if value is None else value for value in content["test_accuracy"]),
        "all_layers": {name: content[f"{name}_all_layers"] for name in RATES},
    }
    plain = {item.name: content[item.name] for item in fields(Results) if item.name not in made}
    made |= {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    return Results(**made)


def write_history(path: Path, history: Sequence[EpochRecord]) -> None:
    """Write ``history.csv``: lists are spread over columns ``name_0``, ``name_1``, ... (objective 0 is sparsity)."""
    write_csv(path, [_flat(asdict(record)) for record in history])


def read_history(path: Path) -> list[EpochRecord]:
    """The epochs of a ``history.csv``.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        with path.open(newline="") as file:
            history = [_record(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is damaged or of another version") from error
    if not history:
        raise UserError(f"{path} is damaged or of another version: it holds no epoch")
    return history


@dataclass(frozen=True)
class Samples:
    """The first training images, uint8, shape (n, H, W) or (n, H, W, 3), and the names of their classes, (n, m)."""

    images: np.ndarray
    labels: np.ndarray


def samples_of(dataset: MultiTaskDataset, count: int = 10) -> Samples:
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
    return Samples(arrays["images"], arrays["labels"])


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    import sklearn
    import torch
    import torchvision

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }


_LISTS = ("objectives", "weighted_objectives", "lam", "validation_accuracy", "validation_losses")
_COLUMN = {"lam": "lambda"}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "details":
            flat |= value
        elif name in _LISTS:
            flat |= {f"{_COLUMN.get(name, name)}_{number}": item for number, item in enumerate(value)}
        else:
            flat[name] = value
    return flat


def _record(row: Mapping[str, str]) -> EpochRecord:
    """The inverse of :func:`_flat`."""
    left = dict(row)
    values: dict[str, Any] = {"phase": left.pop("phase")}
    values |= {name: int(left.pop(name)) for name in ("iteration", "epoch")}
    values |= {name: float(left.pop(name)) for name in ("lr", "sparsity_rate", "seconds")}
    for name in _LISTS:
        columns = [column for column in left if column.rpartition("_")[0] == _COLUMN.get(name, name)]
        values[name] = [float(left.pop(column)) for column in columns]
    return EpochRecord(**values, details={name: float(value) for name, value in left.items()})
