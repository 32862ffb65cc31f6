"""Modified weighted Chebyshev scalarization."""

from __future__ import annotations

from torch import Tensor


def chebyshev_terms(f: Tensor, k: Tensor, a: Tensor, epsilon: float) -> Tensor:
    """Weighted distances of the objectives to the reference point.

    .. math:: c_i = k_i \\Bigl[ (f_i - a_i) + \\epsilon \\sum_j (f_j - a_j) \\Bigr]

    Their maximum over :math:`i` is the modified weighted Chebyshev norm. For :math:`\\epsilon > 0` every minimiser
    of it is properly Pareto-optimal; a properly Pareto-optimal point minimises it for some ``k`` and every small enough
    :math:`\\epsilon` (one whose trade-offs are bounded by about :math:`1 / \\epsilon`).

    Args:
        f: objectives :math:`f_i`, shape (n,).
        k: preferences :math:`k_i \\ge 0`, shape (n,).
        a: reference point :math:`a_i`, shape (n,), at most the least value of each objective.
        epsilon: augmentation coefficient :math:`\\epsilon \\ge 0`.

    Returns:
        c, shape (n,); differentiable in ``f``.

    Source: Hotegni, Berkemeier, Peitz, Multi-Objective Optimization for Sparse Deep Multi-Task Learning;
    Kaliszewski, A modified weighted Tchebycheff metric for multiple objective programming (1987).
    """
    distance = f - a
    return k * (distance + epsilon * distance.sum())


def chebyshev_value(f: Tensor, k: Tensor, a: Tensor, epsilon: float) -> Tensor:
    """The scalarized objective :math:`\\max_i c_i` (see :func:`chebyshev_terms`), a scalar."""
    return chebyshev_terms(f, k, a, epsilon).max()
