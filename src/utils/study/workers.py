"""Who trains the runs of a sweep: processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from src.utils.errors import UserError
from src.utils.runs.config import OUTPUT, ROOT, Run
from src.utils.study.worker import STOP, End, reason_in, train_apart

DASK_SECONDS = 10
ATTEMPTS = 2


@dataclass(frozen=True)
class Failure:
    """A training that could not be finished, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        jobs: processes on this machine; each works with one thread if it works on the CPU.
        batched: one process that trains all preference vectors at a time, as one stacked network.
        dask: address of the scheduler of a Dask cluster whose workers see the project under its path and the same
            files; None works on this machine.
        script: that a process goes on with a run by: ``script --resume FOLDER --worker``.
    """

    jobs: int = 1
    dask: str | None = None
    script: Path = ROOT / "Train_and_Test.py"
    batched: bool = False

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UserError(f"jobs is {self.jobs}; allowed: 1 or more")
        if self.dask is not None and not re.fullmatch(r"(\w+://)?[^/]+:\d+", self.dask):
            raise UserError(f"dask is {self.dask!r}; allowed: the address of a scheduler, as tcp://host:8786")
        if self.batched and (self.jobs > 1 or self.dask is not None):
            raise UserError("batched trains everything in one process of this machine; allowed: jobs 1 and no dask")


def train_runs(
    folder: Path, runs: Sequence[Run], workers: Workers, message: Callable[[str], None]
) -> tuple[Failure, ...]:
    """Train all runs, each in a process of its own or all in one; a process that is killed is tried once more.

    Args:
        folder: of the sweep.
        runs: to be trained, from their last epochs where there are some.
        workers: who does the work.
        message: told what the user should know.

    Returns:
        What could not be finished, in the order of the runs.

    Raises:
        UserError: if the Dask cluster cannot be used.
    """
    (folder / STOP).unlink(missing_ok=True)
    for run in runs:
        run.save()
    with _executor(workers) as executor:
        try:
            folders = [folder] if workers.batched else [run.folder for run in runs]
            reasons = _work(folder, folders if runs else [], str(workers.script), executor, message)
        except _losses() as error:
            raise UserError(f"the scheduler {workers.dask} was lost; the same command goes on from here") from error
        except KeyboardInterrupt:
            (folder / STOP).touch()
            message("interrupted; the same command goes on from here")
            raise
    if workers.batched:
        reasons = _reasons_of_each(folder, runs, reasons.get(folder.name))
    return tuple(Failure(run.name, reasons[run.name]) for run in runs if run.name in reasons)


def _work(
    sweep: Path, folders: Sequence[Path], script: str, executor: Executor, message: Callable[[str], None]
) -> dict[str, str]:
    """A process for each folder; returns why some did not get to their ends, by the folders' names."""
    start = lambda folder: executor.submit(train_apart, script, str(folder), str(sweep))  # noqa: E731
    attempts = dict.fromkeys(folders, 1)
    waiting: dict[Future[End], Path] = {start(folder): folder for folder in folders}
    reasons: dict[str, str] = {}
    while waiting:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            folder, end = waiting.pop(future), _result(future)
            if end.died and attempts[folder] < ATTEMPTS:
                message(f"{folder.name}: {end.reason}; tried again")
                attempts[folder] += 1
                waiting[start(folder)] = folder
            elif end.reason is not None:
                reasons[folder.name] = end.reason + (f", {ATTEMPTS} times" if end.died else "")
    return reasons


def _reasons_of_each(sweep: Path, runs: Sequence[Run], reason: str | None) -> dict[str, str]:
    """Why runs that were trained in one process could not be finished: each its own reason, or that of the process."""
    output = sweep / OUTPUT
    if reason is None and reason_in(output) is None:
        output.unlink(missing_ok=True)  # it has nothing to say, and the runs have files of their own
    left = [run for run in runs if not run.finished]
    return {run.name: reason or reason_in(run.folder / OUTPUT) or "it was not trained" for run in left}


def _result(future: Future[End]) -> End:
    try:
        return future.result()
    except _losses():
        raise
    except Exception as error:  # a Dask worker that died with the training in hand, say
        return End(f"{type(error).__name__}: {error}")


@contextmanager
def _executor(workers: Workers) -> Iterator[Executor]:
    """Who starts the processes: threads here, or the workers of a Dask cluster."""
    if workers.dask is None:
        executor = ThreadPoolExecutor(workers.jobs)
        try:
            yield executor
        finally:
            executor.shutdown(cancel_futures=True)
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
        yield client.get_executor(pure=False)


def _losses() -> tuple[type[BaseException], ...]:
    """What is raised when the scheduler is lost; a worker that closes with it may have time to cancel its training."""
    try:
        from distributed import client, comm
    except ImportError:
        return ()
    return client.FutureCancelledError, comm.core.CommClosedError, CancelledError
