"""The loss of a task: what it minimises on the labels there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from Data_loaders.batches import Data, leaves
from Data_loaders.loaders import TaskData
from src.utils.tasks import CLASSIFICATION, LOSS_NAMES, MISSING, Task, classifications

Loss = Callable[[Tensor, Tensor], Tensor]


def _gamma(outputs: Tensor, targets: Tensor) -> Tensor:
    """:math:`y e^{-o} + o`, the deviance of a gamma distribution with mean :math:`e^o` but for constants."""
    return (targets * (-outputs).exp() + outputs).mean()


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "cross_entropy": functional.cross_entropy,
        "multi_margin_loss": functional.multi_margin_loss,
        "bce": functional.binary_cross_entropy_with_logits,
        "mse": functional.mse_loss,
        "mae": functional.l1_loss,
        "huber": functional.smooth_l1_loss,
        "poisson": functional.poisson_nll_loss,  # outputs are logarithms of means
        "gamma": _gamma,
    }
)
CRITERIA: Mapping[str, Loss] = MappingProxyType({name: LOSSES[name] for name in LOSS_NAMES[CLASSIFICATION]})
"""Losses that the parameter ``criterion`` may name."""
LEAST_LABEL: Mapping[str, str] = MappingProxyType({"poisson": ">= 0", "gamma": "> 0"})
"""What the labels of a regression with these losses have to be."""


@dataclass(frozen=True)
class Labelled:
    """What counts of a batch for a task: outputs and targets of what has a label.

    Attributes:
        outputs: (n, C) of a classification; else of the shape of the targets.
        targets: class numbers (n,); else floats, one per label that is there (n,), or whole samples (n, outputs).
    """

    outputs: Tensor
    targets: Tensor

    @property
    def count(self) -> int:
        """How many labels there are."""
        return len(self.targets)


def is_labelled(targets: Tensor) -> Tensor:
    """Which entries are known: whole numbers but -100, numbers but NaN."""
    return ~targets.isnan() if targets.is_floating_point() else targets != MISSING


def all_labelled(data: Data) -> bool:
    """Whether it is known that no label is missing: of data in memory, which are looked at once."""
    return isinstance(data, TaskData) and all(bool(is_labelled(targets).all()) for targets in leaves(data.labels))


def labelled(
    task: Task, outputs: Tensor, targets: Tensor, *, whole_samples: bool = False, complete: bool = False
) -> Labelled:
    """The part of a batch that has labels.

    Args:
        task: that outputs and targets belong to.
        outputs: (N, task.outputs).
        targets: (N,), or (N, task.outputs).
        whole_samples: keep samples with all their labels, instead of each label there is.
        complete: no label is missing; a GPU need not be waited for to see that.
    """
    known = is_labelled(targets)
    complete = complete or bool(known.all())
    if task.kind == CLASSIFICATION:
        return Labelled(outputs, targets) if complete else Labelled(outputs[known], targets[known])
    targets, known = targets.reshape(outputs.shape).to(outputs.dtype), known.reshape(outputs.shape)
    if complete:
        return Labelled(outputs, targets) if whole_samples else Labelled(outputs.flatten(), targets.flatten())
    known = known.all(dim=1) if whole_samples else known
    return Labelled(outputs[known], targets[known])


def task_labels(task: Task, outputs: Tensor, targets: Tensor, *, complete: bool = False) -> Labelled:
    """What the loss of a task sees: every label, or, of a function of the user's own, whole samples."""
    return labelled(task, outputs, targets, whole_samples=callable(task.loss), complete=complete)


def loss_of(task: Task, criterion: str) -> Loss:
    """The loss of a task; it takes what :func:`task_labels` has found, at least one label.

    Args:
        task: whose loss it is.
        criterion: name of the loss of a classification that has none of its own.
    """
    if task.loss is None:
        return LOSSES[criterion if task.kind == CLASSIFICATION else LOSS_NAMES[task.kind][0]]
    return task.loss if callable(task.loss) else LOSSES[task.loss]


def tasks_for(tasks: Sequence[Task], outputs: Sequence[Tensor]) -> Sequence[Task]:
    """The tasks; a classification per output where none are named."""
    names = [f"task {number + 1}" for number in range(len(outputs))]
    return tasks or classifications(names, [output.shape[1] for output in outputs])


def needs_labels(task: Task) -> str | None:
    """What labels of a regression have to be for its loss: ``> 0`` or ``>= 0``; None: any number."""
    if task.loss is functional.poisson_nll_loss or isinstance(task.loss, torch.nn.PoissonNLLLoss):
        return LEAST_LABEL["poisson"]
    return LEAST_LABEL.get(task.loss) if isinstance(task.loss, str) else None
