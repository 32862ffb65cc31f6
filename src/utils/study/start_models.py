"""The networks that a Pareto-front study starts from, trained with k_0 above 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.models.multi_task import MultiTaskNetwork
from src.models.registry import SavedModel, load_model
from src.utils.errors import UserError
from src.utils.files import read_torch
from src.utils.runs.config import RunConfig
from src.utils.study.sweep import SweepObserver

GROWL = ("skip_layer", "growl_type", "beta1", "beta2", "row_groups")
"""Training parameters that a study takes from the model: they say what Omega is."""


@dataclass(frozen=True)
class StartModel:
    """A network to start from; one without zero rows makes the front of a dense network.

    Attributes:
        path: its file.
        k0: preference of the sparsity objective it was trained with.
        growl: what it was trained with of the parameters GROWL, by name.
        validation_accuracy: mean over the tasks, percent.
        sparsity_rate: percent.
        reached_min_sparsRate: whether it is as sparse as was asked for.
    """

    path: Path
    k0: float
    growl: dict[str, Any]
    validation_accuracy: float
    sparsity_rate: float
    reached_min_sparsRate: bool | None

    @property
    def merit(self) -> tuple[bool, bool, float]:
        """With zero rows first, then sparse enough, then validation accuracy."""
        return self.sparsity_rate > 0, self.reached_min_sparsRate is not False, self.validation_accuracy


def find_start_model(
    config: RunConfig,
    script: str,
    k0: float | None,
    observer: SweepObserver,
    network: Callable[[], MultiTaskNetwork] | None = None,
) -> StartModel:
    """The most accurate sparse network of ``mod_logdir``, on the recorded validation accuracy.

    One that was trained for sparsity and has no zero rows is taken where there is no other.

    Args:
        config: whose architecture and data set it must have.
        script: that makes such a network, for the message.
        k0: it must have been trained with; None takes any.
        observer: told of files that cannot be read.
        network: makes a network of the user's own; files of others are passed over.

    Raises:
        UserError: if there is none.
    """
    folder = config.root / config.mod_logdir
    found = []
    for path in sorted(folder.glob("*.pth")):
        try:
            saved = _read(path, config, network)
        except UserError as error:
            observer.message(f"left out: {error}")
            continue
        if saved and _fits(saved, config) and (saved.results["sparsity_rate"] > 0 or saved.parameters["w"][0] > 0):
            found.append(_start_model(path, saved))
    found = [start for start in found if k0 is None or start.k0 == k0]
    if not found:
        with_k0 = "" if k0 is None else f" trained with k0 = {k0:g}"
        raise UserError(
            f"no sparse {config.architecture} for {config.dataset}{with_k0} in {folder}: make one with {script}"
            + ("" if k0 is None else f" --k {k0:g} ...")
        )
    return max(found, key=lambda start: start.merit)


def read_start_model(
    path: Path, config: RunConfig, network: Callable[[], MultiTaskNetwork] | None = None
) -> StartModel:
    """The network in a file that the user names; arguments as of :func:`find_start_model`.

    Raises:
        UserError: if it is of another architecture or data set.
    """
    saved = _read(path, config, network)
    if saved is None or not _fits(saved, config):
        held = f"{saved.architecture.name} for {saved.results.get('dataset')}" if saved else "another network"
        raise UserError(f"{path} holds {held}; wanted: {config.architecture} for {config.dataset}")
    return _start_model(path, saved)


def _read(path: Path, config: RunConfig, network: Callable[[], MultiTaskNetwork] | None) -> SavedModel | None:
    """The network in a file; None where a network of the user's own is wanted and the file is of another."""
    if network is None:
        return load_model(path)
    content = read_torch(path)
    of = (content.get("architecture", {}).get("name"), content.get("results", {}).get("dataset"))
    return load_model(path, network=network()) if of == (config.architecture, config.dataset) else None


def _fits(saved: SavedModel, config: RunConfig) -> bool:
    wanted = (config.architecture, config.dataset, config.task)
    return (saved.architecture.name, saved.results.get("dataset"), saved.results.get("task")) == wanted


def _start_model(path: Path, saved: SavedModel) -> StartModel:
    return StartModel(
        path,
        float(saved.parameters["w"][0]),
        {name: saved.parameters[name] for name in GROWL if name in saved.parameters},
        float(np.mean(saved.results["validation_accuracy"])),
        float(saved.results["sparsity_rate"]),
        saved.results["reached_min_sparsRate"],
    )
