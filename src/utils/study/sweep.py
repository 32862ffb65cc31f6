"""Many trainings, one after the other or side by side, each in its own folder and continued where it stopped."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from Data_loaders.datasets import MultiTaskDataset
from src.utils.errors import CheckpointError, UserError
from src.utils.files import check_writable, read_torch, write_text
from src.utils.training.engine import Observer
from src.utils.training.parameters import TrainingParameters
from src.utils.training.run import RunConfig, RunFiles, check_run, check_tasks, continue_run, start_run

POLL_SECONDS = 0.5
DASK_SECONDS = 10
ATTEMPTS = 2
_ONE_AT_A_TIME = threading.Lock()  # random numbers and arithmetic flags belong to the process, not to the thread


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Attributes:
        name: of its folder.
        config, parameters: of the run.
    """

    name: str
    config: RunConfig
    parameters: TrainingParameters

    @property
    def epochs(self) -> int:
        """The most epochs it may take."""
        p = self.parameters
        if not p.Sparsity_study or (p.is_search and not p.with_sparsity):
            return p.max_iter * p.num_epochs
        return (p.max_iter_search * p.is_search + p.max_iter_retrain) * p.num_epochs

    def files(self, folder: Path) -> RunFiles:
        """Where its files are in the folder of the sweep."""
        run = folder / self.name
        return RunFiles(run, (run / "model.pth",), run, "run", overview=False)


@dataclass(frozen=True)
class Point:
    """What a finished trial reached; accuracies and sparsity in percent.

    Attributes:
        k: preference vector.
        validation_losses, validation_accuracy: per task, on the validation data.
        test_accuracy: per task.
        omega: value of the sparsity objective.
        sparsity_rate: zero rows of the GrOWL layers.
        reached_min_sparsRate: None without sparsity.
        folder: of the run.
    """

    k: tuple[float, ...]
    validation_losses: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    test_accuracy: tuple[float, ...]
    omega: float
    sparsity_rate: float
    reached_min_sparsRate: bool | None
    folder: Path

    @property
    def mean_accuracy(self) -> float:
        """Mean validation accuracy of the tasks."""
        return sum(self.validation_accuracy) / len(self.validation_accuracy)

    @property
    def merit(self) -> tuple[bool, float]:
        """Sparse enough first, then mean validation accuracy."""
        return self.reached_min_sparsRate is not False, self.mean_accuracy


@dataclass(frozen=True)
class Failure:
    """A trial that could not be finished, and why."""

    trial: Trial
    reason: str


@dataclass(frozen=True)
class SweepOutcome:
    """Finished trials with their points, in the order of the trials, and those that failed."""

    points: dict[str, Point]
    failures: list[Failure]


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        jobs: processes on this machine; 1 works in this process.
        dask: address of a Dask scheduler that is used instead; its workers need this project on their path and the
            same files.
    """

    jobs: int = 1
    dask: str | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UserError(f"jobs is {self.jobs}; allowed: 1 or more")
        if self.dask is not None and not re.fullmatch(r"(\w+://)?[^/]+:\d+", self.dask):
            raise UserError(f"dask is {self.dask!r}; allowed: the address of a scheduler, as tcp://host:8786")


class SweepObserver:
    """Told of the progress of a sweep; this one keeps quiet."""

    def progress(self, epochs: int, total: int) -> None:
        """So many epochs of all trials are done."""

    def trial_ends(self, number: int, trials: int, trial: Trial, point: Point) -> None:
        """A trial is finished; ``number`` of them are."""

    def message(self, text: str) -> None:
        """Something the user should know."""

    def ends(self) -> None:
        """No more is to come of this sweep."""


def run_sweep(folder: Path, trials: Sequence[Trial], workers: Workers, observer: SweepObserver) -> SweepOutcome:
    """Finish every trial that is not finished yet.

    A trial that raises is reported and takes no other down. If a worker dies, the trials it may have had in hand are
    tried once more, each alone; the others go on from their last epochs.

    Args:
        folder: of the sweep; a trial's files are in a folder of its name in it.
        trials: with unique names.
        workers: who does the work.
        observer: told of the progress.

    Raises:
        UserError: if the Dask cluster cannot be used, a folder not be written to, or a results file is damaged.
        ValueError: for two trials of one name.
    """
    names = [trial.name for trial in trials]
    if len(set(names)) < len(names):
        raise ValueError(f"the trials' names are not unique: {names}")
    check_writable(folder)
    pending = [trial for trial in trials if not trial.files(folder).results.exists()]
    with _connection(workers, observer) as backend, _watching(folder, trials, observer):
        try:
            failures = _finish(folder, pending, backend, observer)
        except _losses() as error:
            raise UserError(f"the scheduler {workers.dask} was lost; the same command goes on from here") from error
        except KeyboardInterrupt:
            observer.message("interrupted; the same command goes on from here")
            raise
    failed = {failure.trial.name for failure in failures}
    points = {t.name: read_point(t.files(folder).folder) for t in trials if t.name not in failed}
    return SweepOutcome(points, failures)


def _finish(
    folder: Path, pending: Sequence[Trial], backend: Mapping[str, Any], observer: SweepObserver
) -> list[Failure]:
    """Work until nothing is left to be tried; returns what could not be finished."""
    failures: list[Failure] = []
    while pending:
        for trial in pending:
            _started(folder, trial).unlink(missing_ok=True)
        try:
            reasons = _work(folder, pending, backend)
            return failures + [Failure(t, why) for t, why in zip(pending, reasons, strict=True) if why is not None]
        except _deaths():
            left = [trial for trial in pending if not trial.files(folder).results.exists()]
            suspects = [trial for trial in left if _started(folder, trial).exists()] or left[:1]
            observer.message(f"a worker died; tried again: {', '.join(trial.name for trial in suspects)}")
            failures += [f for trial in suspects if (f := _try_alone(folder, trial, backend)) is not None]
            pending = [trial for trial in left if trial not in suspects]
    return failures


def check_trials(trials: Sequence[Trial], data: MultiTaskDataset) -> None:
    """Refuse what cannot be trained as asked for, before anything is trained.

    Args:
        trials: of a sweep.
        data: that their configurations name.

    Raises:
        UserError: naming what does not fit.
    """
    for trial in trials:
        check_run(trial.config, trial.parameters)
        check_tasks(trial.parameters, len(data.task_names), data.name)


def read_point(folder: Path) -> Point:
    """The point of a finished run.

    Raises:
        UserError: if its results file cannot be read.
    """
    path = folder / "results.json"
    try:
        content = json.loads(path.read_text())
        return Point(
            k=tuple(content["k"]),
            validation_losses=tuple(content["validation_losses"]),
            validation_accuracy=tuple(content["validation_accuracy"]),
            test_accuracy=tuple(content["test_accuracy"]),
            omega=content["objectives"][0],
            sparsity_rate=content["sparsity_rate"],
            reached_min_sparsRate=content["reached_min_sparsRate"],
            folder=folder,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: delete {folder} and start again") from error


def fingerprint(config: RunConfig, parameters: TrainingParameters, data: MultiTaskDataset, *others: object) -> str:
    """Checksum of all that results depend on besides k: not where files are, but what they hold.

    Args:
        config, parameters: of the runs.
        data: that ``config`` names.
        others: further values that make a difference, as JSON has them.

    Raises:
        UserError: if a model cannot be read.
    """
    place = {"data_dir", "output_dir", "main_dir", "mod_logdir", "device", "script", "model", "teachers"}
    what: dict[str, Any] = {name: value for name, value in asdict(config).items() if name not in place}
    models = [*([config.model] if config.model else []), *config.teachers]
    what["models"] = [checksum(Path(path)) for path in models]
    what |= {"data": data.checksum, "device": config.torch_device().type}
    training = {name: value for name, value in asdict(parameters).items() if name not in ("w", "num_model")}
    return hashlib.sha256(json.dumps([what, training, others], sort_keys=True).encode()).hexdigest()[:8]


def checksum(path: Path) -> str:
    """Of a model file's architecture and weights; not of the times and versions beside them.

    Raises:
        UserError: if it cannot be read.
    """
    content = read_torch(path)
    digest = hashlib.sha256(json.dumps(content.get("architecture"), sort_keys=True).encode())
    for name, tensor in content.get("state_dict", {}).items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _work(folder: Path, trials: Sequence[Trial], backend: Mapping[str, Any]) -> list[str | None]:
    """Run trials; returns for each why it failed, None if it did not. A worker that dies raises."""
    with parallel_config(**backend):
        reasons: list[str | None] = Parallel(batch_size=1, pre_dispatch="n_jobs")(
            delayed(_run_trial)(folder, trial) for trial in trials
        )
    return reasons


def _try_alone(folder: Path, trial: Trial, backend: Mapping[str, Any]) -> Failure | None:
    """Run one trial in a worker of its own."""
    try:
        (reason,) = _work(folder, [trial], backend)
    except _deaths() as error:
        reason = f"its worker died {ATTEMPTS} times ({type(error).__name__})"
    return Failure(trial, reason) if reason is not None else None


def _run_trial(folder: Path, trial: Trial) -> str | None:
    """In a worker: start a trial or go on with it, one at a time per process and one process per trial."""
    files = trial.files(folder)
    try:
        files.folder.mkdir(parents=True, exist_ok=True)
        with _ONE_AT_A_TIME, FileLock(files.folder / ".lock"):
            deaths = _deaths_so_far(folder, trial)
            if files.results.exists():
                return None
            if deaths == ATTEMPTS:
                return f"its worker died {deaths} times"
            write_text(_started(folder, trial), str(deaths + 1))
            try:
                with _one_thread(trial.config):
                    _start_or_continue(trial, files)
            finally:
                _started(folder, trial).unlink(missing_ok=True)
    except (UserError, OSError) as error:
        return str(error)
    except Exception as error:
        write_text(files.folder / "error.txt", traceback.format_exc())
        return f"{type(error).__name__}: {error} (see {files.folder / 'error.txt'})"
    return None


def _start_or_continue(trial: Trial, files: RunFiles) -> None:
    """Go on from the last epoch if there is one that can be read."""
    if files.checkpoint.exists():
        with suppress(CheckpointError):
            continue_run(trial.config, trial.parameters, Observer(), files=files)
            return
    start_run(trial.config, trial.parameters, Observer(), files=files)


def _started(folder: Path, trial: Trial) -> Path:
    """There while a worker has the trial in hand, or if it died; holds the number of the attempt."""
    return folder / trial.name / ".started"


def _deaths_so_far(folder: Path, trial: Trial) -> int:
    """How many workers died with the trial in hand."""
    try:
        return int(_started(folder, trial).read_text())
    except (FileNotFoundError, ValueError):
        return 0


@contextmanager
def _one_thread(config: RunConfig) -> Iterator[Any]:
    """On the CPU one torch thread: the same sums, and so the same figures, whoever else is at work."""
    threads = torch.get_num_threads()
    if config.torch_device().type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _connection(workers: Workers, observer: SweepObserver) -> Iterator[Any]:
    """The joblib backend that the workers are reached by."""
    if workers.dask is None:
        yield {"backend": "loky" if workers.jobs > 1 else "sequential", "n_jobs": workers.jobs}
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError("dask is not installed: pip install -r requirements-distributed.txt") from error
    try:
        client = Client(workers.dask, timeout=DASK_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise UserError(f"dask is {workers.dask!r}; allowed: a scheduler that answers ({error})") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=DASK_SECONDS)
        except TimeoutError as error:
            raise UserError(
                f"dask is {workers.dask!r}; allowed: a scheduler with workers, this one has none"
            ) from error
        if max(client.nthreads().values(), default=1) > 1:
            observer.message("a Dask worker trains one network at a time, whatever its threads: start more workers")
        yield {"backend": "dask", "client": client, "n_jobs": -1}  # 1 would work in this process


def _deaths() -> tuple[type[BaseException], ...]:
    """What is raised when a worker dies."""
    try:
        from distributed.scheduler import KilledWorker
    except ImportError:
        return TerminatedWorkerError, BrokenProcessPool
    return TerminatedWorkerError, BrokenProcessPool, KilledWorker


def _losses() -> tuple[type[BaseException], ...]:
    """What is raised when the scheduler is lost."""
    try:
        from distributed import client, comm
    except ImportError:
        return ()
    return client.FutureCancelledError, comm.core.CommClosedError


@contextmanager
def _watching(folder: Path, trials: Sequence[Trial], observer: SweepObserver) -> Iterator[Any]:
    """Report progress from the files that the trials write, wherever they run."""
    watcher = _Watcher(folder, trials, observer)
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            watcher.look()

    thread = threading.Thread(target=watch, daemon=True)
    watcher.look()
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        watcher.look()
        observer.ends()


class _Watcher:
    """Counts epochs in history files and notices new results."""

    def __init__(self, folder: Path, trials: Sequence[Trial], observer: SweepObserver) -> None:
        self._files = {trial: trial.files(folder) for trial in trials}
        self._observer = observer
        self._ended: list[Trial] = []

    def look(self) -> None:
        """Report what is new."""
        for trial, files in self._files.items():
            if trial not in self._ended and files.results.exists():
                self._ended.append(trial)
                point = read_point(files.folder)
                self._observer.trial_ends(len(self._ended), len(self._files), trial, point)
        done = sum(
            trial.epochs if trial in self._ended else _count_rows(files.history) for trial, files in self._files.items()
        )
        self._observer.progress(done, sum(trial.epochs for trial in self._files))


def _count_rows(path: Path) -> int:
    try:
        with path.open(newline="") as file:
            return max(0, sum(1 for _ in csv.reader(file)) - 1)
    except OSError:
        return 0
