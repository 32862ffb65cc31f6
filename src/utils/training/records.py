"""What a training is made of and leaves behind: phases with rules for rows, records of epochs, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch ended with; a row of ``history.csv``.

    Attributes:
        phase: name of the phase.
        iteration: of the phase, from 1.
        epoch: of the whole run, from 1.
        lr: learning rate at its start.
        objectives: sparsity objective and task losses, mean over the epoch's batches.
        weighted_objectives: what the method makes of them (Chebyshev terms c), 0 for an objective out of play.
        lam: weights of the objectives (multipliers) during the epoch.
        details: further numbers of the method, by name: of the Chebyshev method t, mu, the residuals of the KKT
            conditions and the Chebyshev gap.
        validation_accuracy: score per task, percent, after what the phase does to the rows: the accuracy of a
            classification, see :class:`~src.utils.training.evaluation.Evaluation`.
        validation_losses: mean per task, of the same network.
        sparsity_rate: zero rows of the GrOWL layers, percent.
        seconds: of the epoch, validation included; of networks that are trained together the share of one.
    """

    phase: str
    iteration: int
    epoch: int
    lr: float
    objectives: list[float]
    weighted_objectives: list[float]
    lam: list[float]
    details: dict[str, float]
    validation_accuracy: list[float]
    validation_losses: list[float]
    sparsity_rate: float
    seconds: float

    @property
    def mean_accuracy(self) -> float:
        """Mean validation accuracy of the tasks, percent."""
        return float(np.mean(self.validation_accuracy))


@dataclass(frozen=True)
class Snapshot:
    """A model worth keeping: its state dict, that of the method, and the record, all of the same epoch."""

    model: dict[str, Tensor]
    method: dict[str, Tensor]
    record: EpochRecord


class RowRule:
    """What a phase does to the rows of the sparse layers: nothing, where a rule says nothing else."""

    def start_epoch(self) -> None:
        """Called before every epoch."""

    def after_step(self) -> None:
        """Called after every optimizer step."""

    def after_epoch(self, epochs: int, sparsity_weight: float, optimizer: torch.optim.Optimizer) -> None:
        """Called after every epoch with the epochs of the phase done and the weight of Omega in what is minimised."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one rule for the rows.

    Attributes:
        name: unique in a run.
        iterations: of ``num_epochs`` epochs each.
        sparsity: whether the sparsity objective is in play.
        rule: what happens to the rows.
        merit: the epoch with the greatest is kept; of equal ones the sparsest, the most accurate, the first.
    """

    name: str
    iterations: int
    sparsity: bool
    rule: RowRule
    merit: Callable[[EpochRecord], float] = lambda record: record.mean_accuracy


class Observer:
    """Told of the progress of a run; this one keeps quiet."""

    def phase_starts(self, name: str, epochs: int, done: int) -> None:
        """A phase of so many epochs starts, of which some were done before an interruption."""

    def batch_ends(self, share: float) -> None:
        """A batch is done; ``share`` of the epoch is behind."""

    def epoch_ends(self, record: EpochRecord) -> None:
        """An epoch is done."""

    def message(self, text: str) -> None:
        """Something the user should know."""
