"""The network and the data of a run, and everything that is refused before a training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from Data_loaders.batches import Data
from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import TaskData, make_splits
from Data_loaders.registry import dataset_entry
from Data_loaders.sources import data_folder
from Data_loaders.streams import AnySplits, Stream, Streams
from Data_loaders.tasks import select_task
from src.models.multi_task import MultiTaskNetwork
from src.models.names import OWN, check_architecture
from src.models.registry import Architecture, SavedModel, load_model
from src.models.row_layers import layers_with_rows, names_in
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig
from src.utils.runs.labels import check_functions, check_labels
from src.utils.sparsity.groups import channel_positions
from src.utils.tasks import CLASSIFICATION, LOSS_NAMES, REGRESSION, Task
from src.utils.training.losses import loss_of
from src.utils.training.lsuv import initialise_lsuv
from src.utils.training.methods import check_method, make_method
from src.utils.training.normalisation import check_normalisation
from src.utils.training.parameters import Mode, TrainingParameters
from src.utils.training.records import Observer


@dataclass(frozen=True)
class Problem:
    """A network and the data it is trained on, on one device.

    Attributes:
        name: of the data.
        tasks: one per output of the network.
        splits: the data.
        architecture: what the network is built from.
        network: to be trained.
        dataset: where the splits come from; None for a user's own tensors.
        teachers: a trained network per task, for a method that learns from them.
    """

    name: str
    tasks: tuple[Task, ...]
    splits: AnySplits
    architecture: Architecture
    network: MultiTaskNetwork
    dataset: MultiTaskDataset | None = None
    teachers: tuple[nn.Module, ...] = ()

    @property
    def task_names(self) -> tuple[str, ...]:
        """One per task."""
        return tuple(task.name for task in self.tasks)


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
    return Problem(dataset.name, dataset.tasks, splits, architecture, network, dataset, teachers)


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


def group_rows(problem: Problem, parameters: TrainingParameters) -> None:
    """Where channels are to be rows, let the network know which inputs of its layers belong to one.

    Raises:
        UserError: if the network cannot be followed, or none of its sparse layers reads flattened images.
    """
    if parameters.row_groups != "channel":
        return
    network = problem.network
    network.positions = positions_in(network, problem.splits.train)
    if network.positions.keys().isdisjoint(network.growl_layers(parameters.skip_layer)):
        raise UserError("row_groups is 'channel'; allowed for a network without a layer behind a flatten: neuron")


def positions_in(network: nn.Module, data: Data) -> Mapping[str, int]:
    """Positions of a channel of the layers that read flattened images, see :func:`channel_positions`.

    Raises:
        UserError: if the network cannot be followed, or the inputs are not one tensor.
    """
    inputs = data.first(1)[0]
    if not isinstance(inputs, Tensor):
        raise UserError(f"row_groups is 'channel'; allowed for inputs that are a {type(inputs).__name__}: neuron")
    return channel_positions(network, inputs)


def check_problem(problem: Problem, parameters: TrainingParameters, say: Callable[[str], None]) -> None:
    """Refuse preferences, labels and outputs that do not belong together, and say what cannot be learned.

    Raises:
        UserError: naming what does not fit.
    """
    _check_tasks(parameters, len(problem.tasks), problem.name)
    if isinstance(problem.splits, Streams) and parameters.train_share < 1:
        raise UserError(f"train_share is {parameters.train_share:g}; allowed for data that are read in batches: 1")
    check_method(parameters, len(problem.teachers))
    check_normalisation(parameters)
    check_reference_point(parameters, problem.tasks)
    _check_skipped(problem.network, parameters)
    if parameters.with_sparsity and not problem.network.growl_layers(parameters.skip_layer):
        raise UserError(
            f"w (the preference vector k) is {list(parameters.w)}; allowed for this network and skip_layer = "
            f"{parameters.skip_layer}: 0 for sparsity, no layer is left that may become sparse"
        )
    _check_reference_of_sparsity(problem, parameters)
    check_labels(problem.splits, problem.tasks, say)
    _check_last_batch(problem, parameters)
    check_functions(problem.network, problem.splits, problem.tasks, parameters.criterion, parameters.batch_size)


def _check_last_batch(problem: Problem, parameters: TrainingParameters) -> None:
    """Refuse a batch of one sample for a network that cannot normalise over it."""
    data, size = problem.splits.train, parameters.batch_size
    if isinstance(data, Stream) and isinstance(data.source, DataLoader):
        return  # its batches are its own
    count = len(data) if isinstance(data, TaskData) else len(data.source)  # type: ignore[arg-type]
    count = max(1, round(parameters.train_share * count))
    if count % size != 1 % size or (parameters.num_batchEpoch or count) <= count // size:
        return
    random = torch.get_rng_state()
    try:
        copy.deepcopy(problem.network).train()(data.first(1)[0])
    except ValueError as error:
        raise UserError(
            f"batch_size is {size}; allowed for {count} training images: one that leaves no last batch of 1, which "
            f"the network cannot normalise ({str(error).splitlines()[0]})"
        ) from error
    finally:
        torch.set_rng_state(random)


def check_reference_point(parameters: TrainingParameters, tasks: Sequence[Task]) -> None:
    """Refuse a reference point that is no bound from below: at or above the loss of guessing, for any task.

    Guessing are equal outputs for all classes: a loss of log C for C classes and cross_entropy, of (C - 1) / C for
    multi_margin_loss, and of log 2 for a yes or no. Of a regression and of a loss of the user's own it is not known.

    Args:
        parameters: of the training.
        tasks: that it is for.

    Raises:
        UserError: naming the task and what is allowed.
    """
    if not parameters.uses_reference:
        return
    for task, a, k in zip(tasks, parameters.a[1:], parameters.w[1:], strict=True):
        if callable(task.loss) or task.kind == REGRESSION:
            continue
        loss = task.loss or (parameters.criterion if task.kind == CLASSIFICATION else LOSS_NAMES[task.kind][0])
        classes = task.outputs if task.kind == CLASSIFICATION else 2
        no_output = torch.zeros(1, task.outputs)
        label = torch.zeros(1, dtype=torch.int64) if task.kind == CLASSIFICATION else torch.zeros_like(no_output)
        guessing = float(loss_of(task, parameters.criterion)(no_output, label))
        if k > 0 and a >= guessing:
            raise UserError(
                f"a is {list(parameters.a)}; allowed for {task.name}: below {guessing:.4g}, the {loss} of "
                f"guessing among {classes} classes; a reference point is a bound that no network is to fall below"
            )


def _check_reference_of_sparsity(problem: Problem, parameters: TrainingParameters) -> None:
    """Refuse a reference point at or above Omega of the network that the training starts from."""
    if not parameters.uses_reference or parameters.mode is not Mode.SPARSE or parameters.a[0] <= 0:
        return
    method = make_method(
        problem.network, parameters, next(problem.network.parameters()).device, problem.teachers, problem.tasks
    )
    omega = float(method.sparsity_objective().detach())
    if parameters.a[0] >= omega:
        raise UserError(
            f"a is {list(parameters.a)}; allowed for sparsity: below {omega:.4g}, Omega of the network that the "
            "training starts from; a reference point is a bound that no network is to fall below"
        )


def _check_skipped(network: MultiTaskNetwork, parameters: TrainingParameters) -> None:
    """Refuse names of layers that are none."""
    known = list(layers_with_rows(network))
    if not set(names_in(parameters.skip_layer)) <= set(known):
        raise UserError(
            f"skip_layer is {parameters.skip_layer!r}; allowed for this network: a number of inputs, or names out of "
            f"{', '.join(known)}"
        )


def _check_tasks(parameters: TrainingParameters, tasks: int, name: str) -> None:
    if parameters.tasks != tasks:
        raise UserError(
            f"w (the preference vector k) has {parameters.tasks + 1} numbers {list(parameters.w)}; allowed for {name}: "
            f"{tasks + 1}, for sparsity and its tasks"
        )
