"""Search over parameters, preference vectors above all: train each candidate, keep the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.utils.files import copy_file, write_csv
from src.utils.runs.config import MODEL, model_file, run_fingerprint
from src.utils.study.sweep import Basis, Outcome, Point, run_sweep
from src.utils.study.trials import Candidate, spread_values


def search(basis: Basis, candidates: Sequence[Candidate]) -> Outcome:
    """Train every candidate and leave the table ``search.csv``; ``best`` of the outcome is the place of the best one.

    Raises:
        UserError: if a candidate cannot be trained as asked for, or none could be.
    """
    outcome = run_sweep("search", basis.label("search"), basis, basis.trials(candidates))
    write_csv(outcome.folder / "search.csv", [_row(point) for point in outcome.points])
    return outcome


def keep_best(basis: Basis, outcome: Outcome) -> Path:
    """Copy the best model of a search over training parameters to ``mod_logdir``."""
    best = outcome.points[outcome.best]
    parameters = basis.parameters.changed(**best.candidate)
    model = model_file(basis.config, parameters, run_fingerprint(basis.config, parameters))
    if model.exists():
        basis.observer.message(f"an earlier run was the same; replaced: {model}")
    copy_file(best.results.folder / MODEL, model)
    return model


def _row(point: Point) -> dict[str, Any]:
    row, results = spread_values(point.candidate), point.results
    for name in ("validation_accuracy", "test_accuracy"):
        row |= {f"{name}_{task}": value for task, value in enumerate(getattr(results, name), start=1)}
    return row | {"sparsity_rate": results.sparsity_rate, "reached_min_sparsRate": results.reached_min_sparsRate}
