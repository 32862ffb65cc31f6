"""Does the method reach every Pareto-optimal point? Measured on problems whose front is known.

For a grid of preference vectors the modified weighted Chebyshev problem is solved by the augmented Lagrangian that
trains the networks (the same functions), and compared to the analytic solution and to a weighted sum of the same
terms. Prints a table, draws one picture per problem, and leaves with exit code 1 where a target is missed::

    python -m benchmarks.analytic_fronts
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.optimize import Bounds, minimize
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from benchmarks.analytic_problems import FLOAT, PROBLEMS, Problem
from src.utils.command_line.parser import Parser, exit_code
from src.utils.files import check_writable, write_picture
from src.utils.objectives.augmented_lagrangian import augmented_lagrangian, multipliers, optimal_t
from src.utils.objectives.chebyshev import chebyshev_terms, chebyshev_value
from src.utils.objectives.optimality import KKTResiduals, chebyshev_gap, kkt_residuals

Vector: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]
TUpdate: TypeAlias = Literal["exact", "optimizer"]
T_UPDATES: tuple[TUpdate, ...] = ("exact", "optimizer")
EPSILON = 1e-4
MU, RHO = 30.0, 1.5
DISTANCE_TARGET, KKT_TARGET = 1e-3, 1e-4
LEAST_PREFERENCE = 0.01  # stands for 0 with three objectives: with two zeros the solution would not be unique
CURVE_VECTORS, LATTICE_RESOLUTION = 21, 10
STARTS = 3  # random points, the same ones for every preference vector and method
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
        evaluations: of f with its gradient, from this start.
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
    tolerance: float = 1e-7,
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
        starts: shape (number of starts, n); ``STARTS`` random points without it.
        max_iter: multiplier updates at most.
        tolerance: the iteration ends when no KKT residual is larger.
    """
    solutions = [
        _solve_from(start, problem, k, a, epsilon, mu, rho, t_update, max_iter, tolerance)
        for start in (problem.starts(STARTS) if starts is None else starts)
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
        for start in (problem.starts(STARTS) if starts is None else starts)
    ]
    return problem.objectives(min(ends, key=lambda x: float(weighted_sum(x))))


def minimise(function: Callable[[Tensor], Tensor], z: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, int]:
    """Minimiser of a smooth function over a box by L-BFGS-B, and the number of gradients it took.

    A variable that ran into its bound may sit on a local maximum there: at x_1 = 0 both the slope of f_2 of ZDT2 and
    that of the cosines of DTLZ2 vanish (and epsilon adds a dip about epsilon wide, a true local minimum). So the
    function is looked at on the way inwards from every bound reached, at ``PROBE_SIZES`` times the width of the box;
    a lower value is the next start.
    """

    def value_and_gradient(numbers: Vector) -> tuple[float, Vector]:
        point = torch.tensor(numbers, requires_grad=True)
        value = function(point)
        (gradient,) = torch.autograd.grad(value, point)
        return value.item(), gradient.numpy()

    bounds = Bounds(lower.numpy(), upper.numpy())
    evaluations = 0
    for _ in range(20):
        with threadpool_limits(1, user_api="blas"):  # waking more threads takes longer than these small systems
            result = minimize(
                value_and_gradient,
                z.numpy(),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": 500, "gtol": 1e-10, "ftol": 1e-15},
            )
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
    return max(_numbers(residuals))


def _numbers(residuals: KKTResiduals) -> list[float]:
    values = (residuals.multiplier_sum, residuals.complementarity, residuals.feasibility, residuals.stationarity)
    return [float(value) for value in values if value is not None]


def preference_vectors(objectives: int) -> Tensor:
    """The preference vectors of the study, shape (count, objectives), each with sum 1.

    Two objectives: k_1 from 0 to 1 in equal steps, the zeros exactly 0. Three: the simplex lattice, where
    ``LEAST_PREFERENCE`` stands for 0: with k = (1, 0, 0) both (0, 1, 0) and (0, 0, 1) would be solutions on a sphere.
    """
    if objectives == 2:
        k = torch.linspace(0, 1, CURVE_VECTORS, dtype=FLOAT)
        return torch.stack((k, 1 - k), 1)
    steps = torch.arange(LATTICE_RESOLUTION + 1, dtype=FLOAT)
    lattice = torch.cartesian_prod(*[steps] * objectives) / LATTICE_RESOLUTION
    k = lattice[(lattice.sum(1) - 1).abs() < 1e-9].clamp(min=LEAST_PREFERENCE)
    return k / k.sum(1, keepdim=True)


def largest_hole(front: Tensor, points: Tensor) -> float:
    """Distance from the loneliest point of the front (N, m) to the nearest of the points (M, m)."""
    return float(torch.cdist(front, points).amin(1).max())


def distinct(points: Tensor, tolerance: float = 1e-3) -> int:
    """How many of the points (N, m) are farther than ``tolerance`` from all before them."""
    repeated = (torch.cdist(points, points) <= tolerance).tril(-1).any(1)
    return int((~repeated).sum())


@dataclass(frozen=True)
class Measured:
    """One problem over all its preference vectors; distance, residuals and gap are the worst of them.

    Attributes:
        points: objectives reached, shape (count, m).
        distance: to the analytic solution, in the objectives.
        residuals: KKT residuals in the order of :class:`KKTResiduals`.
        gap: Chebyshev gap.
        mean_iterations, max_iterations: multiplier updates.
        mean_evaluations: gradients per preference vector and start.
        seconds: for all of them.
    """

    points: Tensor
    distance: float
    residuals: list[float]
    gap: float
    mean_iterations: float
    max_iterations: int
    mean_evaluations: float
    seconds: float

    @property
    def met(self) -> bool:
        """Whether every vector meets the targets."""
        return self.distance <= DISTANCE_TARGET and max(self.residuals) <= KKT_TARGET


def measure(problem: Problem, vectors: Tensor, t_update: TUpdate) -> Measured:
    """Solve for every row of ``vectors``, shape (count, m), with the reference point 0."""
    a = torch.zeros(vectors.shape[1], dtype=FLOAT)
    began = time.perf_counter()
    solutions = [solve(problem, k, a, t_update=t_update) for k in vectors]
    seconds = time.perf_counter() - began
    points = torch.stack([solution.f for solution in solutions])
    truth = torch.stack([problem.chebyshev_point(k, a, EPSILON) for k in vectors])
    iterations = [solution.iterations for solution in solutions]
    return Measured(
        points=points,
        distance=float((points - truth).norm(dim=1).max()),
        residuals=[max(values) for values in zip(*(_numbers(s.residuals) for s in solutions), strict=True)],
        gap=max(float(solution.gap) for solution in solutions),
        mean_iterations=sum(iterations) / len(iterations),
        max_iterations=max(iterations),
        mean_evaluations=sum(solution.evaluations for solution in solutions) / len(solutions),
        seconds=seconds,
    )


def draw_front(path: Path, problem: Problem, ours: Tensor, weighted: Tensor) -> None:
    """The analytic front, our points and the weighted sum's points, (count, m) each."""
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    labels = ("analytic front", _label("augmented Lagrangian", ours), _label("weighted sum", weighted))
    sums: dict[str, Any] = {"marker": "x", "s": 90, "linewidths": 2, "color": SUM_COLOUR, "zorder": 4}
    if ours.shape[1] == 2:
        axis = figure.subplots()
        axis.plot(*problem.front(400).T, color=FRONT_COLOUR, lw=2, label=labels[0])
        axis.scatter(ours[:, 0], ours[:, 1], s=32, color=OURS_COLOUR, zorder=3, label=labels[1])
        axis.scatter(weighted[:, 0], weighted[:, 1], **sums, label=labels[2])
        axis.grid(alpha=0.3)
    else:
        axis = figure.add_subplot(projection="3d")
        side = 16
        surface = problem.front(side * side).reshape(side, side, -1).unbind(-1)
        axis.plot_wireframe(*(part.numpy() for part in surface), color=FRONT_COLOUR, lw=0.5, label=labels[0])
        axis.scatter(*ours.T, s=22, color=OURS_COLOUR, depthshade=False, label=labels[1])
        axis.scatter(*weighted.T, **sums, depthshade=False, label=labels[2])
        axis.view_init(elev=28, azim=45)
        axis.set_zlabel("$f_3$")
    axis.set_xlabel("$f_1$")
    axis.set_ylabel("$f_2$")
    axis.set_title(f"{problem.name}: {len(ours)} preference vectors", fontsize=11)
    figure.legend(loc="outside lower center", fontsize=9)
    write_picture(path, lambda file: figure.savefig(file, format="png", dpi=DPI))


def _label(method: str, points: Tensor) -> str:
    return f"{method}: {distinct(points)} different points"


HEADER = (
    f"{'problem':<16}{'t':<10}{'vectors':>7}{'distance':>10}{'|1-sum|':>9}{'compl.':>9}{'feas.':>9}{'station.':>9}"
    f"{'gap':>9}{'iterations':>13}{'gradients':>10}{'seconds':>8}"
)


def _row(problem: Problem, t_update: TUpdate, result: Measured) -> str:
    residuals = "".join(f"{value:>9.1e}" for value in result.residuals)
    iterations = f"{result.mean_iterations:.1f} (<= {result.max_iterations})"
    return (
        f"{problem.name:<16}{t_update:<10}{len(result.points):>7}{result.distance:>10.1e}{residuals}{result.gap:>9.1e}"
        f"{iterations:>13}{result.mean_evaluations:>10.0f}{result.seconds:>8.1f}{'' if result.met else '  MISSED'}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, draw; leaves with exit code 1 where a target is missed."""
    parser = Parser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, default=Path("Images/readme"), help="where the pictures go")
    output_dir: Path = parser.parse_args(arguments).output_dir
    check_writable(output_dir)
    print(f"Worst over all preference vectors; targets: distance {DISTANCE_TARGET:g}, KKT {KKT_TARGET:g}")
    print(HEADER)
    met = True
    coverage = []
    for make in PROBLEMS:
        problem = make()
        front = problem.front(1000)
        vectors = preference_vectors(front.shape[1])
        results = {t_update: measure(problem, vectors, t_update) for t_update in T_UPDATES}
        for t_update, result in results.items():
            met &= result.met
            print(_row(problem, t_update, result), flush=True)
        ours = results["exact"].points
        weighted = torch.stack([solve_weighted_sum(problem, k, torch.zeros_like(k)) for k in vectors])
        coverage.append(
            f"{problem.name:<16}{largest_hole(front, ours):>10.3f} ({distinct(ours)} points)"
            f"{largest_hole(front, weighted):>14.3f} ({distinct(weighted)} points)"
        )
        draw_front(output_dir / f"front_{problem.name.lower().replace('-', '_')}.png", problem, ours, weighted)
    print(f"\nLargest hole in the front\n{'problem':<16}{'Chebyshev':>22}{'weighted sum':>24}")
    print("\n".join(coverage))
    if not met:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(exit_code(main))
