"""``results.json``, what a finished run reached: its one writer and its one reader."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.utils.checked import from_plain, to_plain
from src.utils.errors import UserError
from src.utils.files import finite, read_json, write_json
from src.utils.runs.config import RESULTS
from src.utils.runs.schema import check_results
from src.utils.sparsity.metrics import RowCounts, total
from src.utils.training.method import MethodState
from src.utils.training.parameters import TrainingParameters

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
        sparsity_binds: whether the sparsity constraint still held at the end of phase 1; None without phase 1, or where
            the method has no constraints.
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
        content = read_json(path)
        check_results(content)
        return _results(path, content)
    except FileNotFoundError as error:
        raise UserError(f"{folder} holds no finished run (no {RESULTS})") from error
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{path} is damaged or of another version: delete {folder} and start again") from error


def results_in(model: Path, content: Mapping[str, Any]) -> Results:
    """The results that were written into the file of a model, by :meth:`Results.as_plain`.

    Raises:
        UserError: if it holds something else.
    """
    content = finite(content)
    try:
        check_results(content)
    except ValueError as error:
        raise UserError(f"{model} does not say what it reached: train the model again") from error
    return _results(model, content)


def trained_with(model: Path, content: Mapping[str, Any]) -> TrainingParameters:
    """The training parameters that were written into the file of a model.

    Raises:
        UserError: if it holds something else.
    """
    try:
        return from_plain(TrainingParameters, content)
    except (UserError, TypeError) as error:
        raise UserError(f"{model} does not say how it was trained ({error}): train the model again") from error


def _results(path: Path, content: Mapping[str, Any]) -> Results:
    derived = ("test_accuracy_mean", "weighted_objectives", "lambda", *RATES, *(f"{name}_all_layers" for name in RATES))
    scored = [item.name for item in fields(TaskScores)]
    known = {item.name for item in fields(Results)} | set(derived) | set(scored)
    details = {name: value for name, value in content.items() if name not in known}
    counts = [item.name for item in fields(RowCounts)]
    made: dict[str, Any] = {
        "folder": path.parent,
        "parameters": to_plain(trained_with(path, content["parameters"])),
        "state": MethodState(content["weighted_objectives"], content["lambda"], details),
        "layers": {n: RowCounts(**{c: layer[c] for c in counts}) for n, layer in content["layers"].items()},
        "scores": TaskScores(*(content[name] for name in scored)) if "test_scores" in content else None,
        **{name: numbers(content[name]) for name in ("test_accuracy", "validation_accuracy", "validation_losses")},
        "objectives": numbers(content["objectives"]),
        "all_layers": {name: content[f"{name}_all_layers"] for name in RATES},
    }
    plain = {item.name: content[item.name] for item in fields(Results) if item.name not in made}
    made |= {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    return Results(**made)


def numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    """What was no number is one no more in JSON."""
    return tuple(float("nan") if value is None else value for value in values)


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # with its build, for the CPU or for a version of CUDA
        **{name: metadata.version(name) for name in ("torchvision", "numpy", "scikit-learn")},
    }
