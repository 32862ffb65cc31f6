"""Multiple Gradient Descent Algorithm: a step that increases no task's loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from Data_loaders.batches import Inputs, Labels
from src.models.multi_task import MultiTaskNetwork, TrunkNetwork
from src.utils.errors import UserError
from src.utils.objectives.min_norm import common_descent_weights, gram_matrix
from src.utils.training.method import Method, MethodState


class MGDA(Method):
    """Weighs the task losses anew in every step, by the min-norm element of their gradients.

    .. math::
        \\min_{\\alpha \\ge 0, \\sum_i \\alpha_i = 1} \\Bigl\\| \\sum_i \\alpha_i g_i / c_i \\Bigr\\|^2, \\qquad
        w_i \\propto \\alpha_i / c_i, \\quad \\sum_i w_i = 1

    with :math:`g_i` the gradient of :math:`f_i` at the shared parameters, or for ``mgda_ub`` at the shared
    representation of the batch (an upper bound, and one pass through the trunk instead of m), and the normalisation
    :math:`c_i` of ``gradient_normalisation``. The shared part moves along :math:`-\\sum_i w_i g_i`, which to first
    order increases no :math:`f_i`; the parts of single tasks follow the gradient of their own loss. The preference
    vector does not count.

    The gradients are taken one task after the other: beside what the sum's backward pass needs, m + 1 gradients at the
    shared parameters are in memory. That is less than half as much again where activations outweigh parameters.

    The arguments are those of :class:`~src.utils.training.method.Method`.

    Source: Sener and Koltun, Multi-task learning as multi-objective optimization (2018), algorithm 2;
    Desideri, Multiple-gradient descent algorithm (2012).
    """

    weight_sum: Tensor
    norm_sum: Tensor
    steps: Tensor

    def _set_up(self, model: MultiTaskNetwork, teachers: Sequence[nn.Module]) -> None:
        parameters = self._settings
        if parameters.mgda_ub and not isinstance(model, TrunkNetwork):
            raise UserError(f"mgda_ub is True; allowed for {type(model).__name__}: False, it has no single trunk")
        self._kind = parameters.gradient_normalisation
        self._upper_bound = parameters.mgda_ub
        self._shared = [parameter for parameter in model.shared_part.parameters() if parameter.requires_grad]
        shared = {id(parameter) for parameter in self._shared}
        self._own = [p for p in model.parameters() if p.requires_grad and id(p) not in shared]
        self.register_buffer("weight_sum", torch.zeros_like(self.k[1:]))
        self.register_buffer("norm_sum", torch.zeros_like(self.k[0]))
        self.register_buffer("steps", torch.zeros_like(self.k[0]))

    def start_epoch(self, steps: int, rate: float) -> None:
        """Start the means of the epoch anew."""
        for total in (self.weight_sum, self.norm_sum, self.steps):
            total.zero_()

    def backward(self, model: MultiTaskNetwork, images: Inputs, labels: Labels) -> Tensor:
        """Gradients of one batch; returns the objectives, shape (m + 1,)."""
        if self._upper_bound:
            assert isinstance(model, TrunkNetwork)
            with self.reduced():
                shared = model.trunk(images)  # (N, features)
                at = shared.detach().requires_grad_()
                outputs = model.predict(images, at)
            losses = self.task_losses(outputs, labels)
            shared.backward(self._combine(losses, [at])[0])
        else:
            with self.reduced():
                outputs = model(images)
            losses = self.task_losses(outputs, labels)
            for parameter, gradient in zip(self._shared, self._combine(losses, self._shared), strict=True):
                _add_gradient(parameter, gradient)
        with torch.no_grad():
            return torch.stack([self.sparsity_objective(), *losses])

    def state(self, f: Tensor) -> MethodState:
        """Mean weights of the epoch, and the mean norm of the common direction: 0 at a Pareto-stationary point."""
        steps = self.steps.clamp(min=1)
        lam = torch.cat([self.k.new_zeros(1), self.weight_sum / steps])
        return MethodState((lam * f).tolist(), lam.tolist(), {"direction_norm": float(self.norm_sum / steps)})

    def _combine(self, losses: Sequence[Tensor], shared: Sequence[Tensor]) -> list[Tensor]:
        """:math:`\\sum_i w_i g_i` at the shared tensors; gradients of the tasks' own parts go to ``.grad``."""
        sizes = [tensor.numel() for tensor in shared]
        gradients = shared[0].new_zeros(len(losses), sum(sizes))  # (m, P)
        for task, loss in enumerate(losses):
            self._write_gradient(gradients[task].split(sizes), loss, shared, retain=task + 1 < len(losses))
        gram = gram_matrix(gradients)  # (m, m)
        weights = common_descent_weights(torch.stack(list(losses)).detach(), gram, self._kind)
        direction = weights @ gradients  # (P,)
        self.weight_sum += weights
        self.norm_sum += torch.linalg.vector_norm(direction)
        self.steps += 1
        parts = direction.split(sizes)
        return [part.view_as(tensor) for part, tensor in zip(parts, shared, strict=True)]

    def _write_gradient(self, parts: Sequence[Tensor], loss: Tensor, shared: Sequence[Tensor], *, retain: bool) -> None:
        """Gradient of one loss at the shared tensors, into zeros, one flat tensor each."""
        found = torch.autograd.grad(loss, [*shared, *self._own], retain_graph=retain, allow_unused=True)
        for parameter, gradient in zip(self._own, found[len(shared) :], strict=True):
            if gradient is not None:
                _add_gradient(parameter, gradient)
        for part, gradient in zip(parts, found, strict=False):
            if gradient is not None:
                part.copy_(gradient.reshape(-1))


def _add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """Add to ``.grad``, which gets the memory layout of the parameter, as fused optimizers need it."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    parameter.grad += gradient
