"""Rows of a layer: all weights that leave one neuron or channel of the previous layer, or a group of neurons."""

from __future__ import annotations

import torch
from torch import Tensor


def with_rows(weight: Tensor, positions: int = 1) -> Tensor:
    """A view of a weight with its rows along the second axis, each of so many inputs in a row.

    Args:
        weight: (out, in) of a linear layer; (out, in, kh, kw) of a convolution, whose rows are single inputs.
        positions: inputs that make one row together; ``in`` is a multiple of it.

    Returns:
        The weight itself for single inputs, else shape (out, in / positions, positions).
    """
    return weight if positions == 1 else weight.unflatten(1, (-1, positions))


def to_rows(weight: Tensor) -> Tensor:
    """Weights as rows, one per input or group of inputs.

    Args:
        weight: (out, in) of a linear layer, (out, in, kh, kw) of a convolution, or what :func:`with_rows` makes of one.

    Returns:
        Shape (in, out * kh * kw); for a linear layer a view, so that the rows share its memory.
    """
    return weight.transpose(0, 1).flatten(1)  # (out, in, ...) -> (in, out, ...) -> (in, out * ...)


def from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """Inverse of :func:`to_rows` for a weight of the given shape."""
    out, inputs, *kernel = shape
    return rows.reshape(inputs, out, *kernel).transpose(0, 1)


def zero_rows(rows: Tensor) -> Tensor:
    """Which rows are zero in every entry, shape (n,), boolean."""
    return ~(rows != 0).any(dim=1)


def row_labels(rows: Tensor) -> Tensor:
    """Numbers 0, 1, ... of the different nonzero rows in the order of their first turn, -1 for zero rows; shape (n,).

    Rows with the same number are equal in every entry.
    """
    labels = torch.full((len(rows),), -1, dtype=torch.long, device=rows.device)
    nonzero = (~zero_rows(rows)).nonzero().flatten()
    if len(nonzero):
        _, inverse = torch.unique(rows[nonzero], dim=0, return_inverse=True)
        first = torch.full((int(inverse.max()) + 1,), len(nonzero), device=rows.device)
        first.scatter_reduce_(0, inverse, torch.arange(len(nonzero), device=rows.device), "amin")
        labels[nonzero] = first.argsort().argsort()[inverse]
    return labels


def cap_zero_rows(before: Tensor, after: Tensor, max_rate: float) -> Tensor:
    """Give rows back so that at most the share ``max_rate`` of all rows is zero.

    Of the rows that ``after`` zeroes, the ones with the largest norm in ``before`` return with their
    values in ``before``; equal norms return in the order of their index. Rows that were zero before stay zero, also
    where there are more of them than the cap allows.

    Args:
        before, after: rows before and after a proximal step, shape (n, d).
        max_rate: cap in [0, 1].
    """
    n = len(before)
    zeroed = zero_rows(after)
    surplus = zeroed.sum() - int(max_rate * n + 1e-9)
    norms = torch.linalg.vector_norm(before, dim=1).masked_fill(~zeroed, -1.0)
    rank = torch.empty(n, dtype=torch.long, device=before.device)
    rank[norms.sort(descending=True, stable=True).indices] = torch.arange(n, device=before.device)
    return torch.where((zeroed & (rank < surplus)).unsqueeze(1), before, after)
