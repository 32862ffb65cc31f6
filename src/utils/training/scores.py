"""How good the predictions of a task are: metrics of scikit-learn on the labels there are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.utils.tasks import CLASSIFICATION, REGRESSION, Task

Array = NDArray[Any]
YES = 0.5
"""Probability from which on a yes is predicted."""


def _sklearn(name: str, **options: Any) -> Callable[[Array, Array], float]:
    """A function of ``sklearn.metrics``, imported when it is called."""

    def metric(targets: Array, predictions: Array) -> float:
        import sklearn.metrics

        return float(getattr(sklearn.metrics, name)(targets, predictions, **options))

    return metric


def _decided(name: str, **options: Any) -> Callable[[Array, Array], float]:
    """A function of ``sklearn.metrics`` for a yes or no instead of its probability."""
    metric = _sklearn(name, **options)
    return lambda targets, probabilities: metric(targets, probabilities >= YES)


_YES_NO: Mapping[str, Callable[[Array, Array], float]] = MappingProxyType(
    {
        "average_precision": _sklearn("average_precision_score"),
        "f1": _decided("f1_score", zero_division=0.0),
        "accuracy": _decided("accuracy_score"),
        "roc_auc": _sklearn("roc_auc_score"),
    }
)
_METRICS: Mapping[str, Mapping[str, Callable[[Array, Array], float]]] = MappingProxyType(
    {
        CLASSIFICATION: MappingProxyType(
            {
                "accuracy": _sklearn("accuracy_score"),
                "balanced_accuracy": _sklearn("balanced_accuracy_score"),
                "f1": _sklearn("f1_score", average="macro", zero_division=0.0),
            }
        ),
        REGRESSION: MappingProxyType(
            {"r2": _sklearn("r2_score"), "rmse": _sklearn("root_mean_squared_error")},
        ),
    }
)


def metrics_of(task: Task, targets: Array, predictions: Array) -> dict[str, float]:
    """The metrics of a task by name; NaN where too few labels are known.

    Args:
        task: that the labels are of.
        targets: class numbers (n,), or (n, outputs) with NaN for what is not known.
        predictions: of the same shape: class numbers, probabilities of a yes, or numbers.
    """
    return {name: _value(task, name, targets, predictions) for name in task.metrics}


def score_of(task: Task, targets: Array, predictions: Array) -> float:
    """One number that grows with quality, 100 for a perfect network: 100 times the first metric.

    The score of a task that is measured by its root mean squared error is 100 times its R2, which grows where that
    falls and needs no unit.
    """
    name = "r2" if task.metrics[0] == "rmse" else task.metrics[0]
    return 100 * _value(task, name, targets, predictions)


def _value(task: Task, name: str, targets: Array, predictions: Array) -> float:
    """A metric; of several outputs the mean over them, each on the labels that are known."""
    if callable(task.metric):
        whole = ~np.isnan(targets.astype(float)).reshape(len(targets), -1).any(axis=1)
        return float(task.metric(targets[whole], predictions[whole])) if whole.any() else float("nan")
    table = _METRICS.get(task.kind, _YES_NO)
    columns = [(targets, predictions)] if targets.ndim == 1 else list(zip(targets.T, predictions.T, strict=True))
    values = [_of_known(table[name], name, *column) for column in columns]
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _of_known(metric: Callable[[Array, Array], float], name: str, targets: Array, predictions: Array) -> float:
    known = ~np.isnan(targets.astype(float))
    if known.sum() < (2 if name == "r2" else 1):
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of splits with one class only, where the value says enough
        return metric(targets[known], predictions[known])
