"""The Pareto-front study: from one sparse network to a front of trade-offs between the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from src.utils.errors import UserError
from src.utils.files import write_csv, write_json
from src.utils.study.pareto import Front, Mask, epsilon_non_dominated, front_of
from src.utils.study.preference_vectors import preference_family
from src.utils.study.record import RECORD
from src.utils.study.start_models import StartModel
from src.utils.study.sweep import Basis, Outcome, Point, run_sweep
from src.utils.study.trials import spread_values, trials_of


@dataclass(frozen=True)
class Boxes:
    """Sides and origin of the boxes of epsilon-dominance, in units of loss."""

    box: float = 1e-2
    box_origin: float = 0.0


@dataclass(frozen=True)
class Study:
    """A study, from its files alone.

    Attributes:
        outcome: of its trainings.
        starts: networks it started from.
        boxes: of epsilon-dominance.
    """

    outcome: Outcome
    starts: tuple[StartModel, ...]
    boxes: Boxes

    @property
    def points(self) -> tuple[Point, ...]:
        """One per finished vector."""
        return self.outcome.points

    @property
    def best(self) -> Point:
        """The point with the highest mean validation accuracy."""
        return self.points[self.outcome.best]

    @property
    def task_names(self) -> tuple[str, ...]:
        """One per task."""
        return self.best.results.task_names

    @property
    def title(self) -> str:
        """Of pictures and report."""
        results = self.best.results
        return f"{results.architecture} on {results.dataset}, method {results.parameters['method']}"

    @cached_property
    def losses(self) -> Front:
        """Of the validation losses."""
        return front_of([results.validation_losses for results in self.outcome.results])

    @cached_property
    def errors(self) -> Front:
        """Test errors, 100 - accuracy in percent, of the points that the validation errors choose."""
        found = self.outcome.results
        validation = 100 - np.array([results.validation_accuracy for results in found])
        return front_of(100 - np.array([results.test_accuracy for results in found]), chosen_by=validation)

    @cached_property
    def with_omega(self) -> Front:
        """Of the validation losses and Omega together."""
        return front_of([[*results.validation_losses, results.omega] for results in self.outcome.results])

    @cached_property
    def on_epsilon_front(self) -> Mask:
        """Points that are not epsilon-dominated in the validation losses."""
        return epsilon_non_dominated(self.losses.values, self.boxes.box, self.boxes.box_origin)


def study_of(outcome: Outcome) -> Study:
    """The study that a sweep of that kind is.

    Raises:
        UserError: if its settings are damaged.
    """
    try:
        starts = [
            TypeAdapter(StartModel).validate_python({**start, "path": outcome.folder / Path(start["path"]).name})
            for start in outcome.settings["starts"]
        ]
        return Study(outcome, tuple(starts), TypeAdapter(Boxes).validate_python(outcome.settings["boxes"]))
    except (ValueError, TypeError, LookupError) as error:
        raise UserError(f"{outcome.folder} holds no study of this version: its {RECORD} lacks settings") from error


def pareto_study(
    basis: Basis, starts: Sequence[StartModel], *, resolution: int | None = None, boxes: Boxes | None = None
) -> Study:
    """Train from each network for every preference vector of its k0, its zero rows held, and analyse the points.

    Leaves the table ``front.csv`` and the summary ``study.json``.

    Args:
        basis: whose ``w`` is replaced by each vector, and whose parameters of GROWL by the start model's.
        starts: networks to start from, one per k0.
        resolution: of a lattice over the tasks; None takes the family of two tasks.
        boxes: of epsilon-dominance.

    Raises:
        UserError: if no vector could be trained, or what was found cannot be analysed.
    """
    config, parameters = basis.config, basis.parameters
    trials = [
        trial
        for start in starts
        for trial in trials_of(
            replace(config, model=str(start.path)),
            parameters.changed(Sparsity_study=False, **start.growl),
            [{"w": k} for k in preference_family(start.k0, len(basis.data.tasks), resolution)],
        )
    ]
    models = [{**asdict(start), "path": start.path.name} for start in starts]
    settings = {"starts": models, "boxes": asdict(boxes or Boxes())}
    label = f"pareto_{config.architecture}_{config.dataset}"
    outcome = run_sweep("study", label, basis, trials, settings=settings)
    try:
        study = study_of(outcome)
        write_csv(outcome.folder / "front.csv", [_row(study, place) for place in range(len(study.points))])
        write_json(outcome.folder / "study.json", _summary(study))
    except ValueError as error:
        raise UserError(f"the points cannot be analysed: {error}") from error
    return study


def _row(study: Study, place: int) -> dict[str, Any]:
    results = study.points[place].results
    row = spread_values({"w": results.k})
    for name in ("validation_losses", "validation_accuracy", "test_accuracy"):
        row |= {f"{name}_{task}": value for task, value in enumerate(getattr(results, name), start=1)}
    row |= {"omega": results.omega, "sparsity_rate": results.sparsity_rate}
    masks = {
        "on_front": study.losses.mask,
        "on_epsilon_front": study.on_epsilon_front,
        "on_accuracy_front": study.errors.mask,
        "on_omega_front": study.with_omega.mask,
    }
    return row | {name: bool(mask[place]) for name, mask in masks.items()}


def _summary(study: Study) -> dict[str, Any]:
    results = study.best.results
    volumes = {"losses": study.losses, "errors": study.errors, "losses_and_omega": study.with_omega}
    return {
        **{name: getattr(results, name) for name in ("script", "architecture", "dataset", "task_names", "seed")},
        "method": results.parameters["method"],
        **study.outcome.settings,
        "points": [
            {name: getattr(found, name) for name in ("k", "validation_losses", "test_accuracy", "omega")}
            for found in study.outcome.results
        ],
        "best": results.k,
        "hypervolume": {
            name: {"volume": front.volume, "reference": front.reference.tolist()} for name, front in volumes.items()
        },
        "spread": study.losses.spread,
        "failures": [asdict(failure) for failure in study.outcome.failures],
        "parameters": {name: value for name, value in results.parameters.items() if name != "w"},
    }
