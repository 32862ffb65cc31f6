"""Flags that do nothing: they are announced, since whoever gives one expects something of it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from src.utils.training.defaults import WITH_TEACHERS
from src.utils.training.parameters import Mode, TrainingParameters

_SEARCHING = ("growl_type", "beta1", "beta2", "max_layerSRate", "max_iter_search")
_TABLE: tuple[tuple[tuple[str, ...], Callable[[TrainingParameters], bool], str], ...] = (
    (("max_iter",), lambda p: p.mode in (Mode.DENSE, Mode.STUDY), "max_iter_search and max_iter_retrain count instead"),
    (("max_iter_retrain",), lambda p: p.mode in (Mode.SPARSE, Mode.RETRAIN), "max_iter counts instead"),
    (
        _SEARCHING,
        lambda p: p.mode is Mode.SPARSE,
        "there is no search for a sparse model (k_0 is 0, or a model is given)",
    ),
    (("sim_preference",), lambda p: p.mode in (Mode.SPARSE, Mode.RETRAIN), "no rows are clustered"),
    (("row_groups",), lambda p: p.mode in (Mode.SPARSE, Mode.RETRAIN), "no rows become zero or equal"),
    (("min_sparsRate",), lambda p: p.with_sparsity, "k_0 is 0"),
    (
        ("a", "epsilon", "normalisation", "t_update", "mu", "rho"),
        lambda p: p.uses_reference,
        "only the Chebyshev methods use it",
    ),
    (("lambda_memory",), lambda p: p.method == "Chebyshev", "only method Chebyshev uses it"),
    (("nadir",), lambda p: p.uses_reference and p.normalisation == "range", "only normalisation range uses it"),
    (("gradient_normalisation", "mgda_ub"), lambda p: p.method == "MGDA", "only method MGDA uses it"),
    (("distillation", "teachers"), lambda p: p.method in WITH_TEACHERS, "only method KDMTL uses it"),
    (("momentum",), lambda p: p.base_optimizer == "SGD", "only base_optimizer SGD uses it"),
    (("lr_sched_coef", "schedule"), lambda p: p.LR_scheduler, "LR_scheduler is no"),
    (("lr_sched_coef",), lambda p: p.schedule == "reference", "only schedule reference uses it"),
)


def without_effect(given: Collection[str], parameters: TrainingParameters) -> tuple[str, ...]:
    """A line for each of the given flags that changes nothing in a training with these parameters, and why."""
    found = {name: why for name, why in idle_flags(parameters).items() if name in given}
    if {"jobs", "dask"} <= set(given):
        found["jobs"] = "with --dask the workers of the cluster count"
    return tuple(f"--{name} does nothing here: {why}" for name, why in found.items())


def idle_flags(parameters: TrainingParameters) -> dict[str, str]:
    """Why a flag changes nothing in a training with these parameters, by its name."""
    return {name: why for names, counts, why in _TABLE if not counts(parameters) for name in names}
