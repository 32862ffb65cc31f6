"""One run from data to files: load, build, train, test, save; from the last finished epoch where there is one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from Data_loaders.loaders import share_of_training
from Data_loaders.streams import AnySplits, Streams
from src.models.compact import CompactNetwork
from src.models.names import OWN
from src.models.registry import save_model
from src.models.row_layers import sparse_plan
from src.utils.errors import CheckpointError, InUseError, UserError
from src.utils.files import check_writable, file_before, files_beginning
from src.utils.runs.collect import collect
from src.utils.runs.compression import compress_trained, images_to_compare, seconds_after
from src.utils.runs.config import CHECKPOINT, HISTORY, MODEL, RESULTS, SAMPLES, Run, RunConfig, compressed_file
from src.utils.runs.history import write_history
from src.utils.runs.problem import Problem, check_problem, check_run, group_rows, load_problem, torch_device
from src.utils.runs.results import Results, read_results, write_results
from src.utils.runs.samples import samples_of, write_samples
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.engine import Trainer
from src.utils.training.methods import make_method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import EpochRecord, Observer
from src.utils.training.two_phase import train


def train_run(run: Run, observer: Observer, problem: Problem | None = None, *, among_many: bool = False) -> Results:
    """Train to the end and leave all files; from the last finished epoch if there is a checkpoint.

    Args:
        run: what is trained, and where its files are.
        observer: told of the progress.
        problem: a user's own network and data; None loads and builds what the configuration names.
        among_many: wait for a process that has the run in hand, and start anew where the checkpoint cannot be read,
            instead of refusing both.

    Raises:
        UserError: for parameters, data or a network that do not fit, a folder that cannot be written to, losses that
            are no numbers, or a device without enough memory.
        InUseError: if another process has the run in hand.
        CheckpointError: if the checkpoint cannot be read.
    """
    check_run(run.config, run.parameters)
    for path in filter(None, (run.folder / RESULTS, run.picture_copies, run.model_copy)):
        check_writable(path.parent)
    with run_arithmetic():
        problem = problem or load_problem(run.config, run.parameters, observer)
        check_problem(problem, run.parameters, observer.message)
        with in_hand(run.folder, wait=among_many):
            if run.finished:
                return read_results(run.folder)
            trainer = trainer_of(run, problem, training_splits(problem, run), checkpoint=run.folder / CHECKPOINT)
            trainer.observer = HistoryFile(run.folder / HISTORY, trainer, observer)
            if run.config.architecture == OWN and run.parameters.with_sparsity:
                network, skip_layer = problem.network, run.parameters.skip_layer
                for line in sparse_plan(network, network.sparse_parts, skip_layer, network.positions).lines():
                    observer.message(line)
            with suppress(CheckpointError) if among_many else nullcontext():
                trainer.resume()
            with enough_memory(run.parameters):
                return _train_and_save(run, problem, trainer, observer)


@contextmanager
def enough_memory(parameters: TrainingParameters) -> Iterator[None]:
    """A device without enough memory is a matter of the batches."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the device has not enough memory for this network: lower batch_size, {parameters.batch_size} now"
        ) from error


def resume(folder: Path) -> Run:
    """The unfinished run in a folder.

    Raises:
        UserError: if there is none, or it is finished.
    """
    run = Run.read(folder)
    if run.finished:
        raise UserError(f"the run in {folder} is finished: its results are in {folder / RESULTS}")
    return run


def start_or_go_on(config: RunConfig, parameters: TrainingParameters, observer: Observer) -> Results:
    """Train, from the last epoch of an unfinished run of the same script, configuration and parameters if there is one.

    A run that another process has in hand is left to it, one whose checkpoint cannot be read is left alone.
    """
    for run in _interrupted_runs(config, parameters):
        try:
            observer.message(f"found the interrupted run in {run.folder}")
            return train_run(run, observer)
        except (InUseError, CheckpointError) as error:
            observer.message(str(error))
    return train_run(Run.new(config, parameters), observer)


def _interrupted_runs(config: RunConfig, parameters: TrainingParameters) -> Iterator[Run]:
    """Unfinished runs with a checkpoint, newest first."""
    for checkpoint in sorted((config.logs / config.script).glob(f"*/{CHECKPOINT}"), reverse=True):
        with suppress(UserError):
            run = Run.read(checkpoint.parent)
            if (run.config, run.parameters) == (config, parameters) and not run.finished:
                yield run


class HistoryFile(Observer):
    """Keeps ``history.csv`` up to date and passes everything on."""

    def __init__(self, path: Path, trainer: Trainer, observer: Observer) -> None:
        self._path, self._trainer = path, trainer
        self.phase_starts, self.batch_ends = observer.phase_starts, observer.batch_ends  # type: ignore[method-assign]
        self.message, self._epoch_ends = observer.message, observer.epoch_ends  # type: ignore[method-assign]

    def epoch_ends(self, record: EpochRecord) -> None:
        write_history(self._path, self._trainer.history)
        self._epoch_ends(record)


@contextmanager
def in_hand(folder: Path, *, wait: bool) -> Iterator[None]:
    """What is in a folder is in the hands of this process alone.

    Raises:
        InUseError: if it is in those of another one, unless that is to be waited for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    try:
        with FileLock(path, timeout=-1 if wait else 0):
            yield
            path.unlink(missing_ok=True)  # the run is finished: whoever waits will find that out
    except Timeout as error:
        raise InUseError(f"the run in {folder} is in the hands of another process") from error


def trainer_of(run: Run, problem: Problem, splits: AnySplits, *, checkpoint: Path | None) -> Trainer:
    """The trainer of a run, on the training data of :func:`training_splits`."""
    group_rows(problem, run.parameters)
    torch.manual_seed(run.config.seed)  # a method may have weights of its own
    return Trainer(
        problem.network,
        make_method(problem.network, run.parameters, torch_device(run.config), problem.teachers, problem.tasks),
        splits,
        run.parameters,
        seed=run.config.seed,
        checkpoint=checkpoint,
        checkpoint_batches=run.config.checkpoint_batches,
    )


def training_splits(problem: Problem, run: Run) -> AnySplits:
    """The data of a run, or the share of them that is trained on."""
    if isinstance(problem.splits, Streams):
        return problem.splits
    return share_of_training(problem.splits, run.parameters.train_share, run.config.seed)


def _train_and_save(run: Run, problem: Problem, trainer: Trainer, observer: Observer) -> Results:
    """Train and write everything a run leaves."""
    run.save()
    started = time.perf_counter()
    before = trainer.seconds
    try:
        outcome = train(trainer)
        results = collect(run, problem, trainer, outcome, before + time.perf_counter() - started)
        compact, results = _compress(run, trainer, results)
    except KeyboardInterrupt:
        observer.message(f"interrupted; go on with --resume {run.folder}")
        raise
    _say_what_is_replaced(run, observer)
    save_trained(run, problem, trainer, results, compact)
    remove_checkpoint(run.folder / CHECKPOINT)
    return results


def save_trained(
    run: Run, problem: Problem, trainer: Trainer, results: Results, compact: CompactNetwork | None = None
) -> None:
    """Write what a trained network leaves; the results file comes last and marks the run as finished."""
    write_history(run.folder / HISTORY, trainer.history)
    if run.fingerprint and problem.dataset:
        write_samples(run.folder / SAMPLES, samples_of(problem.dataset))
    for path in filter(None, (run.folder / MODEL, run.model_copy)):
        save_model(path, trainer.model, problem.architecture, results.parameters, results.as_plain())
    if compact is not None:
        small = compressed_file(run.folder / MODEL)
        save_model(small, compact, problem.architecture, results.parameters, results.as_plain())
    write_results(results)


def remove_checkpoint(path: Path) -> None:
    """The checkpoint of a finished training, and the one before it, are needed no more."""
    for checkpoint in (path, file_before(path)):
        checkpoint.unlink(missing_ok=True)


def _say_what_is_replaced(run: Run, observer: Observer) -> None:
    """A line on the copies that an earlier run of the same left beside those of other runs."""
    if run.model_copy is None or run.picture_copies is None:
        return
    there = [str(run.model_copy)] if run.model_copy.exists() else []
    there += [f"the pictures {run.picture_copies}_*"] if files_beginning(run.picture_copies) else []
    if there:
        observer.message(f"an earlier run was the same; replaced: {' and '.join(there)}")


def _compress(run: Run, trainer: Trainer, results: Results) -> tuple[CompactNetwork | None, Results]:
    """The network of a run on its own made smaller, if it has zero or equal rows, and the results with its figures."""
    rates = results.all_layers
    if run.fingerprint is None or (rates["sparsity_rate"] == 0 and rates["parameter_sharing"] == 1):
        return None, results
    try:
        seconds = seconds_after(results.seconds["total"])
        compact, _, figures = compress_trained(trainer.model, images_to_compare(trainer.splits.validation), seconds)
    except UserError as error:
        trainer.observer.message(f"the network is not compressed: {error}")
        return None, results
    return compact, replace(results, compression=figures.as_plain())
