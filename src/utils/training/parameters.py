"""Training parameters: names, defaults, one line of help each, and what is allowed."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from src.utils.errors import UserError
from src.utils.objectives.min_norm import NORMALISATIONS
from src.utils.objectives.owl import WEIGHT_TYPES

CRITERIA: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = types.MappingProxyType(
    {
        "cross_entropy": functional.cross_entropy,
        "multi_margin_loss": functional.multi_margin_loss,
    }
)
OPTIMIZERS = ("Adam", "AdamW", "SGD")
T_UPDATES = ("exact", "optimizer")
SMALLEST_MU, LARGEST_MU = 1e-10, 1e4
"""Beyond the largest mu, lambda + mu c has too few of float32's digits left for weights that sum to 1."""


def _parameter(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class TrainingParameters:
    """Everything that decides how a network is trained; checked when it is made.

    Raises:
        UserError: naming the parameter, its value and what is allowed.
    """

    method: str = _parameter("Chebyshev", "training method, by its name in methods.py")
    w: tuple[float, ...] = _parameter((1e-3, 0.2, 0.799), "preference vector k: sparsity, task 1, ..., task m")
    a: tuple[float, ...] = _parameter((0.0, 0.0, 0.0), "reference point, one number per objective")
    epsilon: float = _parameter(1e-4, "coefficient of the augmentation term of the Chebyshev scalarization")
    num_tasks: int = _parameter(3, "number of objectives: sparsity and the tasks")
    max_iter: int = _parameter(12, "iterations of a training without sparsity, or of each training of a Pareto study")
    max_iter_search: int = _parameter(3, "iterations of phase 1, the search for a sparse model")
    max_iter_retrain: int = _parameter(10, "iterations of phase 2, the retraining of the sparse model")
    num_epochs: int = _parameter(3, "epochs per iteration")
    tol_epochs: int | None = _parameter(
        None, "end a training or phase 2 after so many epochs without a better model; none: never"
    )
    num_batchEpoch: int | None = _parameter(None, "batches per epoch; none: all")
    train_share: float = _parameter(1.0, "share of the training images that is used, above 0, at most 1")
    batch_size: int = _parameter(256, "images per training batch")
    base_optimizer: str = _parameter("Adam", f"optimizer: {', '.join(OPTIMIZERS)}")
    lr: float = _parameter(2.5e-3, "learning rate at the start of each phase")
    momentum: float = _parameter(0.9, "momentum of SGD")
    LR_scheduler: bool = _parameter(True, "multiply the learning rate by lr_sched_coef after each iteration")
    lr_sched_coef: float = _parameter(0.5, "factor on the learning rate")
    criterion: str = _parameter("cross_entropy", f"loss of a task: {', '.join(CRITERIA)}")
    mu: float = _parameter(1.0, "penalty coefficient of the augmented Lagrangian at the start")
    rho: float = _parameter(2.0, f"factor on mu after each iteration, up to a mu of {LARGEST_MU:g}")
    t_update: str = _parameter("exact", "how t is found: exact (closed form) or optimizer (trained like a weight)")
    gradient_normalisation: str = _parameter(
        "none", f"MGDA: what task gradients are divided by: {', '.join(NORMALISATIONS)}"
    )
    mgda_ub: bool = _parameter(False, "MGDA: gradients at the shared representation (MGDA-UB), not at the weights")
    distillation: tuple[float, ...] = _parameter((), "KDMTL: weights of the distillation losses, one per task")
    growl_type: str = _parameter("spike", f"GrOWL weights: {', '.join(WEIGHT_TYPES)}")
    beta1: float = _parameter(0.8, "first GrOWL coefficient")
    beta2: float = _parameter(0.2, "second GrOWL coefficient")
    skip_layer: int = _parameter(1, "layers with this number of inputs are left out of GrOWL (the input layers)")
    min_sparsRate: float = _parameter(20.0, "least sparsity rate, percent, that phase 1 should reach")
    max_layerSRate: float = _parameter(0.8, "largest share of zero rows in a layer, 0 to 1")
    sim_preference: float = _parameter(0.7, "preference of affinity propagation: larger means less sharing")
    is_search: bool = _parameter(True, "phase 1, then phase 2; no: phase 2 only, from a given sparse model")
    Sparsity_study: bool = _parameter(True, "yes: sparsity study; no: Pareto study, keeps a given model's zero rows")
    num_model: int = _parameter(0, "number in the saved model's name, to keep several apart")

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_type(item.name, getattr(self, item.name), _types(type(self))[item.name])
        for name, allowed, holds in _RULES:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise UserError(f"{name} is {value}; allowed: {allowed}")
        for name in ("w", "a"):
            values = getattr(self, name)
            if len(values) != self.num_tasks:
                raise UserError(
                    f"{_shown(name)} has {len(values)} numbers {list(values)}; allowed: num_tasks = {self.num_tasks}"
                )
        if any(value < 0 for value in self.w) or not any(self.w):
            raise UserError(f"{_shown('w')} is {list(self.w)}; allowed: numbers >= 0, not all zero")
        if any(value < 0 for value in self.distillation):
            raise UserError(f"distillation is {list(self.distillation)}; allowed: numbers >= 0")
        if not any(self.w[1:]):
            raise UserError(f"{_shown('w')} is {list(self.w)}; allowed: at least one task with a preference above 0")

    @property
    def with_sparsity(self) -> bool:
        """Whether the sparsity objective takes part: k_0 > 0."""
        return self.w[0] > 0

    def changed(self, **values: Any) -> TrainingParameters:
        """A copy with other values, checked like a new one."""
        unknown = set(values) - {item.name for item in fields(self)}
        if unknown:
            known = ", ".join(item.name for item in fields(self))
            raise UserError(f"unknown parameter {', '.join(sorted(unknown))}; known: {known}")
        return replace(self, **values)

    def make_optimizer(self, groups: list[dict[str, Any]], device: torch.device) -> torch.optim.Optimizer:
        """The optimizer ``base_optimizer`` with learning rate ``lr`` over parameter groups."""
        options = {"momentum": self.momentum} if self.base_optimizer == "SGD" else {}
        kind = getattr(torch.optim, self.base_optimizer)
        optimizer: torch.optim.Optimizer = kind(groups, lr=self.lr, fused=device.type in ("cpu", "cuda"), **options)
        return optimizer


_positive: Callable[[float], bool] = lambda value: value > 0  # noqa: E731
_not_negative: Callable[[float], bool] = lambda value: value >= 0  # noqa: E731
_at_least_one: Callable[[float], bool] = lambda value: value >= 1  # noqa: E731
_share: Callable[[float], bool] = lambda value: 0 <= value <= 1  # noqa: E731

_RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("epsilon", "0 to 1", _share),
    ("num_tasks", "2 or more (sparsity and at least one task)", lambda value: value >= 2),
    *((name, "1 or more", _at_least_one) for name in ("max_iter", "max_iter_search", "max_iter_retrain", "num_epochs")),
    *((name, "1 or more, or none", _at_least_one) for name in ("tol_epochs", "num_batchEpoch")),
    ("batch_size", "1 or more", _at_least_one),
    ("base_optimizer", ", ".join(OPTIMIZERS), OPTIMIZERS.__contains__),
    ("lr", "a number > 0", _positive),
    ("momentum", "at least 0, below 1", lambda value: 0 <= value < 1),
    ("lr_sched_coef", "above 0, at most 1", lambda value: 0 < value <= 1),
    ("criterion", ", ".join(CRITERIA), CRITERIA.__contains__),
    ("mu", f"{SMALLEST_MU:g} to {LARGEST_MU:g}", lambda value: SMALLEST_MU <= value <= LARGEST_MU),
    ("rho", "1 or more", _at_least_one),
    ("train_share", "above 0, at most 1", lambda value: 0 < value <= 1),
    ("gradient_normalisation", ", ".join(NORMALISATIONS), NORMALISATIONS.__contains__),
    ("t_update", ", ".join(T_UPDATES), T_UPDATES.__contains__),
    ("growl_type", ", ".join(WEIGHT_TYPES), WEIGHT_TYPES.__contains__),
    ("beta1", "a number >= 0", _not_negative),
    ("beta2", "a number >= 0", _not_negative),
    ("skip_layer", "0 or more", _not_negative),
    ("min_sparsRate", "percent, 0 to 100", lambda value: 0 <= value <= 100),
    ("max_layerSRate", "0 to 1", _share),
    ("sim_preference", "-1 to 1", lambda value: -1 <= value <= 1),
    ("num_model", "0 or more", _not_negative),
)


def _shown(name: str) -> str:
    return "w (the preference vector k)" if name == "w" else name


def _types(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _check_type(name: str, value: Any, expected: Any) -> None:
    """Refuse a value of another type than the field's, and numbers that are not finite."""
    options = typing.get_args(expected) if isinstance(expected, types.UnionType) else (expected,)
    if not any(_is_a(value, option) for option in options):
        raise UserError(
            f"{_shown(name)} is {value!r}; allowed: {' or '.join(_described(option) for option in options)}"
        )


def _is_a(value: Any, expected: Any) -> bool:
    if typing.get_origin(expected) is tuple:
        return isinstance(value, tuple) and all(_is_a(item, float) for item in value)
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)


def _described(expected: Any) -> str:
    if typing.get_origin(expected) is tuple:
        return "a tuple of finite numbers"
    names = {float: "a finite number", int: "a whole number", bool: "True or False", str: "a text", type(None): "none"}
    return names[expected]
