"""How well a point solves "minimise t subject to c_i - t <= 0": residuals of the KKT conditions, Chebyshev gap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KKTResiduals:
    """Violations of the KKT conditions, see :func:`kkt_residuals`; scalar tensors, 0 at a KKT point.

    Attributes:
        multiplier_sum: stationarity in t.
        complementarity: complementary slackness.
        feasibility: the largest violation of a constraint.
        stationarity: stationarity in the other variables, None where it was not measured.
    """

    multiplier_sum: Tensor
    complementarity: Tensor
    feasibility: Tensor
    stationarity: Tensor | None


def kkt_residuals(c: Tensor, t: Tensor, lam: Tensor, gradient: Tensor | None = None) -> KKTResiduals:
    """Residuals of the KKT conditions of "minimise t over (x, t) subject to :math:`g_i = c_i(x) - t \\le 0`".

    The Lagrangian :math:`t + \\sum_i \\lambda_i (c_i - t)` gives

    .. math::
        r_\\text{sum} = \\Bigl|1 - \\sum_i \\lambda_i\\Bigr|, \\quad
        r_\\text{comp} = \\max_i |\\lambda_i g_i|, \\quad
        r_\\text{feas} = \\max\\bigl(0, \\max_i g_i\\bigr), \\quad
        r_\\text{stat} = \\Bigl\\| \\sum_i \\lambda_i \\nabla c_i \\Bigr\\|_2

    (:math:`\\lambda \\ge 0` holds by construction of the multipliers). They are absolute: compare the two in the
    middle to the size of t.

    Args:
        c: Chebyshev terms of the objectives with positive preference, shape (n,).
        t: level, a scalar.
        lam: multipliers :math:`\\lambda_i \\ge 0`, shape (n,).
        gradient: :math:`\\sum_i \\lambda_i \\nabla_x c_i`, any shape; where x has bounds, the projected gradient
            :math:`x - P(x - \\sum_i \\lambda_i \\nabla_x c_i)`. None leaves stationarity unmeasured.

    Source: Nocedal and Wright, Numerical Optimization, theorem 12.1.
    """
    g = c - t
    return KKTResiduals(
        multiplier_sum=(1 - lam.sum()).abs(),
        complementarity=(lam * g).abs().max(),
        feasibility=g.max().clamp(min=0),
        stationarity=None if gradient is None else torch.linalg.vector_norm(gradient),
    )


def chebyshev_gap(c: Tensor, lam: Tensor, tolerance: float = 1e-3) -> Tensor:
    """How far the active Chebyshev terms are from equal, between 0 (equal) and 1; a scalar.

    .. math:: \\frac{\\max_i c_i - \\min_{i: \\lambda_i > \\text{tolerance}} c_i}{\\max_i c_i}

    At a KKT point every term with a positive multiplier equals the largest one. Without an active term, or where
    no term is positive, the gap is 0.

    Args:
        c: Chebyshev terms :math:`c_i \\ge 0` of the objectives with positive preference, shape (n,).
        lam: multipliers, shape (n,).
        tolerance: a multiplier up to this counts as 0.
    """
    largest = c.max()
    least = torch.where(lam > tolerance, c, largest).min()
    gap = (largest - least) / largest.clamp(min=torch.finfo(c.dtype).tiny)
    return torch.where(largest > 0, gap, 0.0)
