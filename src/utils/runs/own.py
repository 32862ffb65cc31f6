"""A user's own network and data as a problem, and what is refused of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from Data_loaders.batches import Inputs, leaves, size
from Data_loaders.streams import SPLIT_NAMES, AnySplits, as_splits
from src.models.multi_task import MultiTaskNetwork
from src.models.names import OWN
from src.models.registry import Architecture, load_model
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig
from src.utils.runs.problem import Problem, torch_device
from src.utils.tasks import Task, classifications

IDENTIFYING = 1_000


@dataclass(frozen=True)
class OwnProblem:
    """What a user's own script trains: made anew in every process that trains a part of a search or study.

    Attributes:
        tasks: one per output of the network.
        data: splits, or three DataLoaders or data sets.
        network: makes it; its initial weights come from the seed of the run.
    """

    tasks: tuple[Task, ...]
    data: AnySplits | Sequence[Any]
    network: Callable[[], MultiTaskNetwork]

    @property
    def task_names(self) -> tuple[str, ...]:
        """One per task."""
        return tuple(task.name for task in self.tasks)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of tasks, layers and the first samples of each split, by which a search or study is found again."""
        digest = hashlib.sha256(repr([[task.as_plain() for task in self.tasks], self.network()]).encode())
        splits = as_splits(self.data, torch.device("cpu"))
        for split in SPLIT_NAMES:
            for tensor in (found for part in getattr(splits, split).first(IDENTIFYING) for found in leaves(part)):
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def problem(self, config: RunConfig) -> Problem:
        """Network and data of one run, the network read from a file where the configuration names one.

        Raises:
            UserError: if network, data and tasks do not belong together, or the file does not fit.
        """
        torch.manual_seed(config.seed)
        network = self.network().to(torch_device(config))
        if config.model is not None:
            network = load_model(Path(config.model), network=network).network
        return own_problem(config.dataset, network, self.data, self.tasks)


def own_problem(
    name: str,
    network: MultiTaskNetwork,
    data: AnySplits | Sequence[Any],
    tasks: Sequence[Task] | None = None,
    teachers: Sequence[nn.Module] = (),
) -> Problem:
    """A user's own network and data.

    Args:
        name: of the data.
        network: with its initial weights.
        data: splits, or three DataLoaders or data sets.
        tasks: one per output of the network; None: classifications with the labels (N, m), numbered.
        teachers: a trained network per task, for a method that learns from them.

    Raises:
        UserError: if the network cannot read the data, or its outputs are not those of the tasks.
    """
    if not isinstance(network, MultiTaskNetwork):
        raise UserError(f"network is a {type(network).__name__}; allowed: a MultiTaskNetwork, as HPS and MDMTN are")
    splits = as_splits(data, next(network.parameters()).device)
    examples = {split: _first(split, splits) for split in SPLIT_NAMES}
    _check_inputs(examples)
    if tasks is None:
        _check_classes(examples)
    outputs = _outputs(network, examples["train"][0])
    count = len(tasks) if tasks is not None else examples["train"][1].shape[1]
    if len(outputs) != count:
        raise UserError(f"the network has {len(outputs)} outputs; allowed for these data: {count}, one per task")
    widths = tuple(output.shape[1] if output.ndim == 2 else 0 for output in outputs)
    if tasks is None:
        tasks = classifications([f"task {number + 1}" for number in range(count)], widths)
    _check_widths(outputs, tasks)
    return Problem(name, tuple(tasks), splits, Architecture(OWN, name, widths), network, teachers=tuple(teachers))


def _first(split: str, splits: AnySplits) -> tuple[Inputs, Any]:
    data = getattr(splits, split)
    inputs, labels = _pair(split, data)
    if not size(inputs):
        raise UserError(f"the {split} data hold no images; allowed: 1 or more")
    return inputs, labels


def _pair(split: str, data: Any) -> tuple[Inputs, Any]:
    try:
        batch = data.first(2)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise UserError(f"the {split} data give no batches of (inputs, labels): {error}") from error
    return batch[0], batch[1]


def _check_inputs(examples: dict[str, tuple[Inputs, Any]]) -> None:
    """Refuse splits whose inputs are not of the types and shapes of the training data."""
    wanted = list(leaves(examples["train"][0]))
    for split, (inputs, labels) in examples.items():
        found = list(leaves(inputs))
        if _types(found) != _types(wanted):
            raise UserError(f"the {split} images are {_types(found)}; allowed, as in training: {_types(wanted)}")
        if _shapes(found) != _shapes(wanted) or _columns(labels) != _columns(examples["train"][1]):
            raise UserError(
                f"the {split} data have images of shape {_shapes(found)} and {_columns(labels)} labels each; allowed, "
                f"as in training: {_shapes(wanted)} and {_columns(examples['train'][1])}"
            )


def _check_classes(examples: dict[str, tuple[Inputs, Any]]) -> None:
    """Refuse labels that need tasks to be understood."""
    for split, (_, labels) in examples.items():
        if not isinstance(labels, Tensor) or labels.ndim != 2:
            raise UserError(f"the {split} labels are no tensor (N, m); allowed with tasks only: name a Task for each")
        if labels.dtype != torch.int64:
            raise UserError(f"the {split} labels are {labels.dtype}; allowed: {torch.int64}, or name a Task for each")


@torch.no_grad()
def _outputs(network: MultiTaskNetwork, inputs: Inputs) -> list[Tensor]:
    training = network.training
    try:
        return list(network.eval()(inputs))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        found = list(leaves(inputs))
        images = f"{_types(found)} images of shape {_shapes(found)}"
        raise UserError(f"the network cannot read {images}: {error}") from error
    finally:
        network.train(training)


def _check_widths(outputs: Sequence[Tensor], tasks: Sequence[Task]) -> None:
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise UserError(f"tasks have the names {', '.join(names)}; allowed: a name of its own for each")
    for number, (task, output) in enumerate(zip(tasks, outputs, strict=True)):
        if output.ndim != 2 or output.shape[1] != task.outputs:
            raise UserError(
                f"output {number} of the network has shape {tuple(output.shape)}; allowed for task {task.name}, "
                f"{task.kind}: (N, {task.outputs})"
            )


def _types(found: Sequence[Tensor]) -> str:
    return ", ".join(str(tensor.dtype) for tensor in found)


def _shapes(found: Sequence[Tensor]) -> str:
    return ", ".join(str(tuple(tensor.shape[1:])) for tensor in found)


def _columns(labels: Any) -> int:
    """How many tasks labels are for."""
    return labels.shape[1] if isinstance(labels, Tensor) and labels.ndim > 1 else len(list(leaves(labels)))
