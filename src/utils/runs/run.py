"""One run from data to files: load, build, train, test, save; from the last finished epoch where there is one."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from Data_loaders.loaders import share_of_training
from src.models.compact import CompactNetwork
from src.models.multi_task import layers_with_rows
from src.models.registry import save_model
from src.utils.checked import to_plain
from src.utils.errors import CheckpointError, InUseError, UserError
from src.utils.files import check_writable, files_beginning
from src.utils.runs.compression import compress_trained, seconds_after
from src.utils.runs.config import CHECKPOINT, HISTORY, MODEL, RESULTS, SAMPLES, Run, RunConfig, compressed_file
from src.utils.runs.problem import Problem, check_problem, check_run, group_rows, load_problem, torch_device
from src.utils.runs.results import (
    RATES,
    Results,
    read_results,
    samples_of,
    versions,
    write_history,
    write_results,
    write_samples,
)
from src.utils.sparsity.metrics import RowCounts, count_layers, total
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.engine import EpochRecord, Observer, Trainer, evaluate
from src.utils.training.method import MethodState
from src.utils.training.methods import make_method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.stationarity import relative_gradient
from src.utils.training.two_phase import TrainingOutcome, train

STATIONARITY_IMAGES = 5_000


def train_run(run: Run, observer: Observer, problem: Problem | None = None, *, among_many: bool = False) -> Results:
    """Train to the end and leave all files; from the last finished epoch if there is a checkpoint.

    Args:
        run: what is trained, and where its files are.
        observer: told of the progress.
        problem: a user's own network and data; None loads and builds what the configuration names.
        among_many: wait for a process that has the run in hand, and start anew where the checkpoint cannot be read,
            instead of refusing both.

    Raises:
        UserError: for parameters, data or a network that do not fit, or a folder that cannot be written to.
        InUseError: if another process has the run in hand.
        CheckpointError: if the checkpoint cannot be read.
    """
    check_run(run.config, run.parameters)
    for path in filter(None, (run.folder / RESULTS, run.picture_copies, run.model_copy)):
        check_writable(path.parent)
    with run_arithmetic():
        problem = problem or load_problem(run.config, run.parameters, observer)
        check_problem(problem, run.parameters)
        with _lock(run, wait=among_many):
            if run.finished:
                return read_results(run.folder)
            trainer = _trainer(run, problem)
            with suppress(CheckpointError) if among_many else nullcontext():
                trainer.resume()
            return _train_and_save(run, problem, trainer, observer)


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
            observer.message(f"going on with the interrupted run in {run.folder}")
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


class _HistoryFile(Observer):
    """Keeps ``history.csv`` up to date and passes everything on."""

    def __init__(self, path: Path, trainer: Trainer, observer: Observer) -> None:
        self._path, self._trainer = path, trainer
        self.phase_starts, self.batch_ends = observer.phase_starts, observer.batch_ends  # type: ignore[method-assign]
        self.message, self._epoch_ends = observer.message, observer.epoch_ends  # type: ignore[method-assign]

    def epoch_ends(self, record: EpochRecord) -> None:
        write_history(self._path, self._trainer.history)
        self._epoch_ends(record)


@contextmanager
def _lock(run: Run, *, wait: bool) -> Iterator[None]:
    run.folder.mkdir(parents=True, exist_ok=True)
    path = run.folder / ".lock"
    try:
        with FileLock(path, timeout=-1 if wait else 0):
            yield
            path.unlink(missing_ok=True)  # the run is finished: whoever waits will find that out
    except Timeout as error:
        raise InUseError(f"the run in {run.folder} is in the hands of another process") from error


def _trainer(run: Run, problem: Problem) -> Trainer:
    group_rows(problem, run.parameters)
    torch.manual_seed(run.config.seed)  # a method may have weights of its own
    return Trainer(
        problem.network,
        make_method(problem.network, run.parameters, torch_device(run.config), problem.teachers),
        share_of_training(problem.splits, run.parameters.train_share, run.config.seed),
        run.parameters,
        seed=run.config.seed,
        checkpoint=run.folder / CHECKPOINT,
    )


def _train_and_save(run: Run, problem: Problem, trainer: Trainer, observer: Observer) -> Results:
    """Train and write everything a run leaves; the results file comes last and marks the run as finished."""
    run.save()
    started = time.perf_counter()
    trainer.observer = _HistoryFile(run.folder / HISTORY, trainer, observer)
    before = sum(record.seconds for record in trainer.history)
    try:
        outcome = train(trainer)
        results = _collect(run, problem, trainer, outcome, before + time.perf_counter() - started)
        compact, results = _compress(run, trainer, results)
    except KeyboardInterrupt:
        observer.message(f"interrupted; go on with --resume {run.folder}")
        raise
    write_history(run.folder / HISTORY, trainer.history)
    if run.fingerprint and problem.dataset:
        write_samples(run.folder / SAMPLES, samples_of(problem.dataset))
    _say_what_is_replaced(run, observer)
    for path in filter(None, (run.folder / MODEL, run.model_copy)):
        save_model(path, trainer.model, problem.architecture, results.parameters, results.as_plain())
    if compact is not None:
        small = compressed_file(run.folder / MODEL)
        save_model(small, compact, problem.architecture, results.parameters, results.as_plain())
    write_results(results)
    (run.folder / CHECKPOINT).unlink(missing_ok=True)
    return results


def _say_what_is_replaced(run: Run, observer: Observer) -> None:
    """A line on the copies that an earlier run of the same left beside those of other runs."""
    if run.model_copy is None or run.picture_copies is None:
        return
    there = [str(run.model_copy)] if run.model_copy.exists() else []
    there += [f"the pictures {run.picture_copies}_*"] if files_beginning(run.picture_copies) else []
    if there:
        observer.message(f"an earlier run was the same; replaced: {' and '.join(there)}")


def _collect(run: Run, problem: Problem, trainer: Trainer, outcome: TrainingOutcome, seconds: float) -> Results:
    """Test the trained model and count its rows."""
    splits, criterion = trainer.splits, run.parameters.criterion
    training, validation, test = (
        evaluate(trainer.model, data, criterion) for data in (splits.train, splits.validation, splits.test)
    )
    f = trainer.method.k.new_tensor([float(trainer.method.sparsity_objective().detach()), *training.losses])
    every_row = _every_row(trainer)
    return Results(
        folder=run.folder,
        script=run.config.script,
        architecture=run.config.architecture,
        dataset=run.config.dataset,
        task=run.config.task,
        task_names=problem.task_names,
        k=run.parameters.w,
        test_accuracy=tuple(test.accuracy),
        validation_accuracy=tuple(validation.accuracy),
        validation_losses=tuple(validation.losses),
        objectives=tuple(f.tolist()),
        state=_state(trainer, f),
        layers=count_layers(trainer.sparse_weights),
        all_layers={name: getattr(every_row, name) for name in RATES},
        reached_min_sparsRate=outcome.reached_min_sparsRate,
        sparsity_binds=outcome.sparsity_binds,
        sparsity_advice=outcome.sparsity_advice,
        found_in_search=_found(outcome),
        best_epoch=outcome.best.record.epoch,
        parameter_count=_parameter_count(trainer),
        seconds=_seconds(trainer.history, seconds),
        compression=None,
        images=_images(problem),
        parameters=to_plain(run.parameters),
        seed=run.config.seed,
        data_seed=run.config.data_seed,
        device=_device_name(torch_device(run.config)),
        versions=versions(),
    )


def _compress(run: Run, trainer: Trainer, results: Results) -> tuple[CompactNetwork | None, Results]:
    """The network of a run on its own made smaller, if it has zero or equal rows, and the results with its figures."""
    rows = _every_row(trainer)
    if run.model_copy is None or rows.unique == rows.rows:
        return None, results
    try:
        seconds = seconds_after(results.seconds["total"])
        compact, _, figures = compress_trained(trainer.model, trainer.splits.validation.images, seconds)
    except UserError as error:
        trainer.observer.message(f"the network is not compressed: {error}")
        return None, results
    return compact, replace(results, compression=figures.as_plain())


def _images(problem: Problem) -> dict[str, Any] | None:
    """What images the network takes, and what its classes are called."""
    data = problem.dataset
    if data is None:
        return None
    names = [list(names) for names in data.class_names]
    shape = list(data.x_train.shape[1:])
    return {"shape": shape, "mean": list(data.mean), "std": list(data.std), "class_names": names}


def _state(trainer: Trainer, f: Tensor) -> MethodState:
    """The method's state, with the gradient of its Lagrangian on a fixed part of the training data."""
    state, method, data = trainer.method.state(f), trainer.method, trainer.splits.train
    if not isinstance(method, ChebyshevMethod):
        return state
    part = slice(None, STATIONARITY_IMAGES)
    gradient = relative_gradient(trainer.model, method, data.images[part], data.labels[part], state.lam)
    return replace(state, details={**state.details, "relative_gradient": gradient})


def _found(outcome: TrainingOutcome) -> dict[str, Any] | None:
    names = ("epoch", "sparsity_rate", "validation_accuracy")
    return {name: getattr(outcome.found.record, name) for name in names} if outcome.found else None


def _every_row(trainer: Trainer) -> RowCounts:
    """Rows of all layers, those without GrOWL included."""
    weights = {name: layer.weight for name, layer in layers_with_rows(trainer.model).items()}
    return total(count_layers({**weights, **trainer.sparse_weights}).values())


def _parameter_count(trainer: Trainer) -> dict[str, int]:
    parameters = list(trainer.model.parameters())
    return {
        "all": sum(parameter.numel() for parameter in parameters),
        "nonzero": sum(int(parameter.count_nonzero()) for parameter in parameters),
    }


def _seconds(history: Sequence[EpochRecord], seconds: float) -> dict[str, Any]:
    phases = dict.fromkeys(record.phase for record in history)
    per_phase = {phase: sum(record.seconds for record in history if record.phase == phase) for phase in phases}
    return {"total": seconds, "phases": per_phase, "epoch": float(np.mean([record.seconds for record in history]))}


def _device_name(device: torch.device) -> str:
    """The device as the results name it: its kind and model."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
