"""What all training methods have in common: they turn the objectives of a batch into gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from Data_loaders.batches import Inputs, Labels, labels_of
from src.models.multi_task import MultiTaskNetwork
from src.utils.errors import UserError
from src.utils.objectives.growl import growl_sum
from src.utils.objectives.owl import leading_weights
from src.utils.sparsity.rows import to_rows
from src.utils.tasks import Task
from src.utils.training.losses import loss_of, task_labels, tasks_for
from src.utils.training.parameters import TrainingParameters
from src.utils.training.sparse_layers import SparseLayer, growl_thetas, sparse_layers


@dataclass(frozen=True)
class Batch:
    """What a method makes of a batch.

    Attributes:
        objectives: f, shape (m + 1,).
        minimised: the scalar whose gradients the network gets.
    """

    objectives: Tensor
    minimised: Tensor


@dataclass(frozen=True)
class MethodState:
    """How a method weighs the objectives, recorded after every epoch.

    Attributes:
        weighted_objectives: what the method makes of the objectives, 0 for an objective out of play.
        lam: weights (multipliers) of the objectives.
        details: further numbers of this method, by name.
    """

    weighted_objectives: list[float]
    lam: list[float]
    details: dict[str, float] = field(default_factory=dict)


class Method(nn.Module, ABC):
    """Turns the objectives :math:`f = (\\Omega, f_1, ..., f_m)` of a batch into gradients of the network.

    Its own parameters are trained with the network's; its buffers are kept in checkpoints.

    A loss is the mean over the labels there are. In a batch without any label of a task its objective is what it was
    last (0 before the first), and it has no gradient.

    Args:
        model: the network; not kept as a submodule.
        parameters: of the training.
        device: where its tensors live.
        teachers: a trained network per task, for methods that learn from them.
        tasks: what the outputs are; none: classifications.

    Attributes:
        stackable: whether :meth:`forward` is all it does with a batch, so that the networks of several preference
            vectors can be trained as one.
        complete: whether it is known that no training label is missing, so that nobody has to look at each batch.
        counts: labels per task in the last batch.

    Raises:
        UserError: if the network or the teachers are not for this method.
    """

    k: Tensor
    last: Tensor
    uses_sparsity = False
    uses_teachers = False
    stackable = False

    def __init__(
        self,
        model: MultiTaskNetwork,
        parameters: TrainingParameters,
        device: torch.device,
        teachers: Sequence[nn.Module] = (),
        tasks: Sequence[Task] = (),
    ) -> None:
        super().__init__()
        self._settings = parameters
        self.tasks = tuple(tasks)
        self.complete = False
        self.counts: list[int] = []
        self._layers = list(sparse_layers(model, parameters).values())
        self._theta = growl_thetas(model, parameters, device)
        self._leading = [leading_weights(theta) for theta in self._theta]
        self.register_buffer("k", torch.tensor(parameters.w, dtype=torch.get_default_dtype(), device=device))
        self.register_buffer("last", torch.zeros_like(self.k[1:]))
        self._set_up(model, teachers)

    @abstractmethod
    def _set_up(self, model: MultiTaskNetwork, teachers: Sequence[nn.Module]) -> None:
        """What a method adds to the constructor: its buffers, its own parameters, what else it refuses."""

    @classmethod
    def check(cls, parameters: TrainingParameters, teachers: int) -> None:
        """Refuse parameters, or a number of teachers, that are not for this method.

        Raises:
            UserError: naming the parameter.
        """
        wanted = parameters.tasks if cls.uses_teachers else 0
        if teachers != wanted:
            per_task = ", one per task" if wanted else ""
            raise UserError(
                f"there are {teachers} teachers; allowed for method {parameters.method}: {wanted}{per_task}"
            )
        if parameters.with_sparsity and parameters.Sparsity_study and not cls.uses_sparsity:
            raise UserError(
                f"w (the preference vector k) is {list(parameters.w)}; allowed for method {parameters.method}: "
                "0 for sparsity"
            )

    @property
    def sparse_layers(self) -> list[SparseLayer]:
        """The layers under GrOWL."""
        return self._layers

    def start_phase(self, *, sparsity: bool) -> None:
        """A phase starts, with the sparsity objective in play or without."""

    def start_epoch(self, steps: int, rate: float) -> None:
        """An epoch of so many steps starts, its learning rate a share of the one at the start of the phase."""

    def forward(self, outputs: Sequence[Tensor], labels: Labels, weights: Sequence[Tensor] | None = None) -> Batch:
        """Objectives of a batch, and what is minimised; takes the batch into averages and multipliers.

        Args:
            outputs, labels: of the batch.
            weights: of the sparse layers, see :meth:`sparsity_objective`.
        """
        raise NotImplementedError

    def reduced(self) -> AbstractContextManager[None]:
        """Within it a network computes in the precision of the training; outputs are made fp32 for the losses."""
        return torch.autocast(self.k.device.type, torch.bfloat16, enabled=self._settings.precision == "bf16")

    def backward(self, model: MultiTaskNetwork, images: Inputs, labels: Labels) -> Tensor:
        """Add this batch's gradients to ``.grad``; returns the objectives, shape (m + 1,), without gradient."""
        with self.reduced():
            outputs = model(images)
        batch = self.forward(outputs, labels)
        batch.minimised.backward()
        return batch.objectives.detach()

    def end_iteration(self) -> None:
        """An iteration is done."""

    def sparsity_weight(self) -> float:
        """Weight of :math:`\\Omega` in what the method minimises."""
        return 0.0

    @abstractmethod
    def state(self, f: Tensor) -> MethodState:
        """How the method weighs the objectives, at the given mean objectives."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of the method's own parameters for the optimizer."""
        own = list(self.parameters())
        return [{"params": own}] if own else []

    def objectives(self, outputs: Sequence[Tensor], labels: Labels, weights: Sequence[Tensor] | None = None) -> Tensor:
        """:math:`f = (\\Omega, f_1, ..., f_m)`, shape (m + 1,); arguments as of :meth:`forward`."""
        return torch.stack([self.sparsity_objective(weights), *self.task_losses(outputs, labels)])

    def task_losses(self, outputs: Sequence[Tensor], labels: Labels) -> list[Tensor]:
        """:math:`f_1, ..., f_m`, scalars, for outputs and labels, (N, m) or a tensor per task."""
        self.counts = []
        return [
            self._loss(task, at_least_fp32(output), labels_of(labels, number, task.name))
            for number, (task, output) in enumerate(zip(tasks_for(self.tasks, outputs), outputs, strict=True))
        ]

    def _loss(self, task: Task, output: Tensor, targets: Tensor) -> Tensor:
        found, number = task_labels(task, output, targets, complete=self.complete), len(self.counts)
        self.counts.append(found.count)
        if not found.count:
            return self.last[number] + 0 * output.sum()
        loss = loss_of(task, self._settings.criterion)(found.outputs, found.targets)
        self.last[number] = loss.detach()
        return loss

    def sparsity_objective(self, weights: Sequence[Tensor] | None = None) -> Tensor:
        """:math:`f_0 = \\Omega`: GrOWL summed over the layers; out of play it has no gradient.

        Args:
            weights: of the sparse layers, rows along the second axis; None: as they are in the network.
        """
        weights = [layer.weight for layer in self._layers] if weights is None else weights
        with torch.set_grad_enabled(self._has_sparsity and torch.is_grad_enabled()):
            if not weights:
                return torch.zeros((), device=self.k.device)
            return growl_sum([to_rows(weight) for weight in weights], self._theta, self._leading)

    @property
    def _has_sparsity(self) -> bool:
        return False


def at_least_fp32(output: Tensor) -> Tensor:
    """An output of a network that computed in a reduced precision, ready for the losses; others stay as they are."""
    return output.float() if output.dtype == torch.bfloat16 else output
