"""Minimum-norm point of the convex hull of gradients, and the common descent direction it gives (MGDA).

Everything here stays on the device of its arguments: no value is read by the host, so the branches of the active-set
method are masks and its number of rounds is fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

NORMALISATIONS = ("none", "l2", "loss", "loss+")

ROUNDS_PER_GRADIENT = 4
"""Rounds of the active-set method for each gradient; a round adds or drops one. Measured need: 0.6, at most 2."""


def gram_matrix(gradients: Tensor) -> Tensor:
    """Inner products :math:`K_{ij} = g_i \\cdot g_j`, shape (m, m).

    Args:
        gradients: one gradient :math:`g_i` a row, shape (m, P).

    Raises:
        ValueError: for any other number of dimensions, or no gradient.
    """
    if gradients.ndim != 2 or gradients.shape[0] == 0:
        raise ValueError(f"gradients has shape {tuple(gradients.shape)}; allowed: (m, P) with m >= 1")
    return gradients @ gradients.T


def min_norm_weights(gram: Tensor) -> Tensor:
    """Weights of the point of least norm in the convex hull of the gradients, shape (m,), in the dtype of gram.

    .. math:: \\alpha = \\arg\\min \\Bigl\\{ \\Bigl\\| \\sum_i \\alpha_i g_i \\Bigr\\|^2 = \\alpha^T K \\alpha :
              \\alpha \\ge 0, \\sum_i \\alpha_i = 1 \\Bigr\\}

    The optimum is the :math:`\\alpha` with :math:`(K \\alpha)_i \\ge \\alpha^T K \\alpha` for every i, so
    :math:`-\\sum_i \\alpha_i g_i` lets no objective increase to first order. Two gradients have a closed form, more
    are solved by Wolfe's finite active-set method in float64. Where several weights are optimal the result is one of
    them, always the same: (1/2, 1/2) for two equal gradients, equal shares for zero gradients. A violation of the
    optimality conditions below the rounding error of K in its dtype counts as none. A K with a value that is not
    finite gives NaN.

    Args:
        gram: Gram matrix K of the gradients, see :func:`gram_matrix`, shape (m, m).

    Raises:
        ValueError: for a matrix that is not square, or is empty.

    Source: Désidéri, Multiple-gradient descent algorithm (2012); Wolfe, Finding the nearest point in a polytope
    (1976); Sener and Koltun, Multi-task learning as multi-objective optimization (2018), section 3.2.
    """
    _check_gram(gram)
    return _weights(gram.detach().double(), torch.finfo(gram.dtype).eps).to(gram.dtype)


def normalisation_factors(losses: Tensor, gram: Tensor, kind: str) -> Tensor:
    """The numbers :math:`c_i > 0` that gradient i is divided by, shape (m,), in the dtype of gram.

    =====  ===========================
    none   :math:`1`
    l2     :math:`\\|g_i\\|`
    loss   :math:`|f_i|`
    loss+  :math:`|f_i| \\, \\|g_i\\|`
    =====  ===========================

    The magnitude of the loss, as a negative factor would turn its gradient round. A loss next to zero counts as
    float64's precision times the largest: beyond that the minimum-norm point would have no digits left. No factor is
    less than the smallest normal float32: a zero gradient stays zero.

    Args:
        losses: objectives :math:`f_i`, shape (m,).
        gram: Gram matrix of their gradients, :math:`K_{ii} = \\|g_i\\|^2`, shape (m, m).
        kind: a row of the table.

    Raises:
        ValueError: for an unknown kind, or shapes that do not fit.

    Source: Sener and Koltun (2018), the four ``gradient_normalizers`` of their published code.
    """
    if kind not in NORMALISATIONS:
        raise ValueError(f"kind is {kind!r}; allowed: {', '.join(NORMALISATIONS)}")
    _check_gram(gram)
    if losses.shape != gram.shape[:1]:
        raise ValueError(f"losses has shape {tuple(losses.shape)}; allowed: ({gram.shape[0]},), one a row of gram")
    norms = gram.detach().diagonal().clamp(min=0).sqrt()
    factors = torch.ones_like(norms)
    if kind in ("loss", "loss+"):
        sizes = losses.detach().abs().to(gram.dtype)
        factors = sizes.clamp(min=torch.finfo(torch.float64).eps * sizes.max())
    if kind in ("l2", "loss+"):
        factors = factors * norms
    return factors.clamp(min=torch.finfo(torch.float32).tiny)


def common_descent_weights(losses: Tensor, gram: Tensor, kind: str) -> Tensor:
    """Weights :math:`w_i \\ge 0` of sum 1 with which no loss increases to first order, shape (m,).

    .. math:: w_i \\propto \\alpha_i / c_i, \\qquad
              \\alpha = \\arg\\min_{\\alpha} \\Bigl\\| \\sum_i \\alpha_i \\frac{g_i}{c_i} \\Bigr\\|

    over the simplex: :math:`\\sum_i w_i g_i` is a positive multiple of the minimum-norm point of the *normalised*
    gradients, and :math:`g_j \\cdot \\sum_i w_i g_i \\ge 0` for every j as :math:`c_j > 0`.

    Args:
        losses: objectives :math:`f_i`, shape (m,).
        gram: Gram matrix of their gradients as they are, shape (m, m).
        kind: which factors :math:`c_i`, see :func:`normalisation_factors`.

    Raises:
        ValueError: as in :func:`normalisation_factors`.
    """
    factors = normalisation_factors(losses, gram, kind).double()
    normalised = gram.detach().double() / factors.unsqueeze(1) / factors
    weights = _weights(normalised, torch.finfo(gram.dtype).eps) / factors
    return (weights / weights.sum()).to(gram.dtype)


def _check_gram(gram: Tensor) -> None:
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or gram.shape[0] == 0:
        raise ValueError(f"gram has shape {tuple(gram.shape)}; allowed: (m, m) with m >= 1")


def _weights(gram: Tensor, eps: float) -> Tensor:
    """:func:`min_norm_weights` of a float64 matrix whose entries have relative rounding errors of size eps."""
    largest = gram.diagonal().max()
    gram = gram / torch.where(largest == 0, 1.0, largest)
    if gram.shape[0] == 1:
        weights = torch.ones_like(gram[0])
    elif gram.shape[0] == 2:
        weights = _two(gram, eps)
    else:
        weights = _any_number(gram, eps)
    return weights + 0 * gram.sum()  # NaN if gram has one: the masks of the solvers would hide it


def _two(gram: Tensor, eps: float) -> Tensor:
    """Weights :math:`\\alpha_1 \\propto \\max(0, K_{22} - K_{12})` and the same with 1 and 2 exchanged.

    Their sum is :math:`\\|g_1 - g_2\\|^2` between the two, so it is 0, and either weight as good, for equal gradients.
    """
    shares = (gram.diagonal().flip(0) - gram[0, 1]).clamp(min=0)
    total = shares.sum()
    equal = total <= eps * gram.diagonal().sum()
    return torch.where(equal, 0.5, shares / torch.where(equal, 1.0, total))


def _any_number(gram: Tensor, eps: float) -> Tensor:
    """Zero gradients share the weight if there are any; the others are solved for, whatever their norms."""
    zero = gram.diagonal() <= 0
    norms = torch.where(zero, 1.0, gram.diagonal()).sqrt()
    weights = _active_set(gram / norms.unsqueeze(1) / norms, norms, 4 * gram.shape[0] * eps)
    shares = zero.to(gram.dtype)
    return torch.where(zero.any(), shares / shares.sum().clamp(min=1), weights)


def _active_set(cosines: Tensor, norms: Tensor, tolerance: float) -> Tensor:
    """Wolfe's method: from one point of least norm in the affine hull of some gradients to the next.

    A round moves towards that point. If a weight would turn negative, it stops there and drops the gradient;
    otherwise it takes in the gradient that violates the optimality condition most. At the optimum a round changes
    nothing. The start is the shortest gradient and the norm never increases, so that a gradient j that is taken in
    is at squared distance :math:`K_{jj} - v + 2 (v - (K \\alpha)_j) > 0`, with :math:`v = \\alpha^T K \\alpha`, from
    the affine hull of those already in: the linear systems are regular, for dependent gradients too.

    Args:
        cosines: :math:`K_{ij} / (n_i n_j)`, shape (m, m): norms apart by many orders of magnitude do no harm.
        norms: :math:`n_i > 0`, shape (m,).
        tolerance: relative rounding error of a row of K times weights.
    """
    index = torch.arange(norms.numel(), device=norms.device)
    support = index == norms.argmin()
    alpha = support.to(norms.dtype)
    for _ in range(ROUNDS_PER_GRADIENT * norms.numel()):
        target = _affine_minimum(cosines, norms, support)
        blocked = support & (target <= 0)
        ratio = torch.where(blocked, alpha / (alpha - target).clamp(min=torch.finfo(alpha.dtype).tiny), 1.0)
        step = ratio.min()
        support = support & ~(blocked & (ratio <= step))
        alpha = torch.where(support, (1 - step) * alpha + step * target, 0.0)
        violation = torch.where(support, 0.0, _violations(cosines, norms, alpha, tolerance))
        support = support | ((index == violation.argmax()) & (violation > 0) & ~blocked.any())
    return alpha / alpha.sum()


def _affine_minimum(cosines: Tensor, norms: Tensor, support: Tensor) -> Tensor:
    """Weights of sum 1, of either sign and 0 outside the support, that minimise the norm of the sum.

    With :math:`\\beta_i = \\alpha_i n_i` and C the cosines they solve :math:`C \\beta = \\nu / n` and
    :math:`\\sum_i \\beta_i / n_i = 1` on the support; rows outside it are those of the identity.
    """
    both = support.unsqueeze(1) & support
    inverse = torch.where(support, 1 / norms, 0.0)
    inverse = inverse / inverse.max()
    inner = torch.where(both, cosines, torch.eye(norms.numel(), device=norms.device, dtype=norms.dtype))
    last = torch.cat([inverse, torch.zeros_like(inverse[:1])])
    system = torch.cat([torch.cat([inner, inverse.unsqueeze(1)], dim=1), last.unsqueeze(0)])
    right = torch.cat([torch.zeros_like(inverse), torch.ones_like(inverse[:1])])
    solution: Tensor = torch.linalg.solve_ex(system, right)[0]
    return solution[:-1] * inverse


def _violations(cosines: Tensor, norms: Tensor, alpha: Tensor, tolerance: float) -> Tensor:
    """By how much :math:`(K \\alpha)_i \\ge \\alpha^T K \\alpha` fails, over :math:`n_i`; 0 within rounding errors."""
    beta = alpha * norms
    slope = cosines @ beta
    size = beta.sum()
    gap = beta @ slope - norms * slope
    return torch.where(gap > tolerance * size * (size + norms), gap / norms, 0.0)
