"""Which trainings can go on together, as one of stacked networks: found out by trying."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from Data_loaders.loaders import Splits, TaskData
from Data_loaders.streams import AnySplits
from src.models.multi_task import MultiTaskNetwork
from src.utils.errors import UserError
from src.utils.tasks import Task
from src.utils.training.engine import Trainer
from src.utils.training.methods import METHODS, make_method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.stack import StackTrainer, tensors_of

SAMPLES, STEPS, TOLERANCE = 8, 2, 1e-3


def check_stackable_method(parameters: TrainingParameters) -> None:
    """Refuse a method whose step is not one gradient of one number per network.

    Raises:
        UserError: naming those that are.
    """
    if not METHODS[parameters.method].stackable:
        known = ", ".join(name for name, method in METHODS.items() if method.stackable)
        raise UserError(f"method is {parameters.method!r}; allowed with --batched: {known}")


def check_stackable_network(
    network: MultiTaskNetwork, splits: AnySplits, tasks: Sequence[Task], parameters: TrainingParameters
) -> None:
    """Refuse a network, or losses, that cannot be mapped over several sets of weights.

    Two copies with different weights take a few steps on a few samples, together and each alone: objectives,
    gradients, buffers and outputs must be the same.

    Args:
        network: with any weights; left as it is.
        splits: whose training data are tried.
        tasks: what the outputs are.
        parameters: of the training.

    Raises:
        UserError: naming the network and what does not work.
    """
    few = TaskData(*splits.train.first(SAMPLES))
    data = Splits(few, few, few)
    alone, together = (_two(network, data, tasks, parameters) for _ in range(2))
    try:
        with torch.random.fork_rng():
            stack = StackTrainer(together)
            for _ in range(STEPS):
                _compare_step(stack, alone, few)
            losses = torch.tensor([[member.evaluate(few).losses for member in alone], stack.validation_losses()])
        _compare("outputs", losses[1], losses[0])
    except (RuntimeError, ValueError, TypeError, NotImplementedError, LookupError) as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(
            f"network {type(network).__name__} cannot be one of several that are trained as one: {why}; allowed with "
            "--batched: networks and losses that torch.vmap can map over several sets of weights"
        ) from error


def _two(
    network: MultiTaskNetwork, data: Splits, tasks: Sequence[Task], parameters: TrainingParameters
) -> list[Trainer]:
    """Trainers of two networks that differ in weights and preferences."""
    trainers = []
    for number in (1, 2):
        own = copy.deepcopy(network).train()
        with torch.no_grad():
            for parameter in own.parameters():
                parameter.mul_(1 + 0.1 * number)
        w = (0.0, *(1.0 + task * number for task in range(len(tasks))))
        mine = parameters.changed(w=w, num_tasks=None, a=(), nadir=(), row_groups="neuron")
        method = make_method(own, mine, next(own.parameters()).device, (), tasks)
        trainers.append(Trainer(own, method, data, mine))
        method.start_phase(sparsity=False)
    return trainers


def _compare_step(stack: StackTrainer, alone: Sequence[Trainer], data: TaskData) -> None:
    """Gradients of a batch, together and alone."""
    for tensor in stack.networks.values():
        tensor.grad = None
    torch.manual_seed(0)
    f, wanted = stack.gradients(data.images, data.labels), []
    for trainer in alone:
        torch.manual_seed(0)
        trainer.model.zero_grad()
        wanted.append(trainer.method.backward(trainer.model, data.images, data.labels))
    _compare("objectives", f, torch.stack(wanted))
    own = [tensors_of(trainer.model) for trainer in alone]
    gradients = {name: [_gradient(part[name]) for part in own] for name in stack.networks}
    scale = max(float(gradient.abs().max()) for parts in gradients.values() for gradient in parts)
    for name, tensor in stack.networks.items():
        _compare(f"gradients of {name}", _gradient(tensor), torch.stack(gradients[name]), scale)
        _compare(name, tensor.detach(), torch.stack([part[name].detach() for part in own]))


def _gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _compare(what: str, found: Tensor, wanted: Tensor, scale: float | None = None) -> None:
    """Refuse numbers that differ by more than what rounding does at their scale, by default their largest size."""
    size = float(wanted.abs().max()) if scale is None else scale
    if not torch.allclose(found.double(), wanted.double(), TOLERANCE, TOLERANCE * size, equal_nan=True):
        raise ValueError(f"its {what} differ from those of one alone")
