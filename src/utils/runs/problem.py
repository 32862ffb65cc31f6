"""The network and the data of a run, and everything that is refused before a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import Splits, TaskData, make_splits
from Data_loaders.registry import dataset_entry
from Data_loaders.sources import data_folder
from Data_loaders.tasks import select_task
from src.models.multi_task import MultiTaskNetwork
from src.models.names import OWN, check_architecture
from src.models.registry import Architecture, SavedModel, load_model
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig
from src.utils.sparsity.groups import channel_positions
from src.utils.training.engine import Observer
from src.utils.training.lsuv import initialise_lsuv
from src.utils.training.method import CRITERIA
from src.utils.training.methods import check_method, make_method
from src.utils.training.parameters import Mode, TrainingParameters


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


def torch_device(config: RunConfig) -> torch.device:
    """The device that a configuration means."""
    cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def check_run(config: RunConfig, parameters: TrainingParameters) -> None:
    """Refuse a configuration and parameters that do not belong together; no file is read for it.

    Raises:
        UserError: naming what does not fit.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is 'cuda' but this machine or this PyTorch has no CUDA: use --device cpu or auto")
    if config.architecture == OWN:
        return  # its network, data and teachers are in hand: see check_problem
    check_architecture(config.architecture)
    entry = dataset_entry(config.dataset)
    if config.task is not None and not 0 <= config.task < entry.tasks:
        raise UserError(f"task is {config.task}; allowed for {config.dataset}: 0 to {entry.tasks - 1}")
    if config.architecture == "STL" and config.task is None:
        raise UserError("architecture STL trains a single task: name it with --task")
    _check_tasks(parameters, 1 if config.task is not None else entry.tasks, config.dataset)
    from_model = parameters.mode.from_model
    if config.model is None and from_model:
        name = "Sparsity_study" if parameters.is_search else "is_search"
        raise UserError(f"{name} is False, which starts from a sparse model: name its file with --model")
    if config.model is not None and not from_model:
        raise UserError(f"model is {config.model!r}; allowed: none, or is_search or Sparsity_study False")
    check_method(parameters, len(config.teachers))


class Listener(Protocol):
    """Told of what the user should know."""

    def message(self, text: str) -> None: ...


def load_dataset(config: RunConfig, observer: Listener) -> MultiTaskDataset:
    """The data set that the configuration names, one task of it where it says so."""
    dataset = dataset_entry(config.dataset).load(data_folder(config.data_dir), config.data_seed, observer.message)
    return dataset if config.task is None else select_task(dataset, config.task)


def architecture_for(config: RunConfig, dataset: MultiTaskDataset) -> Architecture:
    """What the network for this data set is built from."""
    return Architecture(config.architecture, dataset_entry(config.dataset).backbone, tuple(dataset.num_outs))


def load_problem(config: RunConfig, parameters: TrainingParameters, observer: Observer) -> Problem:
    """Load the data and make the network, initialised or read from a file."""
    dataset = load_dataset(config, observer)
    device = torch_device(config)
    splits = make_splits(dataset, device)
    architecture = architecture_for(config, dataset)
    if config.model is None:
        torch.manual_seed(config.seed)
        network = architecture.build().to(device)
        initialise_lsuv(network, splits.train.images[: parameters.batch_size])
    else:
        saved = load_model(Path(config.model), architecture)
        _check_groups(config.model, saved, parameters)
        network = saved.network.to(device)
    network = network.to(memory_format=torch.channels_last)
    teachers = _load_teachers(config, dataset, device)
    return Problem(dataset.name, dataset.task_names, splits, architecture, network, dataset, teachers)


def _check_groups(path: str, saved: SavedModel, parameters: TrainingParameters) -> None:
    """Refuse to go on with other rows than a model has: its zero and equal rows would not be held."""
    trained = saved.parameters.get("row_groups", "neuron")  # the only ones before there was a choice
    if trained != parameters.row_groups:
        raise UserError(f"row_groups is {parameters.row_groups!r}; allowed, as {path} was trained with it: {trained}")


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


def own_problem(
    name: str,
    network: MultiTaskNetwork,
    splits: Splits,
    task_names: tuple[str, ...] | None,
    teachers: tuple[nn.Module, ...],
) -> Problem:
    """A user's own network and data; arguments as in :class:`Problem`, tasks without names are numbered.

    Raises:
        UserError: if the network cannot read the data, or has not an output per label.
    """
    num_outs = _numbers_of_classes(network, splits)
    names = task_names or tuple(f"task {task + 1}" for task in range(len(num_outs)))
    return Problem(name, names, splits, Architecture(OWN, name, num_outs), network, teachers=teachers)


def group_rows(problem: Problem, parameters: TrainingParameters) -> None:
    """Where channels are to be rows, let the network know which inputs of its layers belong to one.

    Raises:
        UserError: if the network cannot be followed, or none of its sparse layers reads flattened images.
    """
    if parameters.row_groups != "channel":
        return
    network = problem.network
    network.positions = channel_positions(network, problem.splits.train.images[:1])
    if network.positions.keys().isdisjoint(network.growl_layers(parameters.skip_layer)):
        raise UserError("row_groups is 'channel'; allowed for a network without a layer behind a flatten: neuron")


def check_problem(problem: Problem, parameters: TrainingParameters) -> None:
    """Refuse preferences, labels and outputs that do not belong together.

    Raises:
        UserError: naming what does not fit.
    """
    tasks = problem.splits.train.labels.shape[1]
    _check_tasks(parameters, tasks, problem.name)
    if len(problem.task_names) != tasks:
        raise UserError(f"task_names are {list(problem.task_names)}; allowed for {problem.name}: {tasks}, one per task")
    check_method(parameters, len(problem.teachers))
    check_reference_point(parameters, problem.architecture.num_outs, problem.task_names)
    if parameters.with_sparsity and not problem.network.growl_layers(parameters.skip_layer):
        raise UserError(
            f"w (the preference vector k) is {list(parameters.w)}; allowed for this network and skip_layer = "
            f"{parameters.skip_layer}: 0 for sparsity, no layer is left that may become sparse"
        )
    _check_reference_of_sparsity(problem, parameters)
    for split in ("train", "validation", "test"):
        labels = getattr(problem.splits, split).labels
        for task, classes in enumerate(problem.architecture.num_outs):
            low, high = int(labels[:, task].min()), int(labels[:, task].max())
            if low < 0 or high >= classes:
                raise UserError(
                    f"{split} labels of task {task} ({problem.task_names[task]}) range from {low} to {high}; "
                    f"allowed: 0 to {classes - 1}, as the network has {classes} outputs for it"
                )


def check_reference_point(parameters: TrainingParameters, num_outs: Sequence[int], task_names: Sequence[str]) -> None:
    """Refuse a reference point that is no bound from below: at or above the loss of guessing, for any task.

    Guessing are equal outputs for all classes: a loss of log C for C classes and cross_entropy, of (C - 1) / C for
    multi_margin_loss.

    Args:
        parameters: of the training.
        num_outs, task_names: numbers of classes and names, one per task.

    Raises:
        UserError: naming the task and what is allowed.
    """
    if not parameters.uses_reference:
        return
    for classes, name, a, k in zip(num_outs, task_names, parameters.a[1:], parameters.w[1:], strict=True):
        guessing = float(CRITERIA[parameters.criterion](torch.zeros(1, classes), torch.zeros(1, dtype=torch.int64)))
        if k > 0 and a >= guessing:
            raise UserError(
                f"a is {list(parameters.a)}; allowed for {name}: below {guessing:.4g}, the {parameters.criterion} of "
                f"guessing among {classes} classes; a reference point is a bound that no network is to fall below"
            )


def _check_reference_of_sparsity(problem: Problem, parameters: TrainingParameters) -> None:
    """Refuse a reference point at or above Omega of the network that the training starts from."""
    if not parameters.uses_reference or parameters.mode is not Mode.SPARSE or parameters.a[0] <= 0:
        return
    method = make_method(problem.network, parameters, next(problem.network.parameters()).device, problem.teachers)
    omega = float(method.sparsity_objective().detach())
    if parameters.a[0] >= omega:
        raise UserError(
            f"a is {list(parameters.a)}; allowed for sparsity: below {omega:.4g}, Omega of the network that the "
            "training starts from; a reference point is a bound that no network is to fall below"
        )


def _check_tasks(parameters: TrainingParameters, tasks: int, name: str) -> None:
    if parameters.tasks != tasks:
        raise UserError(
            f"w (the preference vector k) has {parameters.tasks + 1} numbers {list(parameters.w)}; allowed for {name}: "
            f"{tasks + 1}, for sparsity and its tasks"
        )


@torch.no_grad()
def _numbers_of_classes(network: MultiTaskNetwork, splits: Splits) -> tuple[int, ...]:
    """How many classes the network has for each task."""
    if not isinstance(network, MultiTaskNetwork):
        raise UserError(f"network is a {type(network).__name__}; allowed: a MultiTaskNetwork, as HPS and MDMTN are")
    _check_splits(splits)
    training, tasks = network.training, splits.train.labels.shape[1]
    try:
        outputs = network.eval()(splits.train.images[:2])
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        images = f"{splits.train.images.dtype} images of shape {_shape(splits.train)}"
        raise UserError(f"the network cannot read {images}: {error}") from error
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
