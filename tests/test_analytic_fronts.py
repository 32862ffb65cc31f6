"""The method on problems with a known front, the problems themselves, and the optimality measures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from math import sqrt
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks import analytic_fronts
from benchmarks.analytic_fronts import (
    DISTANCE_TARGET,
    KKT_TARGET,
    LEAST_PREFERENCE,
    TUpdate,
    distinct,
    draw_front,
    largest_hole,
    minimise,
    preference_vectors,
    solve,
    solve_weighted_sum,
    worst_residual,
)
from benchmarks.analytic_problems import PROBLEMS, Problem, dtlz2, fonseca_fleming, zdt1, zdt2
from src.utils.objectives.augmented_lagrangian import multipliers, optimal_t
from src.utils.objectives.chebyshev import chebyshev_value
from src.utils.objectives.optimality import KKTResiduals, chebyshev_gap, kkt_residuals

PROPERTY = settings(max_examples=50, deadline=None)
EPSILON = 1e-4
T_UPDATES: tuple[TUpdate, ...] = ("exact", "optimizer")


def vec(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def preferences(size: int, least: float = 0.01) -> st.SearchStrategy[Tensor]:
    return st.lists(st.floats(least, 1), min_size=size, max_size=size).map(lambda k: vec(*k) / sum(k))


def dominates(better: Tensor, worse: Tensor, margin: float = 1e-9) -> Tensor:
    """Which rows of ``better`` (N, m) are lower than which rows of ``worse`` (M, m) in every objective: (N, M)."""
    return (better[:, None] < worse[None] - margin).all(-1)


# The method

CASES: list[tuple[Callable[[], Problem], tuple[float, ...]]] = [
    *[(make, k) for make in (zdt1, zdt2, fonseca_fleming) for k in ((0.05, 0.95), (0.5, 0.5), (0.95, 0.05), (1, 0))],
    *[(dtlz2, k) for k in ((1.0, 1.0, 1.0), (0.1, 0.2, 0.7), (0.5, 0.5, 0.01), (0.98, 0.01, 0.01))],
]


@pytest.mark.parametrize("t_update", T_UPDATES)
@pytest.mark.parametrize(("make", "k"), CASES)
def test_method_reaches_the_analytic_chebyshev_point(
    make: Callable[[], Problem], k: tuple[float, ...], t_update: TUpdate
) -> None:
    problem, preference = make(), vec(*k) / sum(k)
    a = torch.zeros_like(preference)
    solution = solve(problem, preference, a, t_update=t_update, starts=problem.starts(1, seed=1))
    assert float((solution.f - problem.chebyshev_point(preference, a, EPSILON)).norm()) <= DISTANCE_TARGET
    assert worst_residual(solution.residuals) <= KKT_TARGET
    assert float(solution.gap) <= 1e-3
    assert ((problem.lower <= solution.x) & (solution.x <= problem.upper)).all()
    assert float(solution.t) == pytest.approx(float(chebyshev_value(solution.f, preference, a, EPSILON)), abs=1e-4)


def test_method_reaches_the_chebyshev_point_of_another_reference_point() -> None:
    problem, k, a = zdt2(), vec(0.3, 0.7), vec(-0.5, -0.1)
    expected = problem.chebyshev_point(k, a, EPSILON)
    assert float((expected - problem.chebyshev_point(k, vec(0, 0), EPSILON)).norm()) > 0.05
    assert float((solve(problem, k, a).f - expected).norm()) <= DISTANCE_TARGET


def test_on_a_concave_front_a_weighted_sum_reaches_the_ends_only() -> None:
    problem, ends = zdt2(), vec(0, 1, 1, 0).reshape(2, 2)
    ours, weighted = [], []
    for first in (0.3, 0.45, 0.55, 0.7):
        k = vec(first, 1 - first)
        ours.append(solve(problem, k, torch.zeros_like(k)).f)
        weighted.append(solve_weighted_sum(problem, k, torch.zeros_like(k)))
    assert torch.cdist(torch.stack(weighted), ends).amin(1).max() < 1e-3
    assert torch.cdist(torch.stack(ours), ends).amin(1).min() > 0.3
    assert distinct(torch.stack(ours)) == 4
    assert distinct(torch.stack(weighted)) == 2


def test_on_a_convex_front_a_weighted_sum_reaches_its_analytic_point() -> None:
    # The slope of 1 - sqrt(f_1) is -k_1 / k_2 at f_1 = (k_2 / 2 k_1)^2, so the comparison is a fair one.
    f = solve_weighted_sum(zdt1(), vec(0.6, 0.4), vec(0, 0), 0.0)
    torch.testing.assert_close(f, vec(1 / 9, 2 / 3), rtol=0, atol=1e-5)


def test_minimise_leaves_a_local_maximum_at_a_bound() -> None:
    # The slope of (z^2 - 1/4)^2 vanishes at 0, where a search by gradients alone would stay.
    z, evaluations = minimise(lambda z: (z.square() - 0.25).square().sum(), vec(0), vec(0), vec(1))
    assert float(z) == pytest.approx(0.5, abs=1e-4)
    assert evaluations > 1


def test_minimise_stays_at_a_bound_that_is_the_minimum() -> None:
    z, _ = minimise(lambda z: (z + 1).square().sum(), vec(0.4, 0.7), vec(0, 0), vec(1, 1))
    assert z.tolist() == [0, 0]


# The problems


@pytest.mark.parametrize("make", PROBLEMS)
def test_front_is_attained_by_the_pareto_set(make: Callable[[], Problem]) -> None:
    problem = make()
    x = problem.pareto_set(100)
    assert ((problem.lower <= x) & (x <= problem.upper)).all()
    torch.testing.assert_close(problem.objectives(x), problem.front(100), rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", PROBLEMS)
def test_front_is_not_dominated(make: Callable[[], Problem]) -> None:
    problem = make()
    front, pareto_set = problem.front(400), problem.pareto_set(400)
    assert not dominates(front, front).any()
    generator = torch.Generator().manual_seed(0)
    width = problem.upper - problem.lower
    anywhere = problem.lower + width * torch.rand(4000, problem.variables, generator=generator, dtype=torch.float64)
    assert not dominates(problem.objectives(anywhere), front).any()
    for size in (0.1, 0.01, 0.001):  # random points of the whole box are far from the front
        noise = torch.randn(pareto_set.shape, generator=generator, dtype=torch.float64)
        near = (pareto_set + size * width * noise).clamp(problem.lower, problem.upper)
        assert not dominates(problem.objectives(near), front).any()


@pytest.mark.parametrize("make", PROBLEMS)
def test_starts_are_reproducible_and_feasible(make: Callable[[], Problem]) -> None:
    problem = make()
    starts = problem.starts(5)
    assert starts.shape == (5, problem.variables)
    assert ((problem.lower <= starts) & (starts <= problem.upper)).all()
    assert torch.equal(starts, problem.starts(5))
    assert torch.equal(starts[:2], problem.starts(2))


@pytest.mark.parametrize("make", PROBLEMS[:3])
@PROPERTY
@given(k=preferences(2, 0.0).filter(lambda k: bool(k.isfinite().all())), shift=st.floats(0, 0.5))
def test_chebyshev_point_is_the_best_of_the_curve(make: Callable[[], Problem], k: Tensor, shift: float) -> None:
    _check_chebyshev_point(make(), k, vec(-shift, -shift / 2))


@PROPERTY
@given(k=preferences(3), shift=st.floats(0, 0.5))
def test_chebyshev_point_is_the_best_of_the_sphere(k: Tensor, shift: float) -> None:
    problem, a = dtlz2(), vec(-shift, -shift / 2, 0)
    _check_chebyshev_point(problem, k, a)
    assert float(problem.chebyshev_point(k, a, EPSILON).norm()) == pytest.approx(1, abs=1e-10)


def _check_chebyshev_point(problem: Problem, k: Tensor, a: Tensor) -> None:
    point = problem.chebyshev_point(k, a, EPSILON)
    front = problem.front(1600)
    assert float(_norms(point[None], k, a)) <= float(_norms(front, k, a).min()) + 1e-12
    assert not dominates(front, point[None]).any()
    assert torch.cdist(point[None], front).min() < 0.05


def _norms(f: Tensor, k: Tensor, a: Tensor) -> Tensor:
    distance = f - a  # (N, m)
    return (k * (distance + EPSILON * distance.sum(1, keepdim=True)))[:, k > 0].amax(1)


def test_chebyshev_points_in_closed_form() -> None:
    half, zero = vec(0.5, 0.5), vec(0, 0)
    golden = (sqrt(5) - 1) / 2  # f_1 = 1 - f_1^2
    torch.testing.assert_close(zdt2().chebyshev_point(half, zero, 0.0), vec(golden, golden), rtol=0, atol=1e-11)
    root = (3 - sqrt(5)) / 2  # f_1 = 1 - sqrt(f_1)
    torch.testing.assert_close(zdt1().chebyshev_point(half, zero, 0.0), vec(root, root), rtol=0, atol=1e-11)
    middle = 1 - torch.exp(vec(-1, -1))  # s = 0
    torch.testing.assert_close(fonseca_fleming().chebyshev_point(half, zero, 0.0), middle, rtol=0, atol=1e-11)
    k = vec(0.2, 0.3, 0.5)  # k_i f_i is the same for all i
    expected = (1 / k) / (1 / k).norm()
    torch.testing.assert_close(dtlz2().chebyshev_point(k, vec(0, 0, 0), 0.0), expected, rtol=0, atol=1e-12)
    corner = dtlz2().chebyshev_point(vec(0.5, 0.5, 0), vec(0, 0, 0), EPSILON)  # nothing holds f_3 down
    torch.testing.assert_close(corner, vec(0, 0, 1), rtol=0, atol=1e-12)


# Optimality


def test_kkt_residuals_by_hand() -> None:
    residuals = kkt_residuals(vec(1, 2), vec(1.5)[0], vec(0.3, 0.6), vec(3, -4))
    assert float(residuals.multiplier_sum) == pytest.approx(0.1)
    assert float(residuals.complementarity) == pytest.approx(0.3)
    assert float(residuals.feasibility) == pytest.approx(0.5)
    assert residuals.stationarity is not None
    assert float(residuals.stationarity) == pytest.approx(5)


def test_kkt_residuals_vanish_at_a_kkt_point() -> None:
    # The third constraint is slack and has no multiplier.
    residuals = kkt_residuals(vec(2, 2, 1), vec(2)[0], vec(0.25, 0.75, 0), vec(0, 0))
    assert residuals == KKTResiduals(*vec(0, 0, 0, 0))
    assert kkt_residuals(vec(2, 2, 1), vec(2)[0], vec(0.25, 0.75, 0)).stationarity is None


def test_chebyshev_gap_by_hand() -> None:
    assert float(chebyshev_gap(vec(2, 1, 0.5), vec(0.5, 0.5, 0))) == pytest.approx(0.5)
    assert float(chebyshev_gap(vec(2, 1, 0.5), vec(0.5, 0.5, 5e-4))) == pytest.approx(0.5)
    assert float(chebyshev_gap(vec(2, 1, 0.5), vec(0.5, 0.5, 5e-4), tolerance=1e-4)) == pytest.approx(0.75)
    assert float(chebyshev_gap(vec(2, 1), vec(1, 0))) == 0
    assert float(chebyshev_gap(vec(2, 1), vec(0, 0))) == 0
    assert float(chebyshev_gap(vec(0, 0), vec(0.5, 0.5))) == 0
    assert float(chebyshev_gap(vec(-1, -2), vec(0.5, 0.5))) == 0


TERMS = st.lists(st.tuples(st.floats(1e-3, 10), st.floats(0, 1)), min_size=1, max_size=6)


@PROPERTY
@given(pairs=TERMS, factor=st.floats(0.01, 100))
def test_chebyshev_gap_is_a_relative_measure(pairs: list[tuple[float, float]], factor: float) -> None:
    c, lam = vec(*[pair[0] for pair in pairs]), vec(*[pair[1] for pair in pairs])
    gap = float(chebyshev_gap(c, lam))
    assert 0 <= gap < 1
    assert float(chebyshev_gap(factor * c, lam)) == pytest.approx(gap, abs=1e-12)


@PROPERTY
@given(pairs=TERMS, mu=st.floats(0.01, 1000))
def test_exact_t_leaves_no_residual_in_the_multiplier_sum(pairs: list[tuple[float, float]], mu: float) -> None:
    c, lam = vec(*[pair[0] for pair in pairs]), vec(*[pair[1] for pair in pairs])
    t = optimal_t(c, lam, mu)
    residuals = kkt_residuals(c, t, multipliers(c - t, lam, mu))
    assert float(residuals.multiplier_sum) < 1e-10
    assert float(residuals.feasibility) <= 1 / mu + 1e-10  # a violated constraint weighs at most 1


# The command


def test_preference_vectors_have_sum_one() -> None:
    curve, lattice = preference_vectors(2), preference_vectors(3)
    assert curve.shape == (21, 2)
    assert lattice.shape == (66, 3)
    for vectors in (curve, lattice):
        torch.testing.assert_close(vectors.sum(1), torch.ones(len(vectors), dtype=torch.float64))
        assert distinct(vectors) == len(vectors)
    assert float(lattice.min()) == pytest.approx(LEAST_PREFERENCE, rel=0.05)


def test_holes_and_distinct_points_are_counted() -> None:
    front, points = vec(0, 1, 0.5, 0.5, 1, 0).reshape(3, 2), vec(0, 1, 0, 1, 1, 0).reshape(3, 2)
    assert largest_hole(front, points) == pytest.approx(sqrt(0.5))
    assert distinct(points) == 2


@pytest.mark.parametrize(("target", "code"), [(DISTANCE_TARGET, 0), (0.0, 1)])
def test_command_draws_and_tells_whether_the_targets_are_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: float, code: int
) -> None:
    monkeypatch.setattr(analytic_fronts, "PROBLEMS", (lambda: zdt2(5), lambda: fonseca_fleming(2)))
    monkeypatch.setattr(analytic_fronts, "CURVE_VECTORS", 4)
    monkeypatch.setattr(analytic_fronts, "STARTS", 1)
    monkeypatch.setattr(analytic_fronts, "DISTANCE_TARGET", target)
    with pytest.raises(SystemExit, match="1") if code else nullcontext():
        analytic_fronts.main(["--output-dir", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"front_zdt2.png", "front_fonseca_fleming.png"}
    assert ("MISSED" in capsys.readouterr().out) == bool(code)


def test_a_front_of_three_objectives_is_drawn(tmp_path: Path) -> None:
    problem = dtlz2()
    draw_front(tmp_path / "front.png", problem, problem.front(16), problem.front(4))
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
