"""Several studies, searches, repetitions or single runs side by side, with hypervolumes that can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.utils.errors import UserError
from src.utils.files import write_csv
from src.utils.runs.results import Results, read_results
from src.utils.study.pareto import Front, Points, front_of, reference_point


@dataclass(frozen=True)
class Compared:
    """One of the compared folders.

    Attributes:
        label: architecture and method.
        losses: front of the validation losses.
        errors: test errors, 100 - accuracy in percent, of the points that the validation errors choose.
        accuracy: mean test accuracy, percent, of the point with the best validation accuracy.
    """

    label: str
    losses: Front
    errors: Front
    accuracy: float


@dataclass(frozen=True)
class Comparison:
    """What was compared, all with the same two reference points.

    Attributes:
        dataset, task_names: of all folders.
        compared: the folders.
        score_name: what accuracies are called, score where not all tasks are classifications.
    """

    dataset: str
    task_names: tuple[str, ...]
    compared: tuple[Compared, ...]
    score_name: str = "accuracy"


def compare(folders: Sequence[Path], reference: Sequence[float] | None = None) -> Comparison:
    """Measure the fronts of several folders with one reference point.

    Args:
        folders: of studies, searches, repetitions or single runs, all on one data set.
        reference: point that the hypervolumes of the losses are measured from, one number per task; None takes one
            just beyond all points.

    Raises:
        UserError: if a folder has no finished run, the data sets or tasks differ, or no point is below the reference.
    """
    sources = [_read(folder) for folder in folders]
    data = {(found[0].dataset, found[0].task_names) for found in sources}
    if len(data) > 1:
        shown = "; ".join(f"{dataset}: {', '.join(names)}" for dataset, names in sorted(data))
        raise UserError(f"the folders are of different data or tasks ({shown}); allowed: one")
    ((dataset, task_names),) = data
    losses = [np.array([results.validation_losses for results in found]) for found in sources]
    errors = [100 - np.array([results.test_accuracy for results in found]) for found in sources]
    chosen = [100 - np.array([results.validation_accuracy for results in found]) for found in sources]
    error_corner = reference_point(errors)
    corner = _checked(reference, np.vstack(losses)) if reference else reference_point(losses)
    compared = tuple(
        Compared(label, front_of(values, corner), front_of(wrong, error_corner, chosen_by=by), _accuracy_of_best(found))
        for label, values, wrong, by, found in zip(
            _labels(sources, folders), losses, errors, chosen, sources, strict=True
        )
    )
    return Comparison(dataset, task_names, compared, sources[0][0].score_name)


def check_name(name: str) -> None:
    """Refuse what is no beginning of a file's name.

    Raises:
        UserError: if it has folders, or is empty.
    """
    if not name or Path(name).name != name:
        raise UserError(f"name is {name!r}; allowed: the beginning of a file's name, without folders")


def write_comparison(
    comparison: Comparison, root: Path, name: str, message: Callable[[str], None] = lambda text: None
) -> Path:
    """Write the table of the figures; returns its file, beside which pictures stand.

    Args:
        comparison: what was measured.
        root: under which it is written.
        name: beginning of the file's name, see :func:`check_name`.
        message: told what is replaced.
    """
    table = root / "Images" / comparison.dataset / f"{name}.csv"
    if table.exists():
        message(f"an earlier comparison has this name; replaced: {table} and its pictures; --name keeps both")
    write_csv(table, [_row(item) for item in comparison.compared])
    return table


def _checked(reference: Sequence[float], losses: Points) -> Points:
    """The reference point, if the losses (n, m) have as many numbers and a point below it."""
    corner, tasks = np.array(reference, dtype=np.float64), losses.shape[1]
    if len(corner) != tasks:
        raise UserError(f"reference is {list(reference)}; allowed: {tasks} numbers, a loss per task")
    if not (losses < corner).all(axis=1).any():
        nearest = np.round(losses[(losses - corner).max(axis=1).argmin()], 4).tolist()
        raise UserError(f"reference is {list(reference)}; allowed: larger losses than those of a point, as {nearest}")
    return corner


def _read(folder: Path) -> list[Results]:
    """Results of all finished runs of a folder, which are of one kind."""
    places = [folder] if (folder / "results.json").exists() else [p.parent for p in folder.glob("*/results.json")]
    if not places:
        raise UserError(f"{folder} holds no finished run; name the folder of a study, search, repetitions or run")
    found = [read_results(place) for place in sorted(places)]
    if len({(_label(results), results.dataset, results.task_names) for results in found}) > 1:
        raise UserError(f"the runs in {folder} are not of one data set, architecture and method: they make no front")
    return found


def _label(results: Results) -> str:
    return f"{results.architecture}, {results.parameters['method']}"


def _labels(sources: Sequence[Sequence[Results]], folders: Sequence[Path]) -> list[str]:
    """Architecture and method, where that is not unique with the name of the folder."""
    labels = [_label(found[0]) for found in sources]
    named = [
        label if labels.count(label) == 1 else f"{label}, {folder.resolve().name}"
        for label, folder in zip(labels, folders, strict=True)
    ]
    return [name if named.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(named, start=1)]


def _accuracy_of_best(found: Sequence[Results]) -> float:
    return max(found, key=lambda results: results.mean_accuracy).mean_test_accuracy


def _row(item: Compared) -> dict[str, Any]:
    return {
        "name": item.label,
        "points": len(item.losses.values),
        "not_dominated": item.losses.count,
        "hypervolume_losses": item.losses.volume,
        "hypervolume_errors": item.errors.volume,
        "mean_test_accuracy_of_best": item.accuracy,
    }
