"""What a task is: its kind, how many outputs it has, what it minimises and what it is measured by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from src.utils.errors import UserError

CLASSIFICATION, BINARY, MULTILABEL, REGRESSION = KINDS = ("classification", "binary", "multilabel", "regression")
MISSING = -100
"""A whole-number label that is not known; of numbers it is NaN."""

_YES_NO_LOSSES, _YES_NO_METRICS = ("bce",), ("average_precision", "f1", "accuracy", "roc_auc")
LOSS_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        CLASSIFICATION: ("cross_entropy", "multi_margin_loss"),
        BINARY: _YES_NO_LOSSES,
        MULTILABEL: _YES_NO_LOSSES,
        REGRESSION: ("mse", "mae", "huber", "poisson", "gamma"),
    }
)
"""Losses by name, for each kind; the first is the default, of a classification the parameter ``criterion``."""
METRIC_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        CLASSIFICATION: ("accuracy", "balanced_accuracy", "f1"),
        BINARY: _YES_NO_METRICS,
        MULTILABEL: _YES_NO_METRICS,
        REGRESSION: ("r2", "rmse"),
    }
)
"""Metrics by name, for each kind; the first is the default and the score of the task."""
DEFAULT_METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        CLASSIFICATION: ("accuracy",),
        BINARY: ("average_precision", "f1"),
        MULTILABEL: ("average_precision", "f1"),
        REGRESSION: ("r2", "rmse"),
    }
)
"""What is reported where no metric is named."""


@dataclass(frozen=True)
class Task:
    """One task of a multi-task problem.

    Labels that are not known, -100 of whole numbers and NaN of others, count in no loss and no metric.

    Attributes:
        name: as tables and pictures show it.
        kind: classification (one of C classes, labels 0 to C - 1, int64), binary (yes or no, labels 0 and 1),
            multilabel (L times yes or no, labels (N, L)) or regression (d numbers, labels (N,) or (N, d), floats).
        outputs: how many numbers the network gives for it: C, 1, L or d. They are logits, of a regression the numbers.
        loss: a name of :data:`LOSS_NAMES`, or anything that makes a scalar from outputs and labels, means over a batch:
            (n, C) and (n,) for a classification, else both (n, outputs), as floats. It sees the samples that have all
            their labels; the losses with a name see every label there is. None is cross entropy (or the parameter
            ``criterion``), binary cross entropy with logits, or the mean squared error.
        metric: a name of :data:`METRIC_NAMES`, or anything that makes a number from labels and predictions, in this
            order as in scikit-learn, that grows with quality and is 1 for a perfect network. Predictions are class
            numbers, the probabilities of a yes, or the numbers. None is accuracy, average precision, or R2.

    Raises:
        UserError: for an unknown kind, loss or metric, or a number of outputs that the kind does not have.
    """

    name: str
    kind: str
    outputs: int
    loss: str | Callable[..., Any] | None = None
    metric: str | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise UserError(f"the name of a task is {self.name!r}; allowed: a text that is not empty")
        if self.kind not in KINDS:
            raise UserError(f"kind of task {self.name} is {self.kind!r}; allowed: {', '.join(KINDS)}")
        least = 2 if self.kind == CLASSIFICATION else 1
        whole = isinstance(self.outputs, int) and not isinstance(self.outputs, bool)
        if not whole or self.outputs < least or (self.kind == BINARY and self.outputs != 1):
            allowed = "1" if self.kind == BINARY else f"a whole number >= {least}"
            raise UserError(f"outputs of task {self.name} is {self.outputs!r}; allowed for {self.kind}: {allowed}")
        for what, value, names in (("loss", self.loss, LOSS_NAMES), ("metric", self.metric, METRIC_NAMES)):
            if value is not None and not callable(value) and value not in names[self.kind]:
                known = ", ".join(names[self.kind])
                raise UserError(
                    f"{what} of task {self.name} is {value!r}; allowed for {self.kind}: {known}, or a function"
                )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what is reported; the first one is the score."""
        return DEFAULT_METRICS[self.kind] if self.metric is None else (_name_of(self.metric),)

    @property
    def usual(self) -> bool:
        """Whether it is a classification that is measured by its accuracy."""
        return self.kind == CLASSIFICATION and self.metrics == ("accuracy",)

    def as_plain(self) -> dict[str, Any]:
        """Plain values: functions by their names."""
        loss = None if self.loss is None else _name_of(self.loss)
        metric = None if self.metric is None else _name_of(self.metric)
        return {"name": self.name, "kind": self.kind, "outputs": self.outputs, "loss": loss, "metric": metric}


def classifications(names: Sequence[str], classes: Sequence[int]) -> tuple[Task, ...]:
    """A classification per name and number of classes, with the loss that the parameters name."""
    return tuple(Task(name, CLASSIFICATION, outputs) for name, outputs in zip(names, classes, strict=True))


def _name_of(function: str | Callable[..., Any]) -> str:
    if isinstance(function, str):
        return function
    return str(getattr(function, "__name__", type(function).__name__))
