"""Augmented Lagrangian of "minimise t subject to c_i - t <= 0", its multipliers, and t in closed form."""

from __future__ import annotations

import torch
from torch import Tensor


def augmented_lagrangian(t: Tensor, g: Tensor, lam: Tensor, mu: float | Tensor) -> Tensor:
    """Augmented Lagrangian for inequality constraints.

    .. math:: L = t + \\frac{1}{2\\mu} \\sum_i \\bigl( \\max(0, \\lambda_i + \\mu g_i)^2 - \\lambda_i^2 \\bigr)

    Its gradient weighs constraint i by :func:`multipliers`: a constraint that is slack by more than
    :math:`\\lambda_i / \\mu` takes no part (the equality form would pull a slack objective *up* to t).

    Args:
        t: objective, a scalar.
        g: constraints :math:`g_i \\le 0`, shape (n,).
        lam: multipliers :math:`\\lambda_i \\ge 0`, shape (n,).
        mu: penalty coefficient :math:`\\mu > 0`.

    Source: Rockafellar (1973); Nocedal and Wright, Numerical Optimization, section 17.3.
    """
    return t + (multipliers(g, lam, mu).square() - lam.square()).sum() / (2 * mu)


def multipliers(g: Tensor, lam: Tensor, mu: float | Tensor) -> Tensor:
    """First-order multiplier update :math:`\\lambda_i \\leftarrow \\max(0, \\lambda_i + \\mu g_i)`, shape (n,)."""
    return (lam + mu * g).clamp(min=0)


def simplex_threshold(v: Tensor) -> Tensor:
    """The number :math:`\\tau` with :math:`\\sum_i \\max(0, v_i - \\tau) = 1`, a scalar.

    Sorting v downwards, :math:`\\tau = \\max_r \\bigl(\\sum_{i \\le r} v_{[i]} - 1\\bigr) / r`: every r gives a lower
    bound on the threshold and the true support attains it. No branches, so nothing leaves the device.

    Source: Held, Wolfe, Crowder (1974); Condat, Fast projection onto the simplex (2016).
    """
    descending = v.sort(descending=True).values
    rank = torch.arange(1, v.numel() + 1, device=v.device, dtype=v.dtype)
    return ((descending.cumsum(0) - 1) / rank).max()


def project_simplex(v: Tensor) -> Tensor:
    """Euclidean projection of v, shape (n,), onto :math:`\\{x \\ge 0, \\sum_i x_i = 1\\}`."""
    v = v - v.max()  # adding a number to all v_i changes nothing; without a common part no digits of it are lost
    return (v - simplex_threshold(v)).clamp(min=0)


def optimal_weights(c: Tensor, lam: Tensor, mu: float | Tensor) -> Tensor:
    """Weights of the objectives with the t that minimises the augmented Lagrangian, shape (n,).

    The derivative in t vanishes where :math:`\\sum_i \\max(0, \\lambda_i + \\mu (c_i - t)) = 1`: the weights are the
    projection of :math:`\\lambda + \\mu c` onto the simplex, without a step size for t and without drift. Computed on
    the terms relative to the largest one, so that their size costs no digits.

    Args:
        c: Chebyshev terms, shape (n,).
        lam: multipliers, shape (n,).
        mu: penalty coefficient.
    """
    return project_simplex(lam + mu * (c - c.max()))


def optimal_t(c: Tensor, lam: Tensor, mu: float | Tensor) -> Tensor:
    """The t of :func:`optimal_weights`, a scalar: with it :func:`multipliers` of :math:`c - t` are these weights.

    :math:`\\mu t` is the threshold of the projection of :math:`\\lambda + \\mu c` onto the simplex.

    Args:
        c: Chebyshev terms, shape (n,).
        lam: multipliers, shape (n,).
        mu: penalty coefficient.
    """
    return c.max() + simplex_threshold(lam + mu * (c - c.max())) / mu
