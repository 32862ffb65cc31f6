"""One run from data to files: load, build, train, test, save; from the last finished epoch where there is one."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from Data_loaders.loaders import share_of_training
from src.models.multi_task import layers_with_rows
from src.models.registry import save_model
from src.utils.checked import to_plain
from src.utils.errors import CheckpointError, InUseError, UserError
from src.utils.files import check_writable
from src.utils.runs.config import RunConfig, Started, new_files, read_start, write_start
from src.utils.runs.problem import Problem, check_problem, check_run, load_problem, torch_device
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
from src.utils.sparsity.metrics import count_layers, total
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.engine import EpochRecord, Observer, Trainer, evaluate
from src.utils.training.methods import make_method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.two_phase import TrainingOutcome, train


@dataclass(frozen=True)
class FinishedRun:
    """Folder and results of a run, and the files it wrote."""

    folder: Path
    results: Results
    files: list[Path]


@dataclass(frozen=True)
class Run(Started):
    """A training with its files; checked when it is made, so that what cannot be trained is refused before any work.

    Raises:
        UserError: if configuration and parameters do not belong together.
    """

    def __post_init__(self) -> None:
        check_run(self.config, self.parameters)

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.files.folder.name

    @property
    def finished(self) -> bool:
        """Whether its results are there."""
        return self.files.results.exists()

    @classmethod
    def new(cls, config: RunConfig, parameters: TrainingParameters) -> Run:
        """A run in a folder of its own."""
        return cls(config, parameters, new_files(config, parameters))

    @classmethod
    def read(cls, folder: Path) -> Run:
        """The run in a folder, as it was started.

        Raises:
            UserError: if there is none.
        """
        start = read_start(folder)
        return cls(start.config, start.parameters, start.files)

    def save(self) -> None:
        """Write down how the run is started."""
        write_start(self)

    def train(self, observer: Observer, problem: Problem | None = None, *, among_many: bool = False) -> FinishedRun:
        """Train to the end and leave all files; from the last finished epoch if there is a checkpoint.

        Args:
            observer: told of the progress.
            problem: a user's own network and data; None loads and builds what the configuration names.
            among_many: wait for a process that has the run in hand, and start anew where the checkpoint cannot be
                read, instead of refusing both.

        Raises:
            UserError: for data or a network that do not fit, or a folder that cannot be written to.
            InUseError: if another process has the run in hand.
            CheckpointError: if the checkpoint cannot be read.
        """
        self._check_places()
        with run_arithmetic():
            problem = problem or load_problem(self.config, self.parameters, observer)
            check_problem(problem, self.parameters)
            with self._lock(wait=among_many):
                if self.finished:
                    return FinishedRun(self.files.folder, read_results(self.files.folder), [])
                trainer = self._trainer(problem)
                _go_on(trainer, start_anew=among_many)
                return self._train(trainer, problem, observer)

    def _check_places(self) -> None:
        files = self.files
        for path in (files.results, files.pictures, *([files.model_copy] if files.model_copy else [])):
            check_writable(path.parent)

    @contextmanager
    def _lock(self, *, wait: bool) -> Iterator[None]:
        self.files.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.files.folder / ".lock", timeout=-1 if wait else 0)
        try:
            with lock:
                yield
                Path(lock.lock_file).unlink(missing_ok=True)  # the run is finished: whoever waits will find that out
        except Timeout as error:
            raise InUseError(f"the run in {self.files.folder} is in the hands of another process") from error

    def _trainer(self, problem: Problem) -> Trainer:
        torch.manual_seed(self.config.seed)  # a method may have weights of its own
        return Trainer(
            problem.network,
            make_method(problem.network, self.parameters, torch_device(self.config), problem.teachers),
            share_of_training(problem.splits, self.parameters.train_share, self.config.seed),
            self.parameters,
            seed=self.config.seed,
            checkpoint=self.files.checkpoint,
        )

    def _train(self, trainer: Trainer, problem: Problem, observer: Observer) -> FinishedRun:
        self.save()
        started = time.perf_counter()
        trainer.observer = _HistoryFile(self.files.history, trainer, observer)
        before = sum(record.seconds for record in trainer.history)
        try:
            outcome = train(trainer)
        except KeyboardInterrupt:
            observer.message(f"interrupted; go on with --resume {self.files.folder}")
            raise
        results = self._collect(trainer, problem, outcome, before + time.perf_counter() - started)
        return FinishedRun(self.files.folder, results, self._save(trainer, problem, results))

    def _collect(self, trainer: Trainer, problem: Problem, outcome: TrainingOutcome, seconds: float) -> Results:
        """Test the trained model and count its rows."""
        splits, criterion = trainer.splits, self.parameters.criterion
        training, validation, test = (
            evaluate(trainer.model, data, criterion) for data in (splits.train, splits.validation, splits.test)
        )
        f = trainer.method.k.new_tensor([float(trainer.method.sparsity_objective().detach()), *training.losses])
        every_row = total(count_layers(_all_weights(trainer)).values())
        return Results(
            script=self.config.script,
            architecture=self.config.architecture,
            dataset=self.config.dataset,
            task=self.config.task,
            task_names=problem.task_names,
            k=self.parameters.w,
            test_accuracy=tuple(test.accuracy),
            validation_accuracy=tuple(validation.accuracy),
            validation_losses=tuple(validation.losses),
            objectives=tuple(f.tolist()),
            state=trainer.method.state(f),
            layers=count_layers(trainer.sparse_weights),
            all_layers={name: getattr(every_row, name) for name in RATES},
            reached_min_sparsRate=outcome.reached_min_sparsRate,
            found_in_search=_found(outcome),
            best_epoch=outcome.best.record.epoch,
            parameter_count=_parameter_count(trainer),
            seconds=_seconds(trainer.history, seconds),
            parameters=to_plain(self.parameters),
            seed=self.config.seed,
            data_seed=self.config.data_seed,
            device=_device_name(torch_device(self.config)),
            versions=versions(),
        )

    def _save(self, trainer: Trainer, problem: Problem, results: Results) -> list[Path]:
        """Write everything a run leaves; the results file comes last and marks the run as finished."""
        files = self.files
        written = [files.results, files.history, files.model]
        write_history(files.history, trainer.history)
        if files.model_copy and problem.dataset:
            write_samples(files.samples, samples_of(problem.dataset))
            written.append(files.samples)
        for path in (files.model, *([files.model_copy] if files.model_copy else [])):
            save_model(path, trainer.model, problem.architecture, results.parameters, results.as_plain())
        write_results(files.results, results)
        files.checkpoint.unlink(missing_ok=True)
        return [*written, *([files.model_copy] if files.model_copy else [])]


def resume(folder: Path) -> Run:
    """The unfinished run in a folder.

    Raises:
        UserError: if there is none, or it is finished.
    """
    run = Run.read(folder)
    if run.finished:
        raise UserError(f"the run in {folder} is finished: its results are in {run.files.results}")
    return run


def start_or_go_on(config: RunConfig, parameters: TrainingParameters, observer: Observer) -> FinishedRun:
    """Train, from the last epoch of an unfinished run of the same script, configuration and parameters if there is one.

    A run that another process has in hand is left to it, one whose checkpoint cannot be read is left alone.
    """
    for run in _interrupted_runs(config, parameters):
        try:
            observer.message(f"going on with the interrupted run in {run.files.folder}")
            return run.train(observer)
        except (InUseError, CheckpointError) as error:
            observer.message(str(error))
    return Run.new(config, parameters).train(observer)


def _interrupted_runs(config: RunConfig, parameters: TrainingParameters) -> Iterator[Run]:
    """Unfinished runs with a checkpoint, newest first."""
    for checkpoint in sorted((config.logs / config.script).glob("*/checkpoint.pt"), reverse=True):
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


def _go_on(trainer: Trainer, *, start_anew: bool) -> None:
    """Read the checkpoint, if there is one."""
    assert trainer.checkpoint is not None
    if trainer.checkpoint.exists():
        with suppress(CheckpointError) if start_anew else nullcontext():
            trainer.resume()


def _found(outcome: TrainingOutcome) -> dict[str, Any] | None:
    names = ("epoch", "sparsity_rate", "validation_accuracy")
    return {name: getattr(outcome.found.record, name) for name in names} if outcome.found else None


def _all_weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: layer.weight for name, layer in layers_with_rows(trainer.model).items()}


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
