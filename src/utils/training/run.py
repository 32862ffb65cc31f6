"""One run from data to files: load, build, train, test, save."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import torch.utils.deterministic
from filelock import FileLock, Timeout
from torch import nn

from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import Splits, TaskData, make_splits, share_of_training
from Data_loaders.registry import dataset_entry
from Data_loaders.sources import data_folder
from Data_loaders.tasks import select_task
from src.models.mdmtn import MDMTN
from src.models.multi_task import MultiTaskNetwork
from src.models.registry import Architecture, check_architecture, load_model, save_model
from src.utils.errors import CheckpointError, UserError
from src.utils.files import check_writable, write_csv, write_json
from src.utils.study import plots
from src.utils.training.engine import EpochRecord, Observer, Trainer
from src.utils.training.lsuv import initialise_lsuv
from src.utils.training.methods import METHODS, check_method, make_method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.results import RunResults, collect_results, history_rows, versions
from src.utils.training.two_phase import train

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: same seed, same result

ROOT = Path(__file__).resolve().parents[3]
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What is run, on what and where its files go; the training itself is in :class:`TrainingParameters`.

    Attributes:
        script: name of the script, which names the run's folder.
        architecture: key of ``src.models.registry.ARCHITECTURES``.
        dataset: key of ``Data_loaders.registry.DATASETS``.
        task: the only task that is trained, from 0; None trains all.
        seed: of the initial weights and the order of the batches.
        data_seed: of the partners that images are composed of.
        device: auto, cpu or cuda.
        data_dir: data folder; None looks at ``$MDMTN_DATA``, then ``Data/``.
        output_dir: root of all that is written; None is the project.
        main_dir: folder of the training results, under ``output_dir``.
        mod_logdir: folder of the saved models, under ``output_dir``.
        model: file of the network to start from, for a training without phase 1.
        teachers: files of a single-task network per task, for a method that learns from them.
    """

    script: str
    architecture: str
    dataset: str
    task: int | None = None
    seed: int = 0
    data_seed: int = 0
    device: str = "auto"
    data_dir: str | None = None
    output_dir: str | None = None
    main_dir: str = "logs"
    mod_logdir: str = "src/Sparse_models"
    model: str | None = None
    teachers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("data_dir", "output_dir", "model"):  # a run is continued from any folder, by any process
            if getattr(self, name):
                object.__setattr__(self, name, os.path.abspath(getattr(self, name)))
        object.__setattr__(self, "teachers", tuple(os.path.abspath(path) for path in self.teachers))
        for name in ("script", "dataset"):
            if Path(getattr(self, name)).name != getattr(self, name):
                raise UserError(f"{name} is {getattr(self, name)!r}; allowed: a name without folders")
        for name in ("seed", "data_seed"):
            if not 0 <= getattr(self, name) < 2**32:
                raise UserError(f"{name} is {getattr(self, name)}; allowed: 0 to 2**32 - 1")
        if self.device not in DEVICES:
            raise UserError(f"device is {self.device!r}; allowed: {', '.join(DEVICES)}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UserError("device is 'cuda' but this machine or this PyTorch has no CUDA: use --device cpu or auto")

    @property
    def root(self) -> Path:
        """Root of all that is written."""
        return Path(self.output_dir) if self.output_dir else ROOT

    def torch_device(self) -> torch.device:
        """The device that is meant."""
        cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        return torch.device("cuda" if cuda else "cpu")


@dataclass(frozen=True)
class RunFiles:
    """Where a run's files are.

    Attributes:
        folder: of the run, with its configuration, checkpoint, history and results.
        models: copies of the model.
        images: folder of the pictures.
        prefix: of the pictures' names.
        overview: whether pictures of the data and the network are drawn, too; not for one run among many.
    """

    folder: Path
    models: tuple[Path, ...]
    images: Path
    prefix: str
    overview: bool = True

    @property
    def config(self) -> Path:
        """The run's configuration and parameters."""
        return self.folder / "run.json"

    @property
    def checkpoint(self) -> Path:
        """State after the last epoch, there while the run is unfinished."""
        return self.folder / "checkpoint.pt"

    @property
    def history(self) -> Path:
        """A row per epoch, written anew after each."""
        return self.folder / "history.csv"

    @property
    def results(self) -> Path:
        """The results file, there once the run is finished."""
        return self.folder / "results.json"

    def as_text(self) -> dict[str, Any]:
        """Plain values for the run's configuration file."""
        models = [str(path) for path in self.models]
        return {"models": models, "images": str(self.images), "prefix": self.prefix, "overview": self.overview}


@dataclass(frozen=True)
class FinishedRun:
    """Results of a run and the files it wrote."""

    results: RunResults
    task_names: tuple[str, ...]
    files: list[Path]


@dataclass(frozen=True)
class Problem:
    """A network and the data it is trained on, on one device.

    Attributes:
        name: of the data.
        task_names: one per task.
        splits: the data.
        architecture: what the network is built from.
        network: to be trained.
        dataset: where the splits come from; None for a user's own tensors.
        teachers: a trained network per task, for a method that learns from them.
    """

    name: str
    task_names: tuple[str, ...]
    splits: Splits
    architecture: Architecture
    network: MultiTaskNetwork
    dataset: MultiTaskDataset | None = None
    teachers: tuple[nn.Module, ...] = ()


@contextmanager
def run_arithmetic() -> Iterator[None]:
    """Same seed, same result; and no slow arithmetic on numbers next to zero. PyTorch's own settings come back, but
    that PyTorch cannot say whether denormal numbers were flushed before: they are not afterwards.

    The momentum of weights without a gradient decays until it is denormal and stays there: without flushing, epochs
    on the CPU become several times slower in the course of a training.
    """
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new tensors with NaN is a debugging aid of the deterministic mode that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def run_name(config: RunConfig, parameters: TrainingParameters) -> str:
    """Preference vector and seed, as they appear in names of files."""
    return f"k{'_'.join(f'{value:.10g}' for value in parameters.w)}_seed{config.seed}"


def model_file(config: RunConfig, parameters: TrainingParameters) -> Path:
    """Where the run's model is kept beside those of other runs."""
    task = "" if config.task is None else f"_task{config.task}"
    method = "" if parameters.method == "Chebyshev" else f"_{parameters.method}"
    what = f"{config.architecture}{method}_{config.dataset}{task}"
    return config.root / config.mod_logdir / f"{what}_{run_name(config, parameters)}_model{parameters.num_model}.pth"


def plan_files(config: RunConfig, parameters: TrainingParameters) -> RunFiles:
    """Name a new run's files."""
    moment = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    folder = config.root / config.main_dir / config.script / f"{run_name(config, parameters)}_{moment}"
    models = (folder / "model.pth", model_file(config, parameters))
    return RunFiles(folder, models, config.root / "Images" / config.dataset, config.script)


def start_run(
    config: RunConfig,
    parameters: TrainingParameters,
    observer: Observer,
    *,
    files: RunFiles | None = None,
    problem: Problem | None = None,
) -> FinishedRun:
    """Run from the beginning.

    Args:
        config, parameters: of the run.
        observer: told of the progress.
        files: where to write; None makes a new folder.
        problem: a user's own network and data; None loads and builds what ``config`` names.
    """
    files = files or plan_files(config, parameters)
    for folder in (files.folder, files.images, *(path.parent for path in files.models)):
        check_writable(folder)
    return _run(config, parameters, observer, files, problem, resume=False)


def resume_run(folder: Path, observer: Observer, *, problem: Problem | None = None) -> FinishedRun:
    """Go on with an interrupted run; what it was started with counts.

    Args:
        folder: of the run.
        observer: told of the progress.
        problem: the user's own network and data, if the run was started with them.

    Raises:
        UserError: if the folder holds no interrupted run.
    """
    config, parameters, files = read_run(folder)
    if files.results.exists():
        raise UserError(f"the run in {folder} is finished: its results are in {files.results}")
    return continue_run(config, parameters, observer, files=files, problem=problem)


def continue_run(
    config: RunConfig,
    parameters: TrainingParameters,
    observer: Observer,
    *,
    files: RunFiles,
    problem: Problem | None = None,
) -> FinishedRun:
    """Go on from a run's checkpoint; arguments as in :func:`start_run`, and those that matter for results as then."""
    return _run(config, parameters, observer, files, problem, resume=files.checkpoint.exists())


@run_arithmetic()
def _run(
    config: RunConfig,
    parameters: TrainingParameters,
    observer: Observer,
    files: RunFiles,
    problem: Problem | None,
    *,
    resume: bool,
) -> FinishedRun:
    problem = problem or load_problem(config, parameters, observer)
    trainer = _trainer(config, parameters, problem, files)
    if resume:
        trainer.resume()
    return _train_and_save(config, parameters, problem, files, trainer, observer)


def start_or_go_on(config: RunConfig, parameters: TrainingParameters, observer: Observer) -> FinishedRun:
    """Run, from the last epoch of an unfinished run of the same script, configuration and parameters if there is one.

    A run that another process has in hand is left to it, one whose checkpoint cannot be read is left alone.
    """
    for folder in _interrupted_runs(config, parameters):
        try:
            with FileLock(folder / ".lock", timeout=0):
                observer.message(f"going on with the interrupted run in {folder}")
                return resume_run(folder, observer)
        except Timeout:
            observer.message(f"the run in {folder} is in the hands of another process")
        except CheckpointError as error:
            observer.message(str(error))
    files = plan_files(config, parameters)
    check_writable(files.folder)
    files.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(files.folder / ".lock"):
        return start_run(config, parameters, observer, files=files)


def _interrupted_runs(config: RunConfig, parameters: TrainingParameters) -> Iterator[Path]:
    """Folders of unfinished runs with a checkpoint, newest first."""
    for checkpoint in sorted((config.root / config.main_dir / config.script).glob("*/checkpoint.pt"), reverse=True):
        try:
            found = read_run(checkpoint.parent)
        except UserError:
            continue
        if found[:2] == (config, parameters) and not found[2].results.exists():
            yield checkpoint.parent


def read_run(folder: Path) -> tuple[RunConfig, TrainingParameters, RunFiles]:
    """Configuration, parameters and files of the run in a folder."""
    try:
        content = json.loads((folder / "run.json").read_text())
        config = RunConfig(**_with_tuples(content["config"]))
        parameters = TrainingParameters(**_with_tuples(content["parameters"]))
        files = content["files"]
        models = tuple(Path(path) for path in files["models"])
        return config, parameters, RunFiles(folder, models, Path(files["images"]), files["prefix"], files["overview"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no run of this version (no readable run.json)") from error


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values read from JSON for a dataclass whose sequences are tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def load_dataset(config: RunConfig, observer: Observer) -> MultiTaskDataset:
    """The data set that the configuration names, one task of it where it says so."""
    dataset = dataset_entry(config.dataset).load(data_folder(config.data_dir), config.data_seed, observer.message)
    return dataset if config.task is None else select_task(dataset, config.task)


def architecture_for(config: RunConfig, dataset: MultiTaskDataset) -> Architecture:
    """What the network for this data set is built from."""
    return Architecture(config.architecture, dataset_entry(config.dataset).backbone, tuple(dataset.num_outs))


def check_run(config: RunConfig, parameters: TrainingParameters) -> None:
    """Refuse a configuration and parameters that do not belong together; nothing is read for it.

    Raises:
        UserError: naming what does not fit.
    """
    check_architecture(config.architecture)
    check_method(parameters)
    if config.architecture == "STL" and config.task is None:
        raise UserError("architecture STL trains a single task: name it with --task")
    from_model = not (parameters.is_search and parameters.Sparsity_study)
    if config.model is None and from_model:
        name = "Sparsity_study" if parameters.is_search else "is_search"
        raise UserError(f"{name} is False, which starts from a sparse model: name its file with --model")
    if config.model is not None and not from_model:
        raise UserError(f"model is {config.model!r}; allowed: none, or is_search or Sparsity_study False")
    wanted = parameters.num_tasks - 1 if METHODS[parameters.method].uses_teachers else 0
    if len(config.teachers) != wanted:
        raise UserError(
            f"teachers are {list(config.teachers)}; allowed for method {parameters.method}: {wanted} files"
            + (", one per task" if wanted else "")
        )


def check_tasks(parameters: TrainingParameters, tasks: int, name: str) -> None:
    """Refuse parameters for another number of tasks than the data of that name have.

    Raises:
        UserError: naming num_tasks.
    """
    if parameters.num_tasks != tasks + 1:
        raise UserError(
            f"num_tasks is {parameters.num_tasks}; allowed for {name}: {tasks + 1} (sparsity and its tasks)"
        )


def load_problem(config: RunConfig, parameters: TrainingParameters, observer: Observer) -> Problem:
    """Load the data and make the network, initialised or read from a file."""
    check_run(config, parameters)
    dataset = load_dataset(config, observer)
    check_tasks(parameters, len(dataset.task_names), dataset.name)
    device = config.torch_device()
    splits = make_splits(dataset, device)
    architecture = architecture_for(config, dataset)
    if config.model is None:
        torch.manual_seed(config.seed)
        network = architecture.build().to(device)
        initialise_lsuv(network, splits.train.images[: parameters.batch_size])
    else:
        network = load_model(Path(config.model), architecture).network.to(device)
    network = network.to(memory_format=torch.channels_last)
    teachers = _load_teachers(config, dataset, device)
    return Problem(dataset.name, dataset.task_names, splits, architecture, network, dataset, teachers)


def _load_teachers(config: RunConfig, dataset: MultiTaskDataset, device: torch.device) -> tuple[nn.Module, ...]:
    """The single-task networks that the configuration names, one per task of these data."""
    networks = []
    for task, path in enumerate(config.teachers):
        single = Architecture("STL", dataset_entry(config.dataset).backbone, (dataset.num_outs[task],))
        saved = load_model(Path(path), single)
        trained_on = (saved.results.get("dataset"), saved.results.get("task"))
        if trained_on != (config.dataset, task):
            raise UserError(
                f"teachers: {path} was trained on {trained_on[0]}, task {trained_on[1]}; "
                f"allowed in this place: {config.dataset}, task {task}"
            )
        networks.append(saved.network)
    return tuple(network.to(device).to(memory_format=torch.channels_last).eval() for network in networks)


@torch.no_grad()
def check_problem(problem: Problem, parameters: TrainingParameters) -> None:
    """Refuse preferences, labels and outputs that do not belong together.

    Raises:
        UserError: naming what does not fit.
    """
    tasks = problem.splits.train.labels.shape[1]
    check_tasks(parameters, tasks, problem.name)
    if len(problem.task_names) != tasks:
        raise UserError(f"task_names are {list(problem.task_names)}; allowed for {problem.name}: {tasks}, one per task")
    if parameters.with_sparsity and not problem.network.growl_layers(parameters.skip_layer):
        raise UserError(
            f"w (the preference vector k) is {list(parameters.w)}; allowed for this network and skip_layer = "
            f"{parameters.skip_layer}: 0 for sparsity, no layer is left that may become sparse"
        )
    num_outs = numbers_of_classes(problem.network, problem.splits)
    for split in ("train", "validation", "test"):
        labels = getattr(problem.splits, split).labels
        for task, classes in enumerate(num_outs):
            low, high = int(labels[:, task].min()), int(labels[:, task].max())
            if low < 0 or high >= classes:
                raise UserError(
                    f"{split} labels of task {task} ({problem.task_names[task]}) range from {low} to {high}; "
                    f"allowed: 0 to {classes - 1}, as the network has {classes} outputs for it"
                )


@torch.no_grad()
def numbers_of_classes(network: MultiTaskNetwork, splits: Splits) -> tuple[int, ...]:
    """How many classes the network has for each task.

    Raises:
        UserError: if it is no multi-task network, cannot read the images, or has not an output per label.
    """
    if not isinstance(network, MultiTaskNetwork):
        raise UserError(f"network is a {type(network).__name__}; allowed: a MultiTaskNetwork, as HPS and MDMTN are")
    _check_splits(splits)
    training, tasks = network.training, splits.train.labels.shape[1]
    try:
        outputs = network.eval()(splits.train.images[:2])
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        what = f"{splits.train.images.dtype} images of shape {_shape(splits.train)}"
        raise UserError(f"the network cannot read {what}: {error}") from error
    finally:
        network.train(training)
    if len(outputs) != tasks:
        raise UserError(f"the network has {len(outputs)} outputs; allowed for these data: {tasks}, one per task")
    return tuple(output.shape[1] for output in outputs)


def _check_splits(splits: Splits) -> None:
    for name in ("train", "validation", "test"):
        data: TaskData = getattr(splits, name)
        if not len(data):
            raise UserError(f"the {name} data hold no images; allowed: 1 or more")
        if data.images.dtype != splits.train.images.dtype:
            wanted = splits.train.images.dtype
            raise UserError(f"the {name} images are {data.images.dtype}; allowed, as in training: {wanted}")
        if data.labels.dtype != torch.int64:
            raise UserError(f"the {name} labels are {data.labels.dtype}; allowed: {torch.int64}")
        if (_shape(data), data.labels.shape[1]) != (_shape(splits.train), splits.train.labels.shape[1]):
            raise UserError(
                f"the {name} data have images of shape {_shape(data)} and {data.labels.shape[1]} labels each; allowed, "
                f"as in training: {_shape(splits.train)} and {splits.train.labels.shape[1]}"
            )


def _shape(data: TaskData) -> tuple[int, ...]:
    return tuple(data.images.shape[1:])


def _trainer(config: RunConfig, parameters: TrainingParameters, problem: Problem, files: RunFiles) -> Trainer:
    """The trainer of a run, after all that can be refused."""
    check_problem(problem, parameters)
    torch.manual_seed(config.seed)  # a method may have weights of its own
    return Trainer(
        problem.network,
        make_method(problem.network, parameters, config.torch_device(), problem.teachers),
        share_of_training(problem.splits, parameters.train_share, config.seed),
        parameters,
        seed=config.seed,
        checkpoint=files.checkpoint,
    )


def _train_and_save(
    config: RunConfig,
    parameters: TrainingParameters,
    problem: Problem,
    files: RunFiles,
    trainer: Trainer,
    observer: Observer,
) -> FinishedRun:
    content = {"config": asdict(config), "parameters": asdict(parameters), "files": files.as_text()}
    write_json(files.config, content)
    started = time.perf_counter()
    trainer.observer = _HistoryFile(files.history, trainer, observer)
    before = sum(record.seconds for record in trainer.history)
    try:
        outcome = train(trainer)
    except KeyboardInterrupt:
        observer.message(f"interrupted; go on with --resume {files.folder}")
        raise
    results = collect_results(trainer, outcome, before + time.perf_counter() - started)
    written = _save(config, parameters, problem, files, trainer, results)
    return FinishedRun(results, problem.task_names, written)


class _HistoryFile(Observer):
    """Keeps ``history.csv`` up to date and passes everything on."""

    def __init__(self, path: Path, trainer: Trainer, observer: Observer) -> None:
        self._path, self._trainer = path, trainer
        self.phase_starts, self.batch_ends = observer.phase_starts, observer.batch_ends  # type: ignore[method-assign]
        self.message, self._epoch_ends = observer.message, observer.epoch_ends  # type: ignore[method-assign]

    def epoch_ends(self, record: EpochRecord) -> None:
        write_csv(self._path, history_rows(self._trainer.history))
        self._epoch_ends(record)


def _save(
    config: RunConfig,
    parameters: TrainingParameters,
    problem: Problem,
    files: RunFiles,
    trainer: Trainer,
    results: RunResults,
) -> list[Path]:
    """Write everything a run leaves; the results file comes last and marks the run as finished."""
    content = {
        "script": config.script,
        "architecture": config.architecture,
        "dataset": config.dataset,
        "task": config.task,
        "task_names": list(problem.task_names),
        "k": list(parameters.w),
        **results.as_dict(),
        "parameters": asdict(parameters),
        "seed": config.seed,
        "data_seed": config.data_seed,
        "device": device_name(config.torch_device()),
        "versions": versions(),
    }
    for path in files.models:
        save_model(path, trainer.model, problem.architecture, _plain(asdict(parameters)), _plain(content))
    write_csv(files.history, history_rows(trainer.history))
    pictures = _draw(problem, files, trainer, results, parameters)
    write_json(files.results, content)
    files.checkpoint.unlink(missing_ok=True)
    return [files.results, files.history, *files.models, *pictures]


def _draw(
    problem: Problem, files: RunFiles, trainer: Trainer, results: RunResults, parameters: TrainingParameters
) -> list[Path]:
    folder = files.images
    title = f"{problem.architecture.name} on {problem.name}, k = ({', '.join(f'{value:g}' for value in parameters.w)})"
    pictures = [folder / f"{files.prefix}_training.png"]
    plots.draw_history(pictures[0], trainer.history, problem.task_names, title)
    if parameters.with_sparsity:
        pictures.append(folder / f"{files.prefix}_rows.png")
        plots.draw_rows(pictures[-1], results.layers, f"{title}: rows of the sparse layers")
    if files.overview and problem.dataset is not None:
        pictures.append(folder / "samples.png")
        plots.draw_samples(pictures[-1], problem.dataset)
    if files.overview and isinstance(problem.network, MDMTN):
        pictures.append(folder / "MDMTN_diagram.png")
        plots.draw_diagram(pictures[-1], problem.architecture.num_outs, problem.task_names)
    return pictures


def device_name(device: torch.device) -> str:
    """The device as the results name it: its kind and model."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def _plain(value: Any) -> Any:
    """The value with tuples as lists, as JSON and weights-only loading know them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
