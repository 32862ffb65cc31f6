"""Group OWL (GrOWL): the OWL norm of the norms of a matrix's rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from src.utils.objectives.owl import owl_prox, weights_in_place


def group_weights(theta: Tensor, size: int) -> Tensor:
    """GrOWL weights of groups of rows, :math:`\\sqrt{s}\\,\\theta_i`, as in the group lasso.

    The norm of s rows that are alike is :math:`\\sqrt{s}` times that of one, and so is the gradient of a loss in it:
    with its weights scaled alike, a group becomes zero where its rows would on average.

    Args:
        theta: non-increasing weights, one per group, shape (n,).
        size: rows per group, s >= 1.

    Source: Yuan and Lin, Model selection and estimation in regression with grouped variables (2006).
    """
    return theta * math.sqrt(size)


def growl_value(rows: Tensor, theta: Tensor, leading: int | None = None) -> Tensor:
    """GrOWL penalty :math:`\\Omega(W) = \\sum_i \\theta_i \\|w_{[i]}\\|_2`.

    :math:`w_{[i]}` is the row with the i-th LARGEST norm. The subgradient chosen at a zero row is zero.

    Args:
        rows: W, shape (n, d).
        theta: non-increasing weights, shape (n,).
        leading: how many of them differ from the last, see :func:`~src.utils.objectives.owl.weights_in_place`.

    Source: Oswal et al., Representational similarity learning (2016); Zhang et al., Learning to share (2018).
    """
    return growl_sum([rows], [theta], [leading])


def growl_sum(matrices: Sequence[Tensor], thetas: Sequence[Tensor], leading: Sequence[int | None]) -> Tensor:
    """Sum of :func:`growl_value` over matrices, a scalar that is differentiable once.

    Args:
        matrices: shapes (n_j, d_j), at least one.
        thetas, leading: of each, as there.
    """
    total: Tensor = _GrOWLSum.apply(tuple(leading), *thetas, *matrices)[0]
    return total


class _GrOWLSum(Function):
    """:func:`growl_sum`, with the gradient :math:`\\theta_{r(i)} w_i / \\|w_i\\|_2` of a row of rank r(i) in one pass.

    The chain rule through squares, sums and roots would go through all weights several times more.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(leading: tuple[int | None, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        """The value, and of each matrix what its rows are multiplied by in the gradient, shape (n,)."""
        thetas, matrices = tensors[: len(leading)], tensors[len(leading) :]
        values, factors = [], []
        for rows, theta, few in zip(matrices, thetas, leading, strict=True):
            norms = rows.square().sum(dim=1).sqrt()  # rows are columns in memory: vector_norm takes ten times as long
            weights = weights_in_place(norms, theta, few)
            values.append(weights.dot(norms))
            factors.append((weights / norms).masked_fill(norms == 0, 0))
        return torch.stack(values).sum(), *factors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep matrices and factors."""
        _, *factors = output
        ctx.mark_non_differentiable(*factors)
        ctx.save_for_backward(*inputs[1 + len(factors) :], *factors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_value: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the matrices."""
        half = len(ctx.saved_tensors) // 2
        matrices, factors = ctx.saved_tensors[:half], ctx.saved_tensors[half:]
        of_matrices = [rows * (of_value * part).unsqueeze(1) for rows, part in zip(matrices, factors, strict=True)]
        return (None,) * (1 + half) + tuple(of_matrices)


def growl_prox(rows: Tensor, theta: Tensor, step: float = 1.0) -> Tensor:
    """Proximal operator of ``step`` times :func:`growl_value`, exact.

    A row keeps its direction; the vector of row norms goes through :func:`~src.utils.objectives.owl.owl_prox`.
    Rows whose norm becomes zero are exactly zero.

    Args:
        rows: shape (n, d).
        theta: non-increasing weights, shape (n,).
        step: step size, at least 0.
    """
    # Rows relative to their largest entry: squares of 1e-25 and 1e25 would not be float32 numbers.
    largest = rows.abs().amax(dim=1, keepdim=True)  # (n, 1)
    norms = (torch.linalg.vector_norm(rows / torch.where(largest > 0, largest, 1), dim=1, keepdim=True) * largest)[:, 0]
    shrunk = owl_prox(norms, theta, step)
    factor = torch.where(norms > 0, shrunk / norms, 0)
    return torch.where(shrunk.unsqueeze(1) > 0, rows * factor.unsqueeze(1), 0)
