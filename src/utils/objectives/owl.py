"""Ordered weighted l1 (OWL) norm: its weights, value and proximal operator."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

WEIGHT_TYPES = ("spike", "linear", "Dejiao")
FEW = 0.1
"""The share of numbers up to which the largest are found sooner than all are sorted."""


def owl_weights(n: int, weight_type: str, beta1: float, beta2: float, *, device: torch.device | None = None) -> Tensor:
    """Non-increasing weights :math:`\\theta_1 \\ge \\dots \\ge \\theta_n \\ge 0`.

    ========  ==========================================================================
    spike     :math:`\\theta_1 = \\beta_1 + \\beta_2`, all others :math:`\\beta_2`
    linear    :math:`\\theta_i = \\beta_1 + \\beta_2 (n - i) / n` (OSCAR)
    Dejiao    :math:`\\theta_i = \\beta_1 + \\beta_2 (p - i + 1)` for :math:`i \\le p = n // 2`, then :math:`\\beta_2`
    ========  ==========================================================================

    Args:
        n: number of weights.
        weight_type: a row of the table.
        beta1, beta2: non-negative coefficients.
        device: where the result, shape (n,) and the default floating type, lives.

    Raises:
        ValueError: for an unknown type, or coefficients that would not give a non-increasing, non-negative sequence.
    """
    if weight_type not in WEIGHT_TYPES:
        raise ValueError(f"weight_type is {weight_type!r}; allowed: {', '.join(WEIGHT_TYPES)}")
    if not (beta1 >= 0 and beta2 >= 0):
        raise ValueError(f"beta1 and beta2 are {beta1} and {beta2}; allowed: numbers >= 0")
    i = torch.arange(1, n + 1, device=device, dtype=torch.get_default_dtype())
    if weight_type == "spike":
        return beta2 + beta1 * (i == 1)
    if weight_type == "linear":
        return beta1 + beta2 * (n - i) / n
    p = n // 2
    return torch.where(i <= p, beta1 + beta2 * (p - i + 1), torch.full_like(i, beta2))


def leading_weights(theta: Tensor) -> int:
    """How many weights differ from the last one: 1 of those called spike."""
    return int((theta != theta[-1:]).sum())


def owl_value(x: Tensor, theta: Tensor, leading: int | None = None) -> Tensor:
    """OWL norm :math:`\\sum_i \\theta_i |x|_{[i]}`, with :math:`|x|_{[i]}` the i-th LARGEST magnitude.

    Args:
        x: shape (n,).
        theta: non-increasing weights, shape (n,).
        leading: see :func:`weights_in_place`.
    """
    magnitudes = x.abs()
    return (weights_in_place(magnitudes.detach(), theta, leading) * magnitudes).sum()


def weights_in_place(magnitudes: Tensor, theta: Tensor, leading: int | None = None) -> Tensor:
    """The weight of each number: :math:`\\theta_r` of the r-th largest, shape (n,).

    Where only the first p weights differ from the last, the rest of the order does not count.

    Args:
        magnitudes: shape (n,), at least 0.
        theta: non-increasing weights, shape (n,).
        leading: p, as :func:`leading_weights` says; None: not known.
    """
    if leading is None or leading > FEW * len(magnitudes):
        return torch.empty_like(theta).scatter(0, magnitudes.sort(descending=True).indices, theta)
    largest = magnitudes.topk(leading).indices
    return theta[-1:].expand_as(magnitudes).scatter(0, largest, theta[:leading])


def owl_prox(x: Tensor, theta: Tensor, step: float = 1.0) -> Tensor:
    """Proximal operator of the OWL norm, exact.

    .. math:: \\operatorname{prox}(x) = \\arg\\min_v \\tfrac12 \\|v - x\\|^2 + s \\sum_i \\theta_i |v|_{[i]}

    With magnitudes sorted downwards, v is the non-increasing isotonic regression of
    :math:`|x|_{[i]} - s\\,\\theta_i`, cut off at zero, put back in place with the signs of x.

    Args:
        x: shape (n,), on any device; the regression runs on the CPU in float64 (once an epoch, n numbers).
        theta: non-increasing weights, shape (n,).
        step: step size :math:`s \\ge 0`.

    Source: Zeng and Figueiredo, The ordered weighted l1 norm (2014), with isotonic regression by pooling
    adjacent violators (``scipy.optimize.isotonic_regression``).
    """
    magnitudes = x.detach().abs().double().cpu().numpy()
    order = np.argsort(-magnitudes, kind="stable")
    shifted = magnitudes[order] - step * theta.detach().double().cpu().numpy()
    prox = np.empty_like(magnitudes)
    prox[order] = np.maximum(isotonic_regression(shifted, increasing=False).x, 0)
    return torch.from_numpy(prox).to(device=x.device, dtype=x.dtype) * x.sign()
