"""Several studies, searches, repetitions or single runs in one picture, with hypervolumes that can be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.utils.errors import UserError
from src.utils.files import write_csv
from src.utils.study import plots
from src.utils.study.pareto import hypervolume_if_defined, non_dominated, reference_point
from src.utils.study.sweep import Point, read_point


@dataclass(frozen=True)
class Compared:
    """One of the compared folders.

    Attributes:
        label: architecture and method.
        points: of its finished runs.
        on_front: how many are not dominated, in the validation losses, by others of the same folder.
        volume: hypervolume of the validation losses, None for other than two or three tasks.
        error_volume: of the test errors, 100 - accuracy in percent.
        accuracy: mean test accuracy, percent, of the point with the best validation accuracy.
    """

    label: str
    points: list[Point]
    on_front: int
    volume: float | None
    error_volume: float | None
    accuracy: float


@dataclass(frozen=True)
class Comparison:
    """What was compared, with the reference points shared by all hypervolumes, and the files written."""

    compared: list[Compared]
    reference: list[float]
    error_reference: list[float]
    files: list[Path]


@dataclass(frozen=True)
class _Source:
    label: str
    dataset: str
    task_names: tuple[str, ...]
    points: list[Point]

    @property
    def losses(self) -> np.ndarray:
        return np.array([point.validation_losses for point in self.points])

    @property
    def errors(self) -> np.ndarray:
        return 100 - np.array([point.test_accuracy for point in self.points])


def compare(folders: Sequence[Path], root: Path, name: str) -> Comparison:
    """Draw the fronts of several folders in one picture, and measure them with one reference point.

    Args:
        folders: of studies, searches, repetitions or single runs, all on one data set.
        root: under which the pictures and the table are written.
        name: of those files.

    Raises:
        UserError: if a folder has no finished run, or the data sets or tasks differ.
    """
    if not name or Path(name).name != name:
        raise UserError(f"name is {name!r}; allowed: the beginning of a file's name, without folders")
    sources = [_read(folder) for folder in folders]
    data = {(source.dataset, source.task_names) for source in sources}
    if len(data) > 1:
        shown = "; ".join(f"{dataset}: {', '.join(names)}" for dataset, names in sorted(data))
        raise UserError(f"the folders are of different data or tasks ({shown}); allowed: one")
    ((dataset, task_names),) = data
    labels = _unique([source.label for source in sources], folders)
    reference = reference_point([source.losses for source in sources])
    error_reference = reference_point([source.errors for source in sources])
    compared = [
        Compared(
            label,
            source.points,
            int(non_dominated(source.losses).sum()),
            hypervolume_if_defined(source.losses, reference),
            hypervolume_if_defined(source.errors, error_reference),
            float(np.mean(max(source.points, key=lambda point: point.mean_accuracy).test_accuracy)),
        )
        for label, source in zip(labels, sources, strict=True)
    ]
    files = [root / "Images" / dataset / f"{name}_{what}.png" for what in ("losses", "accuracies")]
    if len(task_names) > 1:
        volumes = {item.label: item.volume for item in compared if item.volume is not None}
        losses = {label: source.losses for label, source in zip(labels, sources, strict=True)}
        axes = [f"validation loss, {task}" for task in task_names]
        plots.draw_fronts(files[0], losses, axes, volumes, f"{dataset}: losses")
        volumes = {item.label: item.error_volume for item in compared if item.error_volume is not None}
        accuracies = {label: 100 - source.errors for label, source in zip(labels, sources, strict=True)}
        axes = [f"test accuracy, {task} (%)" for task in task_names]
        plots.draw_fronts(files[1], accuracies, axes, volumes, f"{dataset}: accuracies", larger_is_better=True)
    table = files[0].with_name(f"{name}.csv")
    write_csv(table, [_row(item) for item in compared])
    pictures = files if len(task_names) > 1 else []
    return Comparison(compared, reference.tolist(), error_reference.tolist(), [table, *pictures])


def _read(folder: Path) -> _Source:
    results = [folder / "results.json"] if (folder / "results.json").exists() else sorted(folder.glob("*/results.json"))
    if not results:
        raise UserError(f"{folder} holds no finished run; name the folder of a study, search, repetitions or run")
    points = [read_point(path.parent) for path in results]
    kinds = {_kind(path) for path in results}
    if len(kinds) > 1:
        raise UserError(f"the runs in {folder} are not of one data set, architecture and method: no front")
    ((label, dataset, task_names),) = kinds
    return _Source(label, dataset, task_names, points)


def _kind(results: Path) -> tuple[str, str, tuple[str, ...]]:
    """Label, data set and tasks of a run."""
    try:
        content = json.loads(results.read_text())
        label = f"{content['architecture']}, {content['parameters']['method']}"
        return label, content["dataset"], tuple(content["task_names"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{results} is damaged or of another version") from error


def _unique(labels: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The labels, those that are not unique with the name of their folder."""
    named = [
        label if labels.count(label) == 1 else f"{label}, {folder.resolve().name}"
        for label, folder in zip(labels, folders, strict=True)
    ]
    return [name if named.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(named, start=1)]


def _row(item: Compared) -> dict[str, Any]:
    return {
        "name": item.label,
        "points": len(item.points),
        "not_dominated": item.on_front,
        "hypervolume_losses": item.volume,
        "hypervolume_errors": item.error_volume,
        "mean_test_accuracy_of_best": item.accuracy,
    }
