"""What a run leaves behind: the numbers of ``results.json`` and the rows of ``history.csv``."""

from __future__ import annotations

import csv
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
import torchvision
from torch import Tensor

from src.models.multi_task import layers_with_rows
from src.utils.sparsity.metrics import RowCounts, count_layers, total
from src.utils.training.engine import EpochRecord, Trainer, evaluate
from src.utils.training.method import MethodState
from src.utils.training.two_phase import TrainingOutcome


@dataclass(frozen=True)
class RunResults:
    """The outcome of one run; :meth:`as_dict` has the names and units of ``results.json``.

    Attributes:
        test_accuracy, validation_accuracy: percent per task.
        validation_losses: mean per task.
        objectives: sparsity objective and mean training loss per task, of the model kept.
        state: of the method at the end, at those objectives.
        layers: row counts of the GrOWL layers, by name.
        all_layers: row counts summed over all layers, those without GrOWL included.
        reached_min_sparsRate: None without sparsity.
        found: epoch, sparsity rate and validation accuracy of what phase 1 kept.
        best_epoch: epoch the model kept comes from.
        parameter_count: trainable numbers of the network, and how many of them are not zero.
        seconds: total, per phase, per epoch (mean).
    """

    test_accuracy: list[float]
    validation_accuracy: list[float]
    validation_losses: list[float]
    objectives: list[float]
    state: MethodState
    layers: dict[str, RowCounts]
    all_layers: RowCounts
    reached_min_sparsRate: bool | None
    found: dict[str, Any] | None
    best_epoch: int
    parameter_count: dict[str, int]
    seconds: dict[str, Any]

    @property
    def rows(self) -> RowCounts:
        """Row counts summed over the GrOWL layers."""
        return total(self.layers.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``results.json``."""
        return {
            "test_accuracy": self.test_accuracy,
            "test_accuracy_mean": float(np.mean(self.test_accuracy)),
            "validation_accuracy": self.validation_accuracy,
            "validation_losses": self.validation_losses,
            "objectives": self.objectives,
            "weighted_objectives": self.state.weighted_objectives,
            "lambda": self.state.lam,
            **self.state.details,
            "sparsity_rate": self.rows.sparsity_rate,
            "compression_rate": self.rows.compression_rate,
            "parameter_sharing": self.rows.parameter_sharing,
            "sparsity_rate_all_layers": self.all_layers.sparsity_rate,
            "compression_rate_all_layers": self.all_layers.compression_rate,
            "parameter_sharing_all_layers": self.all_layers.parameter_sharing,
            "layers": {name: counts.summary() for name, counts in self.layers.items()},
            "reached_min_sparsRate": self.reached_min_sparsRate,
            "found_in_search": self.found,
            "best_epoch": self.best_epoch,
            "parameter_count": self.parameter_count,
            "seconds": self.seconds,
        }


def collect_results(trainer: Trainer, outcome: TrainingOutcome, seconds: float) -> RunResults:
    """Test the trained model and count its rows.

    Args:
        trainer: after :func:`~src.utils.training.two_phase.train`.
        outcome: of that training.
        seconds: wall time of the run so far.
    """
    criterion = trainer.parameters.criterion
    training = evaluate(trainer.model, trainer.splits.train, criterion)
    validation = evaluate(trainer.model, trainer.splits.validation, criterion)
    f = trainer.method.k.new_tensor([float(trainer.method.sparsity_objective().detach()), *training.losses])
    return RunResults(
        test_accuracy=evaluate(trainer.model, trainer.splits.test, criterion).accuracy,
        validation_accuracy=validation.accuracy,
        validation_losses=validation.losses,
        objectives=f.tolist(),
        state=trainer.method.state(f),
        layers=count_layers(trainer.sparse_weights),
        all_layers=total(count_layers(_all_weights(trainer)).values()),
        reached_min_sparsRate=outcome.reached_min_sparsRate,
        found=_found(outcome),
        best_epoch=outcome.best.record.epoch,
        parameter_count=_parameter_count(trainer),
        seconds=_seconds(trainer.history, seconds),
    )


def history_rows(history: Sequence[EpochRecord]) -> list[dict[str, Any]]:
    """Rows of ``history.csv``: lists are spread over columns ``name_0``, ``name_1``, ... (objective 0 is sparsity)."""
    return [_flat(asdict(record)) for record in history]


def read_history(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``history.csv``; what looks like a number is one."""
    with path.open(newline="") as file:
        return [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }


def _all_weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: layer.weight for name, layer in layers_with_rows(trainer.model).items()}


def _found(outcome: TrainingOutcome) -> dict[str, Any] | None:
    if outcome.found is None:
        return None
    record = outcome.found.record
    return {
        "epoch": record.epoch,
        "sparsity_rate": record.sparsity_rate,
        "validation_accuracy": record.validation_accuracy,
    }


def _parameter_count(trainer: Trainer) -> dict[str, int]:
    parameters = list(trainer.model.parameters())
    return {
        "all": sum(parameter.numel() for parameter in parameters),
        "nonzero": sum(int(parameter.count_nonzero()) for parameter in parameters),
    }


def _seconds(history: Sequence[EpochRecord], seconds: float) -> dict[str, Any]:
    phases = dict.fromkeys(record.phase for record in history)
    per_phase = {phase: sum(record.seconds for record in history if record.phase == phase) for phase in phases}
    return {"total": seconds, "phases": per_phase, "epoch": float(np.mean([record.seconds for record in history]))}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        name = "lambda" if name == "lam" else name
        if isinstance(value, dict):
            flat.update(value)
        elif isinstance(value, list):
            flat.update({f"{name}_{number}": item for number, item in enumerate(value)})
        else:
            flat[name] = value
    return flat


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
