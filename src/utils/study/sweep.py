"""Many trainings, one after the other or side by side, each in a process and a folder of its own.

Searches, repetitions, teachers, Pareto studies and experiments all go the same way: candidates, trials, a sweep of
them, points.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from src.utils.errors import UserError
from src.utils.files import check_writable, copy_file, files_beginning, write_json
from src.utils.runs.config import HISTORY, RESULTS, Run, RunConfig
from src.utils.runs.problem import check_reference_point, check_run
from src.utils.runs.results import Results, read_results
from src.utils.study.record import RECORD, read_record
from src.utils.study.trials import Candidate, DataFacts, Trial, fingerprint, shown_name, shown_value, trials_of
from src.utils.study.worker import POLL_SECONDS
from src.utils.study.workers import Failure, Workers, train_runs
from src.utils.tasks import Task
from src.utils.training.parameters import TrainingParameters


@dataclass(frozen=True)
class Point:
    """A finished training of a sweep."""

    candidate: Candidate
    results: Results

    @property
    def label(self) -> str:
        """As tables and pictures show it: k = (0.1, 0.9), lr = 0.01."""
        return ", ".join(f"{shown_name(name)} = {shown_value(value)}" for name, value in self.candidate.items())


@dataclass(frozen=True)
class Outcome:
    """What a sweep found, from its files alone.

    Attributes:
        kind: what the sweep is for: search, repetitions, study, ...
        folder: of the sweep.
        picture_copies: folder and beginning of the names of its pictures beside those of other runs and sweeps.
        points: finished trainings, in the order of the trials.
        failures: the others.
        settings: further values that the kind needs.
    """

    kind: str
    folder: Path
    picture_copies: Path
    points: tuple[Point, ...]
    failures: tuple[Failure, ...]
    settings: Mapping[str, Any]

    @property
    def best(self) -> int:
        """Place of the best point: sparse enough first, then the highest mean validation accuracy."""
        return max(range(len(self.points)), key=lambda place: self.points[place].results.merit)

    @property
    def results(self) -> list[Results]:
        """Results of the points."""
        return [point.results for point in self.points]

    def picture(self, what: str) -> Path:
        """File of a picture."""
        return self.folder / f"{what}.png"


class SweepObserver:
    """Told of the progress of a sweep; this one keeps quiet."""

    def progress(self, epochs: int, total: int) -> None:
        """So many epochs of all trainings are done."""

    def trial_ends(self, number: int, trials: int, name: str, results: Results) -> None:
        """A training is finished; ``number`` of them are."""

    def message(self, text: str) -> None:
        """Something the user should know."""

    def ends(self) -> None:
        """No more is to come of this sweep."""


@dataclass(frozen=True)
class Basis:
    """What all trainings of a sweep share, and who does the work.

    Attributes:
        config, parameters: of the runs, but for what sets them apart.
        data: that ``config`` names.
        workers: who trains.
        observer: told of the progress.
    """

    config: RunConfig
    parameters: TrainingParameters
    data: DataFacts
    workers: Workers
    observer: SweepObserver

    def label(self, kind: str) -> str:
        """Beginning of the name of a sweep's folder: its kind, the architecture, the data set and the only task."""
        config = self.config
        task = "" if config.task is None else f"_task{config.task}"
        return f"{kind}_{config.architecture}_{config.dataset}{task}"

    def trials(self, candidates: Sequence[Candidate]) -> list[Trial]:
        """A trial per candidate."""
        return trials_of(self.config, self.parameters, candidates)


def run_sweep(
    kind: str,
    label: str,
    basis: Basis,
    trials: Sequence[Trial],
    *,
    identity: Sequence[Trial] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Outcome:
    """Finish every trial that is not finished yet.

    The folder's name holds a checksum of all that results depend on, so the same command goes on where it stopped,
    and another parameter, model or data set makes another folder. A training that fails is reported and concerns no
    other; one whose process is killed is tried once more, from its last epoch.

    Args:
        kind: what the sweep is for.
        label: beginning of the folder's name.
        basis: of the trials.
        trials: with unique names.
        identity: trials that the checksum is made of; None takes all.
        settings: further values that the kind needs to be drawn.

    Raises:
        UserError: if a trial cannot be trained as asked for, the Dask cluster cannot be used, or a folder not be
            written to, all before any work; or if no trial could be finished.
    """
    config, observer = basis.config, basis.observer
    mark = fingerprint(identity or trials, basis.data, batched=basis.workers.batched)
    folder = config.logs / f"{label}_{mark}"
    runs = _runs(folder, trials)
    for trial in trials:
        check_reference_point(trial.parameters, _tasks_of(trial, basis.data))
    for place in (folder, config.images, config.root / config.mod_logdir):
        check_writable(place)
    _announce(folder, label, runs, observer)
    if files_beginning(config.images / folder.name):
        observer.message(f"the same was drawn before; replaced: the pictures {config.images / folder.name}_*")
    for model in {trial.config.model for trial in trials if trial.config.model is not None}:
        copy_file(Path(model), folder / Path(model).name)
    record: dict[str, Any] = {
        "kind": kind,
        "picture_copies": str(config.images / folder.name),
        "trials": [{"name": trial.name, "candidate": dict(trial.candidate)} for trial in trials],
        "settings": dict(settings or {}),
    }
    write_json(folder / RECORD, {**record, "failures": []})
    with _watching(runs, observer):
        failures = train_runs(folder, [run for run in runs if not run.finished], basis.workers, observer.message)
    write_json(folder / RECORD, {**record, "failures": [asdict(failure) for failure in failures]})
    if len(failures) == len(trials):
        raise UserError(f"none of {len(trials)} trainings could be finished: {failures[0].reason}")
    return read_outcome(folder)


def read_outcome(folder: Path) -> Outcome:
    """What the sweep in a folder has found so far.

    Raises:
        UserError: if there is none, or its files are damaged.
    """
    record = read_record(folder)
    points = tuple(
        Point(_with_tuples(trial.candidate), read_results(folder / trial.name))
        for trial in record.trials
        if (folder / trial.name / RESULTS).exists()
    )
    failures = tuple(Failure(failure.name, failure.reason) for failure in record.failures)
    return Outcome(record.kind, folder, Path(record.picture_copies), points, failures, record.settings)


def started_runs(folder: Path) -> list[Run]:
    """The runs of the sweep in a folder, as they were started.

    Raises:
        UserError: if there is no sweep, or a run is missing.
    """
    return [Run.read(folder / trial.name) for trial in read_record(folder).trials]


def _runs(folder: Path, trials: Sequence[Trial]) -> list[Run]:
    """The runs of trials, which start from the copies of their models in the folder of the sweep."""
    names = [trial.name for trial in trials]
    if len(set(names)) < len(names):
        raise ValueError(f"the trials' names are not unique: {names}")
    runs = []
    for trial in trials:
        model = trial.config.model and str(folder / Path(trial.config.model).name)
        check_run(trial.config, trial.parameters)
        runs.append(Run.among_many(replace(trial.config, model=model), trial.parameters, folder / trial.name))
    return runs


def _tasks_of(trial: Trial, data: DataFacts) -> Sequence[Task]:
    """The tasks that a trial trains."""
    task = trial.config.task
    return data.tasks if task is None or len(data.tasks) == 1 else data.tasks[task : task + 1]


def _announce(folder: Path, label: str, runs: Sequence[Run], observer: SweepObserver) -> None:
    if folder.exists():
        done = sum(run.finished for run in runs)
        observer.message(f"going on in {folder}: {done} of {len(runs)} trainings are done")
        return
    others = sorted(folder.parent.glob(f"{label}_{'[0-9a-f]' * 8}"), key=lambda path: path.stat().st_mtime)
    why = f", since parameters, data or models differ from those of {others[-1].name}" if others else ""
    observer.message(f"{len(runs)} trainings start in {folder}{why}")


@contextmanager
def _watching(runs: Sequence[Run], observer: SweepObserver) -> Iterator[None]:
    """Report progress from the files that the runs write, wherever they are trained."""
    ended: list[Run] = []
    stop = threading.Event()

    def look() -> None:
        for run in runs:
            if run not in ended and run.finished:
                ended.append(run)
                observer.trial_ends(len(ended), len(runs), run.name, read_results(run.folder))
        done = sum(run.parameters.epochs if run in ended else _count_rows(run.folder / HISTORY) for run in runs)
        observer.progress(done, sum(run.parameters.epochs for run in runs))

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    look()
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()
        observer.ends()


def _count_rows(path: Path) -> int:
    try:
        with path.open(newline="") as file:
            return max(0, sum(1 for _ in csv.reader(file)) - 1)
    except OSError:
        return 0


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
