"""How far a trained network is from a stationary point of the Lagrangian."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from Data_loaders.batches import Batch, Inputs, Labels
from src.models.multi_task import MultiTaskNetwork
from src.utils.sparsity.rows import from_rows, to_rows, with_rows
from src.utils.sparsity.sharing import RowPattern
from src.utils.training.chebyshev_method import ChebyshevMethod


def relative_gradient(
    model: MultiTaskNetwork, method: ChebyshevMethod, batches: Iterable[Batch], lam: Sequence[float]
) -> float:
    """Norm of the Lagrangian's gradient, relative to the largest of its terms; 0 at a stationary point.

    .. math:: \\frac{\\|\\sum_i \\lambda_i \\nabla c_i\\|}{\\max_i \\|\\nabla c_i\\|},
        \\qquad \\nabla c_i = \\sum_j \\frac{\\partial c_i}{\\partial f_j} \\nabla f_j

    over the objectives in play with a preference. The gradients are taken in evaluation mode and within what the
    network may do: zero rows stay zero, and equal rows of a sparse layer equal. On all training data, or a fixed part
    of them, it is a property of the network; on a single batch it is noise around it. The objectives f are means, and
    so are their gradients, which are summed up batch by batch: no more than a batch has to be in memory.

    Args:
        model: the trained network.
        method: in the phase the network comes from.
        batches: of the training data; the loss of a task is its mean over the labels there are.
        lam: multipliers of the objectives, m + 1 numbers, that belong to the network.
    """
    was_training = model.training
    model.eval()
    means = _mean_objectives(model, method, batches)
    model.train(was_training)
    change = torch.autograd.functional.jacobian(method.terms, means[:, 0])[method.active]  # of c by f, (n, m + 1)
    terms = change @ _projected(means[:, 1:], model, method)  # (n, P)
    weights = terms.new_tensor(lam)[method.active]
    largest = terms.norm(dim=1).max().clamp(min=torch.finfo(terms.dtype).tiny)
    return float((weights @ terms).norm() / largest)


def _mean_objectives(model: MultiTaskNetwork, method: ChebyshevMethod, batches: Iterable[Batch]) -> Tensor:
    """Objectives over all batches, and their gradients in all parameters, shape (m + 1, 1 + P)."""
    means = method.k.new_zeros(len(method.k), 1 + sum(parameter.numel() for parameter in model.parameters()))
    total = torch.zeros_like(method.k)
    for images, labels in batches:
        found = _objectives(model, method, images, labels)
        count = found.new_tensor([1, *method.counts])  # Omega is the same in every batch
        total += count
        means += (count / total.clamp(min=1)).unsqueeze(1) * (found - means)
    return means


def _objectives(model: MultiTaskNetwork, method: ChebyshevMethod, images: Inputs, labels: Labels) -> Tensor:
    """Objectives of a batch, and their gradients, shape (m + 1, 1 + P); what the backward pass needs ends with this."""
    parameters = list(model.parameters())
    # One by one: the gradient of an entry of the stacked objectives would go back through all of the network.
    objectives = [method.sparsity_objective(), *method.task_losses(model(images), labels)]
    return torch.stack(
        [torch.cat([objective.detach().view(1), _gradient(objective, parameters)]) for objective in objectives]
    )


def _gradient(objective: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Gradient in all parameters, shape (P,); that of an objective out of play is 0."""
    if not objective.requires_grad:
        return objective.new_zeros(sum(parameter.numel() for parameter in parameters))
    gradient = torch.autograd.grad(objective, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in gradient])


def _projected(gradients: Tensor, model: MultiTaskNetwork, method: ChebyshevMethod) -> Tensor:
    """Gradients, shape (n, P), projected onto the patterns of the sparse layers."""
    parameters = list(model.parameters())
    sparse = {id(layer.parameter): layer.positions for layer in method.sparse_layers}
    parts = gradients.split([parameter.numel() for parameter in parameters], dim=1)
    return torch.cat(
        [
            _within(part, parameter, sparse[id(parameter)]) if id(parameter) in sparse else part
            for part, parameter in zip(parts, parameters, strict=True)
        ],
        dim=1,
    )


def _within(gradients: Tensor, weight: Tensor, positions: int) -> Tensor:
    """Gradients in a sparse weight, shape (n, its size), with zero rows at zero and equal rows equal."""
    wanted = with_rows(weight.detach(), positions)
    pattern = RowPattern.of_equal(to_rows(wanted))
    return torch.stack(
        [
            from_rows(pattern.project(to_rows(with_rows(one.view_as(weight), positions))), wanted.shape).reshape(-1)
            for one in gradients
        ]
    )
