"""Multi-objective test problems with their analytic Pareto fronts.

Every problem carries its own front and its own weighted-Chebyshev points, so that a solver can be measured against
the truth. Tensors are float64: points of the decision space have shape (..., number of variables), points of the
objective space (..., number of objectives).

The Chebyshev points are computed on the front alone and know nothing of a solver: on a curve by a search in its one
parameter, on the sphere by enumerating vertices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import pi, sqrt

import torch
from torch import Tensor

from src.utils.objectives.chebyshev import chebyshev_terms

ZDT1_LEAST_X1 = 1e-8  # the slope of sqrt(x_1) has no bound at 0; the front then starts at f = (1e-8, 1 - 1e-4)
FLOAT = torch.float64


@dataclass(frozen=True)
class Problem:
    """A problem "minimise f(x) over a box" with its known solution.

    Attributes:
        name: how the problem is called.
        lower, upper: bounds of the variables, shape (n,).
        objectives: :math:`f`, maps x (..., n) to (..., m), differentiable.
        pareto_set: maps a count to about as many Pareto-optimal x, shape (count, n).
        front: maps a count to the front at the same points, shape (count, m), from its own formula.
        chebyshev_point: maps (k, a, epsilon) to the point of the front, shape (m,), where the modified weighted
            Chebyshev norm is least. An objective with preference 0 gives no constraint.
    """

    name: str
    lower: Tensor
    upper: Tensor
    objectives: Callable[[Tensor], Tensor]
    pareto_set: Callable[[int], Tensor]
    front: Callable[[int], Tensor]
    chebyshev_point: Callable[[Tensor, Tensor, float], Tensor]

    @property
    def variables(self) -> int:
        """Number of variables n."""
        return self.lower.numel()

    def starts(self, count: int, seed: int = 0) -> Tensor:
        """Random points of the middle half of the box, shape (count, n), the same ones for the same seed.

        The middle, since Fonseca-Fleming is flat to machine precision in the corners of its box.
        """
        generator = torch.Generator().manual_seed(seed)
        u = torch.rand(count, self.variables, generator=generator, dtype=FLOAT)
        return self.lower + (0.25 + 0.5 * u) * (self.upper - self.lower)


def zdt1(variables: int = 30) -> Problem:
    """ZDT1: a convex front, :math:`f_2 = 1 - \\sqrt{f_1}`.

    .. math:: f_1 = x_1, \\quad f_2 = h (1 - \\sqrt{f_1 / h}), \\quad h = 1 + \\frac{9}{n - 1} \\sum_{i > 1} x_i

    on :math:`[0, 1]^n`, but with :math:`x_1 \\ge` ``ZDT1_LEAST_X1``: at 0 the gradient is infinite.

    Source: Zitzler, Deb, Thiele, Comparison of multiobjective evolutionary algorithms (2000).
    """
    lower = torch.zeros(variables, dtype=FLOAT)
    lower[0] = ZDT1_LEAST_X1
    # With s = sqrt(f_1) as its parameter the front has no infinite slope.
    return _zdt("ZDT1", lower, _zdt1_f2, sqrt(ZDT1_LEAST_X1), torch.square, lambda s: torch.stack((s**2, 1 - s), -1))


def zdt2(variables: int = 30) -> Problem:
    """ZDT2: a concave front, :math:`f_2 = 1 - f_1^2`.

    .. math:: f_1 = x_1, \\quad f_2 = h (1 - (f_1 / h)^2), \\quad h = 1 + \\frac{9}{n - 1} \\sum_{i > 1} x_i

    on :math:`[0, 1]^n`. Source: as :func:`zdt1`.
    """
    lower = torch.zeros(variables, dtype=FLOAT)
    return _zdt("ZDT2", lower, _zdt2_f2, 0.0, torch.clone, lambda s: torch.stack((s, 1 - s**2), -1))


def fonseca_fleming(variables: int = 3) -> Problem:
    """Fonseca-Fleming: a front that is concave but for its two ends.

    .. math:: f_{1,2} = 1 - \\exp\\Bigl(-\\sum_i (x_i \\mp 1 / \\sqrt{n})^2\\Bigr)

    on :math:`[-4, 4]^n`; Pareto-optimal are all :math:`x = s (1, ..., 1) / \\sqrt{n}` with :math:`-1 \\le s \\le 1`.

    Source: Fonseca, Fleming, An overview of evolutionary algorithms in multiobjective optimization (1995).
    """
    centre = 1 / sqrt(variables)

    def objectives(x: Tensor) -> Tensor:
        squares = torch.stack(((x - centre).square().sum(-1), (x + centre).square().sum(-1)), -1)
        return -torch.expm1(-squares)

    def curve(s: Tensor) -> Tensor:
        return -torch.expm1(-torch.stack((s - 1, s + 1), -1).square())

    def pareto_set(count: int) -> Tensor:
        return torch.linspace(-1, 1, count, dtype=FLOAT)[:, None].expand(count, variables) * centre

    upper = torch.full((variables,), 4.0, dtype=FLOAT)
    return Problem(
        name="Fonseca-Fleming",
        lower=-upper,
        upper=upper,
        objectives=objectives,
        pareto_set=pareto_set,
        front=lambda count: curve(torch.linspace(-1, 1, count, dtype=FLOAT)),
        chebyshev_point=partial(_curve_chebyshev_point, curve, -1.0, 1.0),
    )


def dtlz2(variables: int = 12) -> Problem:
    """DTLZ2 with three objectives: the front is the unit sphere's part in the positive octant (concave).

    .. math::
        f_1 = (1 + h) \\cos\\tfrac{\\pi x_1}{2} \\cos\\tfrac{\\pi x_2}{2}, \\quad
        f_2 = (1 + h) \\cos\\tfrac{\\pi x_1}{2} \\sin\\tfrac{\\pi x_2}{2}, \\quad
        f_3 = (1 + h) \\sin\\tfrac{\\pi x_1}{2}, \\quad h = \\sum_{i > 2} (x_i - 0.5)^2

    on :math:`[0, 1]^n`. Source: Deb, Thiele, Laumanns, Zitzler, Scalable multi-objective test problems (2002).
    """

    def objectives(x: Tensor) -> Tensor:
        h = (x[..., 2:] - 0.5).square().sum(-1, keepdim=True)
        return (1 + h) * _octant(x[..., 0] * (pi / 2), x[..., 1] * (pi / 2))

    def grid(count: int) -> tuple[Tensor, Tensor]:
        side = torch.linspace(0, 1, max(2, round(sqrt(count))), dtype=FLOAT)
        first, second = torch.meshgrid(side, side, indexing="ij")
        return first.flatten(), second.flatten()

    def pareto_set(count: int) -> Tensor:
        first, second = grid(count)
        rest = torch.full((len(first), variables - 2), 0.5, dtype=FLOAT)
        return torch.cat((first[:, None], second[:, None], rest), 1)

    def front(count: int) -> Tensor:
        first, second = grid(count)
        return _octant(first * (pi / 2), second * (pi / 2))

    return Problem(
        name="DTLZ2",
        lower=torch.zeros(variables, dtype=FLOAT),
        upper=torch.ones(variables, dtype=FLOAT),
        objectives=objectives,
        pareto_set=pareto_set,
        front=front,
        chebyshev_point=_sphere_chebyshev_point,
    )


PROBLEMS: tuple[Callable[[], Problem], ...] = (zdt1, zdt2, fonseca_fleming, dtlz2)


def _zdt1_f2(x1: Tensor, h: Tensor) -> Tensor:
    return h - (x1 * h).sqrt()


def _zdt2_f2(x1: Tensor, h: Tensor) -> Tensor:
    return h - x1.square() / h


def _zdt(
    name: str,
    lower: Tensor,
    second: Callable[[Tensor, Tensor], Tensor],
    least: float,
    to_x1: Callable[[Tensor], Tensor],
    curve: Callable[[Tensor], Tensor],
) -> Problem:
    """A ZDT problem from :math:`f_2(x_1, h)` and its front as a curve in s, :math:`x_1` = ``to_x1(s)``."""

    def objectives(x: Tensor) -> Tensor:
        h = 1 + 9 * x[..., 1:].mean(-1)
        return torch.stack((x[..., 0], second(x[..., 0], h)), -1)

    def parameters(count: int) -> Tensor:
        return torch.linspace(least, 1, count, dtype=FLOAT)

    def pareto_set(count: int) -> Tensor:
        x = torch.zeros(count, lower.numel(), dtype=FLOAT)
        x[:, 0] = to_x1(parameters(count))
        return x

    return Problem(
        name=name,
        lower=lower,
        upper=torch.ones_like(lower),
        objectives=objectives,
        pareto_set=pareto_set,
        front=lambda count: curve(parameters(count)),
        chebyshev_point=partial(_curve_chebyshev_point, curve, least, 1.0),
    )


def _octant(first: Tensor, second: Tensor) -> Tensor:
    """The unit vector of two angles, (...) each, shape (..., 3)."""
    return torch.stack((first.cos() * second.cos(), first.cos() * second.sin(), first.sin()), -1)


def _chebyshev_norms(f: Tensor, k: Tensor, a: Tensor, epsilon: float) -> Tensor:
    """:math:`\\max_{i: k_i > 0} c_i` of every row of f, shape (N, m) to (N,)."""
    return torch.vmap(lambda row: chebyshev_terms(row, k, a, epsilon))(f)[:, k > 0].amax(1)


def _curve_chebyshev_point(
    curve: Callable[[Tensor], Tensor], low: float, high: float, k: Tensor, a: Tensor, epsilon: float
) -> Tensor:
    """Least Chebyshev norm on a curve :math:`f(s)`, ``low <= s <= high``: a grid that closes in on its best point.

    At a kink, where two terms meet, s is exact to 1e-12; at a smooth minimum (a preference of 0) to the square root
    of the rounding error, as for any method that looks at values only.
    """
    points = 2001
    first, last = low, high
    while True:
        s = torch.linspace(first, last, points, dtype=FLOAT)
        best = int(_chebyshev_norms(curve(s), k, a, epsilon).argmin())
        if last - first < 1e-12:
            return curve(s[best])
        step = (last - first) / (points - 1)
        first, last = max(low, float(s[best]) - step), min(high, float(s[best]) + step)


def _sphere_chebyshev_point(k: Tensor, a: Tensor, epsilon: float) -> Tensor:
    """Least Chebyshev norm on the unit sphere's part in the positive octant, exact.

    The points of the octant with norm at most t are the polytope :math:`f \\ge 0, c(f) \\le t`. It grows with t, and
    at the solution it touches the sphere from inside. Its farthest point from the origin is a vertex, so the
    solution is on the line that one of its vertices draws as t grows: three of the six planes hold with equality,
    :math:`f = q + t r`, and this line meets the sphere in at most two points.

    With two preferences of 0 the minimiser is not unique; one of them is returned.
    """
    m = k.numel()
    identity = torch.eye(m, dtype=FLOAT)
    terms = k[:, None] * (identity + epsilon)  # c(f) = terms @ f - offset
    offset = k * (a + epsilon * a.sum())
    active = k > 0
    planes = torch.cat((identity, terms[active]))
    constant = torch.cat((torch.zeros(m, dtype=FLOAT), offset[active]))
    slope = torch.cat((torch.zeros(m, dtype=FLOAT), torch.ones(int(active.sum()), dtype=FLOAT)))
    candidates = []
    for rows in map(list, combinations(range(len(planes)), m)):
        if torch.linalg.matrix_rank(planes[rows]) < m:
            continue
        q, r = torch.linalg.solve(planes[rows], torch.stack((constant[rows], slope[rows]), 1)).unbind(1)
        direction = r / r.norm().clamp(min=1e-300)
        foot = q - (q @ direction) * direction  # of the perpendicular from the origin
        reach = 1 - float(foot @ foot)
        if r.any() and reach >= 0:
            candidates += [foot + sign * sqrt(reach) * direction for sign in (-1, 1)]
    f = torch.stack([candidate for candidate in candidates if candidate.min() > -1e-12]).clamp(min=0)
    return f[_chebyshev_norms(f, k, a, epsilon).argmin()]
