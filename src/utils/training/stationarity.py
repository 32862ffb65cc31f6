"""How far a trained network is from a stationary point of the Lagrangian."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from Data_loaders.batches import Inputs, Labels
from src.models.multi_task import MultiTaskNetwork
from src.utils.sparsity.rows import from_rows, to_rows, with_rows
from src.utils.sparsity.sharing import RowPattern
from src.utils.training.chebyshev_method import ChebyshevMethod


def relative_gradient(
    model: MultiTaskNetwork, method: ChebyshevMethod, images: Inputs, labels: Labels, lam: Sequence[float]
) -> float:
    """Norm of the Lagrangian's gradient, relative to the largest of its terms; 0 at a stationary point.

    .. math:: \\frac{\\|\\sum_i \\lambda_i \\nabla c_i\\|}{\\max_i \\|\\nabla c_i\\|}

    over the objectives in play with a preference. The gradients are taken in evaluation mode and within what the
    network may do: zero rows stay zero, and equal rows of a sparse layer equal. On all training data, or a fixed part
    of them, it is a property of the network; on a batch it is noise around it.

    Args:
        model: the trained network.
        method: in the phase the network comes from.
        images, labels: of the training data.
        lam: multipliers of the objectives, m + 1 numbers, that belong to the network.
    """
    was_training = model.training
    model.eval()
    c = method.terms(method.objectives(model(images), labels))
    gradients = torch.stack([_gradient(model, method, c[i]) for i in method.active])  # (n, P)
    model.train(was_training)
    weights = gradients.new_tensor(lam)[method.active]
    largest = gradients.norm(dim=1).max().clamp(min=torch.finfo(gradients.dtype).tiny)
    return float((weights @ gradients).norm() / largest)


def _gradient(model: MultiTaskNetwork, method: ChebyshevMethod, term: Tensor) -> Tensor:
    """Gradient of a term, shape (P,), projected onto the patterns of the sparse layers."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    sparse = {id(layer.parameter): layer.positions for layer in method.sparse_layers}
    return torch.cat(
        [
            (_projected(gradient, parameter, sparse[id(parameter)]) if id(parameter) in sparse else gradient).flatten()
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
    )


def _projected(gradient: Tensor, weight: Tensor, positions: int) -> Tensor:
    wanted = with_rows(weight.detach(), positions)
    pattern = RowPattern.of_equal(to_rows(wanted))
    return from_rows(pattern.project(to_rows(with_rows(gradient, positions))), wanted.shape).reshape(weight.shape)
