"""Default parameters per backbone and architecture; what is not named here is :class:`TrainingParameters`' own.

The reference's schedules, optimizers and caps on sparsity, but for mu and rho, and on Cifar10Mnist the learning rate,
the preference of the clustering and MDMTN's cap (see DEVIATIONS.md). MTAN, which the reference trains without
sparsity only, has MDMTN's caps.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_BACKBONE: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "MultiMnist": {"skip_layer": 1, "lr": 2.5e-3, "lr_sched_coef": 0.5, "sim_preference": 0.7},
        "Cifar10Mnist": {"skip_layer": 3, "lr": 1e-3, "lr_sched_coef": 0.98, "sim_preference": 0.9},
    }
)

_SPARSITY: Mapping[tuple[str, str], Mapping[str, Any]] = MappingProxyType(
    {
        (backbone, architecture): {"min_sparsRate": least, "max_layerSRate": cap}
        for backbone, architectures, least, cap in (
            ("MultiMnist", ("MDMTN", "MTAN"), 20.0, 0.8),
            ("MultiMnist", ("HPS", "STL"), 10.0, 0.8),
            ("Cifar10Mnist", ("MDMTN", "MTAN"), 10.0, 0.33),
            ("Cifar10Mnist", ("HPS", "STL"), 5.0, 0.15),
        )
        for architecture in architectures
    }
)

# 100 epochs, the learning rate halved every 30.
_SGD: Mapping[str, Any] = MappingProxyType(
    {
        "base_optimizer": "SGD",
        "lr": 1e-2,
        "momentum": 0.9,
        "max_iter": 10,
        "num_epochs": 10,
        "lr_sched_coef": 0.5 ** (1 / 3),
    }
)

# Single tasks without sparsity have a longer schedule: 100 epochs.
_SINGLE_TASK: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "MultiMnist": _SGD,
        "Cifar10Mnist": {"lr": 1e-4, "max_iter": 100, "num_epochs": 1},
    }
)

# KDMTL and MTAN: 200 epochs, a step every 25.
_METHOD: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "MGDA": _SGD,
        "KDMTL": {"distillation": (0.025, 0.025), "lr": 1e-4, "max_iter": 8, "num_epochs": 25, "lr_sched_coef": 0.98},
        "MTAN": {"lr": 1e-3, "max_iter": 8, "num_epochs": 25, "lr_sched_coef": 0.5},
    }
)

# Schedule "fast", of every method.
_FAST_ANYWHERE: Mapping[str, Any] = MappingProxyType(
    {
        "schedule": "fast",
        "base_optimizer": "Adam",
        "batch_size": 128,
        "num_epochs": 1,
        "max_iter": 9,
        "max_iter_search": 4,
        "max_iter_retrain": 5,
    }
)
_FAST: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "MultiMnist": {**_FAST_ANYWHERE, "lr": 2.5e-3},
        "Cifar10Mnist": {
            **_FAST_ANYWHERE,
            "lr": 1e-3,
            "batch_size": 64,
            "max_iter": 10,
            "max_iter_search": 3,
            "max_iter_retrain": 7,
        },
    }
)

# Pareto studies: the multipliers have to settle while the learning rate is large.
STUDY: Mapping[str, Any] = MappingProxyType({"lr_sched_coef": 0.7})

# Methods that learn from single-task teachers.
WITH_TEACHERS = ("KDMTL",)

# The searches that come before: 50 epochs on a share of the images.
SEARCH_BEFORE: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"KDMTL": {"max_iter": 2, "train_share": 0.2}, "MTAN": {"max_iter": 2, "train_share": 0.5}}
)

DEMO: Mapping[str, Any] = MappingProxyType(
    {
        "base_optimizer": "Adam",
        "batch_size": 128,
        "max_iter": 6,
        "max_iter_search": 3,
        "max_iter_retrain": 4,
        "num_epochs": 2,
        "lr": 2.5e-3,
        "lr_sched_coef": 0.5,
    }
)


def schedule_parameters(schedule: str, backbone: str = "") -> Mapping[str, Any]:
    """Defaults of a schedule, of any method, for a backbone; without one for a network of one's own."""
    return _FAST.get(backbone, _FAST_ANYWHERE) if schedule == "fast" else {}


def default_parameters(
    backbone: str, architecture: str, *, method: str, sparsity: bool, demo: bool, schedule: str = "reference"
) -> dict[str, Any]:
    """Defaults that differ from the general ones.

    Args:
        backbone: of the data set.
        architecture: of the network.
        method: of the training.
        sparsity: whether the sparsity objective takes part.
        demo: whether the short schedule of the demonstration is wanted.
        schedule: by its name, as in :class:`TrainingParameters`.
    """
    own = {**_BACKBONE.get(backbone, {}), **_SPARSITY.get((backbone, architecture), {})}
    single = _SINGLE_TASK.get(backbone, {}) if architecture == "STL" and not sparsity else {}
    baseline = _METHOD.get(method, _METHOD.get(architecture, {}) if not sparsity else {})
    return {**own, **single, **baseline, **schedule_parameters(schedule, backbone), **(DEMO if demo else {})}
