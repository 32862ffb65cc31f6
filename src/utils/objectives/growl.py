"""Group OWL (GrOWL): the OWL norm of the norms of a matrix's rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from src.utils.objectives.owl import owl_prox, owl_value


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
        leading: how many of them differ from the last, see :func:`~src.utils.objectives.owl.owl_value`.

    Source: Oswal et al., Representational similarity learning (2016); Zhang et al., Learning to share (2018).
    """
    return owl_value(_row_norms(rows), theta, leading)


def _row_norms(rows: Tensor) -> Tensor:
    """Norms of the rows, shape (n,), whose subgradient is zero at a zero row.

    Rows are the columns of a weight in memory: along these the norm function of PyTorch takes ten times as long.
    """
    squares = rows.square().sum(dim=1)
    zero = squares == 0
    return squares.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)


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
