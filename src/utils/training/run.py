"""One run from data to files: load, build, train, test, save."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import torch.utils.deterministic

from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import Splits, make_splits
from Data_loaders.registry import dataset_entry
from Data_loaders.sources import data_folder
from src.models.multi_task import MultiTaskNetwork
from src.models.registry import Architecture, load_model, save_model
from src.utils.errors import UserError
from src.utils.files import write_csv, write_json
from src.utils.study import plots
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.engine import Observer, Trainer
from src.utils.training.lsuv import initialise_lsuv
from src.utils.training.parameters import TrainingParameters
from src.utils.training.results import RunResults, collect_results, history_rows, versions
from src.utils.training.two_phase import train

ROOT = Path(__file__).resolve().parents[3]
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What is run, on what and where its files go; the training itself is in :class:`TrainingParameters`.

    Attributes:
        script: name of the script, which names the run's folder.
        architecture: key of ``src.models.registry.ARCHITECTURES``.
        dataset: key of ``Data_loaders.registry.DATASETS``.
        seed: of the initial weights and the order of the batches.
        data_seed: of the partners that images are composed of.
        device: auto, cpu or cuda.
        data_dir: data folder; None looks at ``$MDMTN_DATA``, then ``Data/``.
        output_dir: root of all that is written; None is the project.
        main_dir: folder of the training results, under ``output_dir``.
        mod_logdir: folder of the saved models, under ``output_dir``.
        model: file of the network to start from, for a training without phase 1.
    """

    script: str
    architecture: str
    dataset: str
    seed: int = 0
    data_seed: int = 0
    device: str = "auto"
    data_dir: str | None = None
    output_dir: str | None = None
    main_dir: str = "logs"
    mod_logdir: str = "src/Sparse_models"
    model: str | None = None

    def __post_init__(self) -> None:
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
        return Path(self.output_dir).resolve() if self.output_dir else ROOT

    def torch_device(self) -> torch.device:
        """The device that is meant."""
        cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        return torch.device("cuda" if cuda else "cpu")


@dataclass(frozen=True)
class RunFiles:
    """Where a run's files are.

    Attributes:
        folder: of the run, with its configuration, checkpoint, history, results and model.
        model: the second copy of the model, named by its preference vector.
        images: folder of the pictures.
        script: prefix of the pictures' names.
    """

    folder: Path
    model: Path
    images: Path
    script: str

    @property
    def config(self) -> Path:
        """The run's configuration and parameters."""
        return self.folder / "run.json"

    @property
    def checkpoint(self) -> Path:
        """State after the last epoch, there while the run is unfinished."""
        return self.folder / "checkpoint.pt"

    @property
    def results(self) -> Path:
        """The results file."""
        return self.folder / "results.json"


@dataclass(frozen=True)
class FinishedRun:
    """Results of a run and the files it wrote."""

    results: RunResults
    task_names: tuple[str, ...]
    files: list[Path]


@dataclass(frozen=True)
class Prepared:
    """Data on the device and the network to be trained."""

    dataset: MultiTaskDataset
    splits: Splits
    architecture: Architecture
    network: MultiTaskNetwork


def set_arithmetic() -> None:
    """Same seed, same result; and no slow arithmetic on numbers next to zero.

    The momentum of weights without a gradient decays until it is denormal and stays there: without flushing, epochs
    on the CPU become several times slower in the course of a training.
    """
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new tensors with NaN is a debugging aid of the deterministic mode that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def plan_files(config: RunConfig, parameters: TrainingParameters) -> RunFiles:
    """Name a new run's files and make sure that they can be written."""
    preferences = "_".join(f"{value:g}" for value in parameters.w)
    name = f"k{preferences}_seed{config.seed}"
    moment = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    model = f"{config.architecture}_{config.dataset}_{name}_model{parameters.num_model}.pth"
    files = RunFiles(
        config.root / config.main_dir / config.script / f"{name}_{moment}",
        config.root / config.mod_logdir / model,
        config.root / "Images" / config.dataset,
        config.script,
    )
    for folder in (files.folder, files.model.parent, files.images):
        _check_writable(folder)
    return files


def start_run(config: RunConfig, parameters: TrainingParameters, observer: Observer) -> FinishedRun:
    """Run from the beginning."""
    files = plan_files(config, parameters)
    prepared = _prepare(config, parameters, observer)
    write_json(files.config, {"config": asdict(config), "parameters": asdict(parameters), "files": _as_text(files)})
    return _train_and_save(config, parameters, prepared, files, observer, resume=False)


def resume_run(folder: Path, observer: Observer) -> FinishedRun:
    """Go on with an interrupted run; what it was started with counts.

    Raises:
        UserError: if the folder holds no interrupted run.
    """
    config, parameters, files = read_run(folder)
    if files.results.exists():
        raise UserError(f"the run in {folder} is finished: its results are in {files.results}")
    prepared = _prepare(config, parameters, observer)
    return _train_and_save(config, parameters, prepared, files, observer, resume=files.checkpoint.exists())


def read_run(folder: Path) -> tuple[RunConfig, TrainingParameters, RunFiles]:
    """Configuration, parameters and files of the run in a folder."""
    try:
        content = json.loads((folder / "run.json").read_text())
        config = RunConfig(**content["config"])
        tuples = {item.name for item in fields(TrainingParameters) if str(item.type).startswith("tuple")}
        values: dict[str, Any] = {name: tuple(v) if name in tuples else v for name, v in content["parameters"].items()}
        files = content["files"]
        names = RunFiles(folder, Path(files["model"]), Path(files["images"]), files["script"])
        return config, TrainingParameters(**values), names
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no run of this version (no readable run.json)") from error


def _prepare(config: RunConfig, parameters: TrainingParameters, observer: Observer) -> Prepared:
    """Load the data and make the network, initialised or read from a file."""
    set_arithmetic()
    entry = dataset_entry(config.dataset)
    dataset = entry.load(data_folder(config.data_dir), config.data_seed, observer.message)
    if len(dataset.task_names) + 1 != parameters.num_tasks:
        raise UserError(
            f"num_tasks is {parameters.num_tasks}; allowed for {dataset.name}: {len(dataset.task_names) + 1} "
            "(sparsity and its tasks)"
        )
    device = config.torch_device()
    splits = make_splits(dataset, device)
    architecture = Architecture(config.architecture, entry.backbone, tuple(dataset.num_outs))
    if config.model is None:
        _check_start(parameters)
        torch.manual_seed(config.seed)
        network = architecture.build().to(device)
        initialise_lsuv(network, splits.train.images[: parameters.batch_size])
    else:
        network = load_model(Path(config.model), architecture).network.to(device)
    network = network.to(memory_format=torch.channels_last)
    return Prepared(dataset, splits, architecture, network)


def _check_start(parameters: TrainingParameters) -> None:
    if not parameters.is_search or not parameters.Sparsity_study:
        name = "is_search" if not parameters.is_search else "Sparsity_study"
        raise UserError(f"{name} is False, which starts from a sparse model: name its file with --model")


def _train_and_save(
    config: RunConfig,
    parameters: TrainingParameters,
    prepared: Prepared,
    files: RunFiles,
    observer: Observer,
    *,
    resume: bool,
) -> FinishedRun:
    started = time.perf_counter()
    trainer = Trainer(
        prepared.network,
        ChebyshevMethod(prepared.network, parameters, config.torch_device()),
        prepared.splits,
        parameters,
        seed=config.seed,
        observer=observer,
        checkpoint=files.checkpoint,
    )
    if resume:
        trainer.resume()
    try:
        outcome = train(trainer)
    except KeyboardInterrupt:
        observer.message(f"interrupted; go on with --resume {files.folder}")
        raise
    results = collect_results(trainer, outcome, time.perf_counter() - started)
    written = _save(config, parameters, prepared, files, trainer, results)
    return FinishedRun(results, prepared.dataset.task_names, written)


def _save(
    config: RunConfig,
    parameters: TrainingParameters,
    prepared: Prepared,
    files: RunFiles,
    trainer: Trainer,
    results: RunResults,
) -> list[Path]:
    """Write everything a run leaves; the results file comes last and marks the run as finished."""
    content = {
        "script": config.script,
        "architecture": config.architecture,
        "dataset": config.dataset,
        "k": list(parameters.w),
        **results.as_dict(),
        "parameters": asdict(parameters),
        "seed": config.seed,
        "data_seed": config.data_seed,
        "device": device_name(config.torch_device()),
        "versions": versions(),
    }
    models = [files.folder / "model.pth", files.model]
    for path in models:
        save_model(path, trainer.model, prepared.architecture, _plain(asdict(parameters)), _plain(content))
    history = files.folder / "history.csv"
    write_csv(history, history_rows(trainer.history))
    pictures = _draw(prepared, files, trainer, results, parameters)
    write_json(files.results, content)
    files.checkpoint.unlink(missing_ok=True)
    return [files.results, history, *models, *pictures]


def _draw(
    prepared: Prepared, files: RunFiles, trainer: Trainer, results: RunResults, parameters: TrainingParameters
) -> list[Path]:
    dataset, folder = prepared.dataset, files.images
    title = f"{prepared.architecture.name} on {dataset.name}, k = ({', '.join(f'{value:g}' for value in parameters.w)})"
    pictures = [folder / "samples.png", folder / f"{files.script}_training.png"]
    plots.draw_samples(pictures[0], dataset)
    plots.draw_history(pictures[1], trainer.history, dataset.task_names, title)
    if parameters.with_sparsity:
        pictures.append(folder / f"{files.script}_rows.png")
        plots.draw_rows(pictures[-1], results.layers, f"{title}: rows of the sparse layers")
    if prepared.architecture.name == "MDMTN":
        pictures.append(folder / "MDMTN_diagram.png")
        plots.draw_diagram(pictures[-1], dataset.num_outs, dataset.task_names)
    return pictures


def device_name(device: torch.device) -> str:
    """The device as the results name it: its kind and model."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"


def _as_text(files: RunFiles) -> dict[str, str]:
    return {"model": str(files.model), "images": str(files.images), "script": files.script}


def _plain(value: Any) -> Any:
    """The value with tuples as lists, as JSON and weights-only loading know them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _check_writable(folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {folder}: {existing} is not a folder you may write to; see --output-dir")
