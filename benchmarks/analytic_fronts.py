"""Does the method reach every Pareto-optimal point? Measured on problems whose front is known.

For a grid of preference vectors the modified weighted Chebyshev problem is solved by the augmented Lagrangian that
trains the networks (the same functions), and compared to the analytic solution and to a weighted sum of the same
terms. Prints a table, draws one picture per problem, and leaves with exit code 1 where a target is missed::

    python -m benchmarks.analytic_fronts
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize
from torch import Tensor

from benchmarks.analytic_problems import FLOAT, PROBLEMS, Problem
from src.utils.files import write_picture
from src.utils.objectives.augmented_lagrangian import augmented_lagrangian, multipliers, optimal_t
from src.utils.objectives.chebyshev import chebyshev_terms, chebyshev_value
from src.utils.objectives.optimality import KKTResiduals, chebyshev_gap, kkt_residuals

TUpdate = Literal["exact", "optimizer"]
T_UPDATES: tuple[TUpdate, ...] = ("exact", "optimizer")
EPSILON = 1e-4
MU, RHO = 100.0, 2.0
DISTANCE_TARGET, KKT_TARGET = 1e-3, 1e-4
LEAST_PREFERENCE = 0.01  # stands for 0 with three objectives: with two zeros the solution would not be unique
CURVE_VECTORS, LATTICE_RESOLUTION = 21, 10
PROBE_SIZES = 2.0 ** -torch.arange(1.0, 13.0, dtype=FLOAT)
DPI = 130
FRONT_COLOUR, OURS_COLOUR, SUM_COLOUR = "#999999", "#1f77b4", "#d95f02"


@dataclass(frozen=True)
class Solution:
    """Where the augmented Lagrangian ended.

    Attributes:
        x: variables, shape (n,).
        f: objectives, shape (m,).
        t: level of the Chebyshev terms.
        lam: multipliers, shape (m,); 0 for an objective with preference 0.
        residuals: of the KKT conditions, stationarity by the projected gradient.
        gap: Chebyshev gap.
        iterations: multiplier updates.
        evaluations: of f with its gradient.
    """

    x: Tensor
    f: Tensor
    t: Tensor
    lam: Tensor
    residuals: KKTResiduals
    gap: Tensor
    iterations: int
    evaluations: int


def solve(
    problem: Problem,
    k: Tensor,
    a: Tensor,
    epsilon: float = EPSILON,
    mu: float = MU,
    rho: float = RHO,
    *,
    t_update: TUpdate = "exact",
    starts: Tensor | None = None,
    max_iter: int = 20,
    tolerance: float = 1e-8,
) -> Solution:
    """The modified weighted Chebyshev problem by the augmented Lagrangian; the best result of all starts.

    Args:
        problem: what to minimise.
        k: preferences, shape (m,); an objective with preference 0 gives no constraint.
        a: reference point, shape (m,).
        epsilon: augmentation coefficient.
        mu: penalty coefficient at the start.
        rho: factor on mu after each multiplier update.
        t_update: "exact" eliminates t by :func:`optimal_t`, "optimizer" (the paper) minimises over (x, t).
        starts: shape (number of starts, n); one random point without it.
        max_iter: multiplier updates at most.
        tolerance: the iteration ends when no KKT residual is larger.
    """
    solutions = [
        _solve_from(start, problem, k, a, epsilon, mu, rho, t_update, max_iter, tolerance)
        for start in (problem.starts(1) if starts is None else starts)
    ]
    # A KKT point need not be a minimiser, so the residuals cannot choose between starts; the objective can.
    return min(solutions, key=lambda solution: float(chebyshev_value(solution.f, k, a, epsilon)))


def solve_weighted_sum(
    problem: Problem, k: Tensor, a: Tensor, epsilon: float = EPSILON, *, starts: Tensor | None = None
) -> Tensor:
    """Objectives, shape (m,), where the *sum* of the Chebyshev terms is least, by the same inner optimiser.

    :math:`\\sum_i c_i = \\sum_i (k_i + \\epsilon \\sum_j k_j)(f_i - a_i)`: a weighted sum with positive weights.
    """

    def weighted_sum(x: Tensor) -> Tensor:
        return chebyshev_terms(problem.objectives(x), k, a, epsilon).sum()

    ends = [
        minimise(weighted_sum, start, problem.lower, problem.upper)[0]
        for start in (problem.starts(1) if starts is None else starts)
    ]
    return problem.objectives(min(ends, key=lambda x: float(weighted_sum(x))))


def minimise(function: Callable[[Tensor], Tensor], z: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, int]:
    """Minimiser of a smooth function over a box by L-BFGS-B, and the number of gradients it took.

    A variable that ran into its bound may sit on a local maximum there: at x_1 = 0 both the slope of f_2 of ZDT2 and
    that of the cosines of DTLZ2 vanish. So the function is looked at on the way inwards from every bound reached, at
    ``PROBE_SIZES`` times the width of the box; a lower value is the next start.
    """

    def value_and_gradient(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        point = torch.tensor(numbers, requires_grad=True)
        value = function(point)
        (gradient,) = torch.autograd.grad(value, point)
        return value.item(), gradient.numpy()

    bounds = Bounds(lower.numpy(), upper.numpy())
    options = {"maxiter": 500, "maxcor": 20, "gtol": 1e-10, "ftol": 1e-15}
    evaluations = 0
    for _ in range(20):
        result = minimize(value_and_gradient, z.numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        z, evaluations = torch.tensor(result.x), evaluations + result.nfev
        probes = _probes(z, lower, upper)
        values = torch.vmap(function)(probes)
        if not values.min() < values[-1] - 1e-12 * values[-1].abs():
            break
        z = probes[values.argmin()]
    return z, evaluations


def _probes(z: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Points inwards from every bound that z is on, shape (count, n); the last one is z itself."""
    inwards = (z <= lower).to(FLOAT) - (z >= upper).to(FLOAT)
    moves = torch.diag(inwards * (upper - lower))[inwards != 0]
    return torch.cat(((z + PROBE_SIZES[:, None, None] * moves).flatten(0, 1), z[None]))


def _solve_from(
    start: Tensor,
    problem: Problem,
    k: Tensor,
    a: Tensor,
    epsilon: float,
    mu: float,
    rho: float,
    t_update: TUpdate,
    max_iter: int,
    tolerance: float,
) -> Solution:
    n, active = problem.variables, k > 0
    lam = torch.full((int(active.sum()),), 1 / int(active.sum()), dtype=FLOAT)
    z, lower, upper = start, problem.lower, problem.upper
    if t_update == "optimizer":  # t is one more variable, from 0 as in the networks, without bounds
        z = torch.cat((start, torch.zeros(1, dtype=FLOAT)))
        lower, upper = (
            torch.cat((b, torch.full((1,), s, dtype=FLOAT))) for b, s in ((lower, -np.inf), (upper, np.inf))
        )

    def terms(x: Tensor) -> Tensor:
        return chebyshev_terms(problem.objectives(x), k, a, epsilon)[active]

    def level(z: Tensor, c: Tensor, lam: Tensor, mu: float) -> Tensor:
        # The derivative in the optimal t is zero, so that t may be held constant in the backward pass.
        return optimal_t(c.detach(), lam, mu) if t_update == "exact" else z[n]

    iterations = evaluations = 0
    while True:

        def lagrangian(z: Tensor, lam: Tensor = lam, mu: float = mu) -> Tensor:
            c = terms(z[:n])
            t = level(z, c, lam, mu)
            return augmented_lagrangian(t, c - t, lam, mu)

        z, count = minimise(lagrangian, z, lower, upper)
        iterations, evaluations = iterations + 1, evaluations + count
        x = z[:n].clone().requires_grad_()
        c = terms(x)
        t = level(z, c, lam, mu)
        lam = multipliers(c.detach() - t, lam, mu)
        (slope,) = torch.autograd.grad(lam @ c, x)
        x, c = x.detach(), c.detach()
        projected = x - torch.clamp(x - slope, problem.lower, problem.upper)
        residuals = kkt_residuals(c, t, lam, projected)
        if iterations == max_iter or worst_residual(residuals) <= tolerance:
            break
        mu *= rho
    all_lam = torch.zeros_like(k)
    all_lam[active] = lam
    gap = chebyshev_gap(c, lam)
    return Solution(x, problem.objectives(x), t, all_lam, residuals, gap, iterations, evaluations)


def worst_residual(residuals: KKTResiduals) -> float:
    """The largest of the KKT residuals."""
    values = (residuals.multiplier_sum, residuals.complementarity, residuals.feasibility, residuals.stationarity)
    return max(float(value) for value in values if value is not None)
