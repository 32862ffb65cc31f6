"""Default parameters per data set and architecture; what is not named here is :class:`TrainingParameters`' own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_DEFAULTS: Mapping[tuple[str, str], Mapping[str, Any]] = MappingProxyType(
    {
        ("MultiMnist", "MDMTN"): {"min_sparsRate": 20.0, "max_layerSRate": 0.8},
    }
)

DEMO: Mapping[str, Any] = MappingProxyType(
    {"batch_size": 128, "max_iter": 6, "max_iter_search": 3, "max_iter_retrain": 4, "num_epochs": 2}
)


def default_parameters(backbone: str, architecture: str, *, demo: bool) -> dict[str, Any]:
    """Defaults that differ from the general ones, for a data set's backbone and an architecture."""
    return {**_DEFAULTS.get((backbone, architecture), {}), **(DEMO if demo else {})}
