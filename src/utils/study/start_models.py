"""The networks that a Pareto-front study starts from, trained with k_0 above 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.models.multi_task import MultiTaskNetwork
from src.models.registry import SavedModel, load_model, read_model_file
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig
from src.utils.runs.results import results_in, trained_with
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
            if saved and _fits(saved, config):
                found.append(_start_model(path, saved))
        except UserError as error:
            observer.message(f"left out: {error}")
    found = [start for start in found if start.sparsity_rate > 0 or start.k0 > 0]
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
    content = read_model_file(path)
    of = (content.architecture.name, content.results.get("dataset"))
    return load_model(path, network=network()) if of == (config.architecture, config.dataset) else None


def _fits(saved: SavedModel, config: RunConfig) -> bool:
    wanted = (config.architecture, config.dataset, config.task)
    return (saved.architecture.name, saved.results.get("dataset"), saved.results.get("task")) == wanted


def _start_model(path: Path, saved: SavedModel) -> StartModel:
    parameters, results = trained_with(path, saved.parameters), results_in(path, saved.results)
    return StartModel(
        path,
        parameters.w[0],
        {name: getattr(parameters, name) for name in GROWL},
        results.mean_accuracy,
        results.sparsity_rate,
        results.reached_min_sparsRate,
    )
