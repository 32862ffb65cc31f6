"""Search over preference vectors: train each, keep the best."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from src.utils.errors import UserError
from src.utils.files import write_csv
from src.utils.study import plots
from src.utils.study.preference_vectors import PreferenceVector
from src.utils.training.engine import Observer
from src.utils.training.parameters import TrainingParameters
from src.utils.training.run import RunConfig, RunFiles, model_file, resume_run, run_name, start_run


@dataclass(frozen=True)
class SearchPoint:
    """One trained preference vector; accuracies and sparsity in percent."""

    k: PreferenceVector
    validation_accuracy: tuple[float, ...]
    test_accuracy: tuple[float, ...]
    sparsity_rate: float
    reached_min_sparsRate: bool | None
    folder: Path

    @property
    def merit(self) -> tuple[bool, float]:
        """Sparse enough first, then mean validation accuracy."""
        return self.reached_min_sparsRate is not False, sum(self.validation_accuracy) / len(self.validation_accuracy)


@dataclass(frozen=True)
class SearchOutcome:
    """All points in the order of the vectors, the best of them, and the files written."""

    points: list[SearchPoint]
    best: SearchPoint
    files: list[Path]


def search(
    config: RunConfig,
    parameters: TrainingParameters,
    vectors: Sequence[PreferenceVector],
    observer: Observer,
    task_names: Sequence[str],
    announce: Callable[[str], None],
) -> SearchOutcome:
    """Train every preference vector and copy the best model to ``mod_logdir``.

    Finished vectors are skipped and an interrupted one is continued: the folder's name holds a checksum of all that
    the runs depend on, so another parameter makes another folder.

    Args:
        config, parameters: of the runs; ``parameters.w`` is replaced by each vector.
        vectors: to be trained, in this order.
        observer: told of the progress of each run.
        task_names: one per task, for the picture.
        announce: told which vector comes next.
    """
    folder = search_folder(config, parameters)
    points = []
    for number, k in enumerate(vectors, start=1):
        shown = ", ".join(f"{value:g}" for value in k)
        files = _files(config, parameters.changed(w=k), folder)
        announce(
            f"vector {number} of {len(vectors)}: k = ({shown})" + (", done before" if files.results.exists() else "")
        )
        if not files.results.exists():
            _run(config, parameters.changed(w=k), files, observer)
        points.append(_point(files))
    best = max(points, key=lambda point: point.merit)
    model = model_file(config, parameters.changed(w=best.k))
    model.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(best.folder / "model.pth", model)
    table, picture = folder / "search.csv", config.root / "Images" / config.dataset / f"{folder.name}.png"
    write_csv(table, [_row(point) for point in points])
    plots.draw_search(picture, points, best, task_names)
    return SearchOutcome(points, best, [table, picture, model])


def search_folder(config: RunConfig, parameters: TrainingParameters) -> Path:
    """The folder of a search, named by what its runs depend on besides k."""
    place = {"data_dir", "output_dir", "main_dir", "mod_logdir", "device", "script"}
    what = {name: value for name, value in asdict(config).items() if name not in place}
    training = {name: value for name, value in asdict(parameters).items() if name != "w"}
    digest = hashlib.sha256(json.dumps([what, training], sort_keys=True).encode()).hexdigest()[:8]
    task = "" if config.task is None else f"_task{config.task}"
    return config.root / config.main_dir / f"search_{config.architecture}_{config.dataset}{task}_{digest}"


def _files(config: RunConfig, parameters: TrainingParameters, folder: Path) -> RunFiles:
    run = folder / run_name(config, parameters)
    return RunFiles(run, (run / "model.pth",), run, "run")


def _run(config: RunConfig, parameters: TrainingParameters, files: RunFiles, observer: Observer) -> None:
    if files.checkpoint.exists():
        resume_run(files.folder, observer)
    else:
        start_run(config, parameters, observer, files=files)


def _point(files: RunFiles) -> SearchPoint:
    try:
        content = json.loads(files.results.read_text())
        return SearchPoint(
            tuple(content["k"]),
            tuple(content["validation_accuracy"]),
            tuple(content["test_accuracy"]),
            content["sparsity_rate"],
            content["reached_min_sparsRate"],
            files.folder,
        )
    except (ValueError, KeyError) as error:
        raise UserError(f"{files.results} is damaged: delete {files.folder} and search again") from error


def _row(point: SearchPoint) -> dict[str, Any]:
    row: dict[str, Any] = {f"k_{number}": value for number, value in enumerate(point.k)}
    for name in ("validation_accuracy", "test_accuracy"):
        row |= {f"{name}_{task}": value for task, value in enumerate(getattr(point, name), start=1)}
    return row | {"sparsity_rate": point.sparsity_rate, "reached_min_sparsRate": point.reached_min_sparsRate}
