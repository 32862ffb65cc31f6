"""Candidates and trials: what the trainings of a sweep are, before they have folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

from src.utils.checked import fields_of
from src.utils.runs.config import RunConfig, identity, model_checksum
from src.utils.runs.problem import torch_device
from src.utils.tasks import Task
from src.utils.training.parameters import TrainingParameters

Candidate = Mapping[str, Any]
"""Values of training parameters or of the configuration that set one training of a sweep apart from the others."""


class DataFacts(Protocol):
    """What a sweep knows of its data."""

    @property
    def checksum(self) -> str:
        """The identity of the data."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What they are for."""


@dataclass(frozen=True)
class Trial:
    """One training of a sweep, before it has a folder."""

    candidate: Candidate
    config: RunConfig
    parameters: TrainingParameters

    @property
    def name(self) -> str:
        """Of its folder: k0.1_0.9, lr0.01, seed3."""
        return "_".join(
            shown_name(name) + shown_value(value).strip("()").replace(", ", "_")
            for name, value in self.candidate.items()
        )


def trials_of(config: RunConfig, parameters: TrainingParameters, candidates: Sequence[Candidate]) -> list[Trial]:
    """A trial per candidate, whose values replace those of ``config`` and ``parameters``."""
    return [
        Trial(
            candidate,
            replace(config, **{n: value for n, value in candidate.items() if n in fields_of(RunConfig)}),
            parameters.changed(**{n: value for n, value in candidate.items() if n not in fields_of(RunConfig)}),
        )
        for candidate in candidates
    ]


def fingerprint(trials: Sequence[Trial], data: DataFacts, *, batched: bool = False) -> str:
    """Checksum of all that the results of trials depend on: not where files are, but what they hold.

    Args:
        trials: of the sweep.
        data: of all of them.
        batched: whether they are trained as one, which rounds otherwise.

    Raises:
        UserError: if a model cannot be read.
    """
    checksum = cache(model_checksum)
    content: list[Any] = [data.checksum, torch_device(trials[0].config).type]
    content += ["batched"] if batched else []
    content += [identity(trial.config, trial.parameters.changed(num_model=0), checksum) for trial in trials]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def shown_name(name: str) -> str:
    """The name of a value as tables, pictures and folders show it."""
    return "k" if name == "w" else name


def shown_value(value: Any) -> str:
    """A value as tables, pictures and folders show it."""
    if isinstance(value, tuple):
        return f"({', '.join(f'{item:.10g}' for item in value)})"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def spread_values(candidate: Candidate) -> dict[str, Any]:
    """The values of a candidate as columns of a table: k_0, k_1, ... for a vector."""
    row: dict[str, Any] = {}
    for name, value in candidate.items():
        many = {f"{shown_name(name)}_{i}": item for i, item in enumerate(value)} if isinstance(value, tuple) else {}
        row |= many or {shown_name(name): value}
    return row
