"""Search over parameters, preference vectors above all: train each candidate, keep the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from Data_loaders.datasets import MultiTaskDataset
from src.utils.files import copy_file, write_csv
from src.utils.runs.config import RunConfig, model_file
from src.utils.study.sweep import Outcome, Point, SweepObserver, run_sweep
from src.utils.study.trials import Candidate, spread_values, trials_of
from src.utils.study.workers import Workers
from src.utils.training.parameters import TrainingParameters


def search(
    config: RunConfig,
    parameters: TrainingParameters,
    candidates: Sequence[Candidate],
    data: MultiTaskDataset,
    workers: Workers,
    observer: SweepObserver,
) -> Outcome:
    """Train every candidate and leave the table ``search.csv``; ``best`` of the outcome is the place of the best one.

    Args:
        config, parameters: of the runs; each candidate's values replace those of them.
        candidates: to be trained.
        data: that ``config`` names.
        workers: who trains.
        observer: told of the progress.

    Raises:
        UserError: if a candidate cannot be trained as asked for, or none could be.
    """
    task = "" if config.task is None else f"_task{config.task}"
    label = f"search_{config.architecture}_{config.dataset}{task}"
    outcome = run_sweep("search", label, trials_of(config, parameters, candidates), data, workers, observer)
    write_csv(outcome.folder / "search.csv", [_row(point) for point in outcome.points])
    return outcome


def keep_best(config: RunConfig, parameters: TrainingParameters, outcome: Outcome) -> Path:
    """Copy the best model of a search over training parameters to ``mod_logdir``; arguments as in :func:`search`."""
    best = outcome.points[outcome.best]
    model = model_file(config, parameters.changed(**best.candidate))
    copy_file(best.folder / "model.pth", model)
    return model


def _row(point: Point) -> dict[str, Any]:
    row = spread_values(point.candidate)
    for name in ("validation_accuracy", "test_accuracy"):
        row |= {f"{name}_{task}": value for task, value in enumerate(getattr(point.results, name), start=1)}
    results = point.results
    return row | {"sparsity_rate": results.sparsity_rate, "reached_min_sparsRate": results.reached_min_sparsRate}
