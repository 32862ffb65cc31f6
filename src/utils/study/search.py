"""Search over parameters, preference vectors above all: train each candidate, keep the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Data_loaders.datasets import MultiTaskDataset
from src.utils.errors import UserError
from src.utils.files import check_writable, copy_file, write_csv
from src.utils.study import plots
from src.utils.study.sweep import (
    Failure,
    Point,
    SweepObserver,
    Trial,
    Workers,
    check_trials,
    fingerprint,
    run_sweep,
)
from src.utils.training.parameters import TrainingParameters
from src.utils.training.run import RunConfig, model_file

Candidate = Mapping[str, Any]
"""Values of training parameters that differ from the others' in a search."""


@dataclass(frozen=True)
class SearchOutcome:
    """What a search found.

    Attributes:
        candidates: those that were trained, with their points.
        best: place of the best one among them.
        failures: what could not be trained.
        files: table and picture.
    """

    candidates: list[tuple[Candidate, Point]]
    best: int
    failures: list[Failure]
    files: list[Path]


def search(
    config: RunConfig,
    parameters: TrainingParameters,
    candidates: Sequence[Candidate],
    data: MultiTaskDataset,
    workers: Workers,
    observer: SweepObserver,
) -> SearchOutcome:
    """Train every candidate.

    Finished candidates are skipped and an interrupted one is continued: the folder's name holds a checksum of all that
    the runs depend on, so another parameter or candidate makes another folder.

    Args:
        config, parameters: of the runs; each candidate's values replace those of ``parameters``.
        candidates: to be trained.
        data: that ``config`` names.
        workers: who trains.
        observer: told of the progress.

    Raises:
        UserError: if a candidate cannot be trained as asked for, or none could be.
    """
    folder = search_folder(config, parameters, data, candidates)
    for place in (folder, config.root / "Images", config.root / config.mod_logdir):
        check_writable(place)
    trials = [Trial(_name(candidate), config, parameters.changed(**candidate)) for candidate in candidates]
    check_trials(trials, data)
    outcome = run_sweep(folder, trials, workers, observer)
    done = [(c, outcome.points[t.name]) for c, t in zip(candidates, trials, strict=True) if t.name in outcome.points]
    if not done:
        raise UserError(f"none of {len(trials)} candidates could be trained: {outcome.failures[0].reason}")
    best = max(range(len(done)), key=lambda place: done[place][1].merit)
    table, picture = folder / "search.csv", config.root / "Images" / config.dataset / f"{folder.name}.png"
    write_csv(table, [_row(candidate, point) for candidate, point in done])
    labels = [label(candidate) for candidate, _ in done]
    plots.draw_search(picture, [point for _, point in done], labels, best, data.task_names)
    return SearchOutcome(done, best, outcome.failures, [table, picture])


def keep_best(config: RunConfig, parameters: TrainingParameters, outcome: SearchOutcome) -> Path:
    """Copy the best model of a search to ``mod_logdir``; the other arguments are the search's."""
    candidate, point = outcome.candidates[outcome.best]
    model = model_file(config, parameters.changed(**candidate))
    copy_file(point.folder / "model.pth", model)
    return model


def search_folder(
    config: RunConfig, parameters: TrainingParameters, data: MultiTaskDataset, candidates: Sequence[Candidate]
) -> Path:
    """The folder of a search, named by all that its runs depend on."""
    task = "" if config.task is None else f"_task{config.task}"
    tried = [dict(candidate) for candidate in candidates]
    identity = fingerprint(config, parameters, data, parameters.w, tried)
    return config.root / config.main_dir / f"search_{config.architecture}_{config.dataset}{task}_{identity}"


def label(candidate: Candidate) -> str:
    """The candidate as tables and pictures show it: k = (0.1, 0.9), lr = 0.01."""
    return ", ".join(f"{_shown(name)} = {_value(value)}" for name, value in candidate.items())


def _name(candidate: Candidate) -> str:
    return "_".join(_shown(name) + _value(value).strip("()").replace(", ", "_") for name, value in candidate.items())


def _shown(name: str) -> str:
    return "k" if name == "w" else name


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(f'{item:.10g}' for item in value)})"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _row(candidate: Candidate, point: Point) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in candidate.items():
        values = {f"{_shown(name)}_{i}": item for i, item in enumerate(value)} if isinstance(value, tuple) else {}
        row |= values or {name: value}
    for name in ("validation_accuracy", "test_accuracy"):
        row |= {f"{name}_{task}": value for task, value in enumerate(getattr(point, name), start=1)}
    return row | {"sparsity_rate": point.sparsity_rate, "reached_min_sparsRate": point.reached_min_sparsRate}
