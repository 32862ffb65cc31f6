"""Minimum-norm weights against exact and independent solvers, their optimality conditions, common descent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from torch import Tensor
from torchjd.aggregation import MGDA, MGDAWeighting

from src.utils.objectives.min_norm import (
    NORMALISATIONS,
    common_descent_weights,
    gram_matrix,
    min_norm_weights,
    normalisation_factors,
)
from tests import twins

PROPERTY = settings(max_examples=60, deadline=None)
SHAPES = ("full rank", "low rank", "zero", "duplicated", "parallel", "one-sided", "wide")


def gradients_like(shape: str, count: int, m: int, generator: torch.Generator) -> Tensor:
    """Random gradients, shape (count, m, P)."""
    size = {"full rank": m + 3, "low rank": max(1, m // 2)}.get(shape, m + 1)
    g = torch.randn(count, m, size, generator=generator, dtype=torch.float64)
    if shape == "zero":
        g[:, 0] = 0
    if shape in ("duplicated", "parallel"):
        g[:, -1] = g[:, 0]
    if shape == "parallel":
        g *= torch.randn(count, m, 1, generator=generator, dtype=torch.float64)  # opposite ones too
    if shape == "one-sided":
        g += 1.5
    if shape == "wide":
        g *= 10 ** (12 * torch.rand(count, m, 1, generator=generator, dtype=torch.float64) - 6)
    return g


def batches(count: int, sizes: range = range(2, 9)) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Shape, gradients, Gram matrices and weights; that vmap works shows that no branch reads a value."""
    generator = torch.Generator().manual_seed(0)
    for m, shape in itertools.product(sizes, SHAPES):
        g = gradients_like(shape, count, m, generator)
        gram = g @ g.mT
        yield shape, g, gram, torch.func.vmap(min_norm_weights)(gram)


def value(gram: Tensor, alpha: Tensor) -> Tensor:
    return torch.einsum("...i,...ij,...j->...", alpha, gram, alpha)


def rounding_scale(gram: Tensor, alpha: Tensor) -> Tensor:
    """(sum_i alpha_i |g_i|)^2, what rounding errors of alpha^T K alpha are relative to."""
    return (alpha * gram.diagonal(dim1=-2, dim2=-1).sqrt()).sum(-1).square()


def reference_by_nnls(g: Tensor) -> Tensor:
    """The u >= 0 that minimises |sum_i u_i g_i|^2 + (sum_i u_i - 1)^2 is a multiple of the min-norm weights."""
    rows = []
    for one in g.numpy() / g.norm(dim=-1).amax().item():
        u, _ = nnls(np.vstack([one.T, np.ones(len(one))]), np.append(np.zeros(one.shape[1]), 1.0))
        rows.append(u / u.sum())
    return torch.from_numpy(np.array(rows))


def assert_optimal(gram: Tensor, alpha: Tensor, eps: float) -> None:
    """KKT: on the simplex, (K alpha)_i >= alpha^T K alpha, with equality where alpha_i > 0."""
    gram, alpha = gram.double(), alpha.double()
    m = alpha.shape[-1]
    assert (alpha >= 0).all()
    torch.testing.assert_close(alpha.sum(-1), torch.ones_like(alpha.sum(-1)), rtol=0, atol=4 * m * eps)
    norms = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    slack = (gram @ alpha.unsqueeze(-1)).squeeze(-1) - value(gram, alpha).unsqueeze(-1)
    size = (alpha * norms).sum(-1, keepdim=True)
    tolerance = 16 * m * eps * size * (size + norms)
    assert (slack >= -tolerance).all()
    assert (alpha * slack <= 16 * m * eps * size * (size + alpha * norms)).all()


# Weights against other solvers


def test_weights_equal_those_of_nnls_on_the_gradients_themselves() -> None:
    problems = 0
    for shape, g, gram, alpha in batches(60):
        if shape == "wide":  # beyond the solver with which this compares; see the exact twin
            continue
        expected = reference_by_nnls(g)
        difference = value(gram, alpha) - value(gram, expected)
        assert (difference.abs() <= 1e-12 * gram.diagonal(dim1=1, dim2=2).amax(1)).all()
        if shape in ("full rank", "one-sided"):  # linearly independent gradients: the optimum is unique
            torch.testing.assert_close(alpha, expected, rtol=0, atol=1e-6)
        problems += len(g)
    assert problems == 60 * 7 * 6


@pytest.mark.parametrize("wide", [False, True])
def test_weights_equal_exact_rational_arithmetic(wide: bool) -> None:
    """Small integers times powers of two have an exact Gram matrix; many of these gradients are parallel or equal."""
    generator = torch.Generator().manual_seed(1)
    unique = 0
    for m, dimensions, _ in itertools.product((2, 3, 4), (1, 2, 4), range(12)):
        g = torch.randint(-3, 4, (m, dimensions), generator=generator).double()
        if wide:
            g *= 2.0 ** torch.randint(-20, 21, (m, 1), generator=generator)
        gram = gram_matrix(g)
        best, vertices = twins.min_norm_vertices(gram.tolist())
        alpha = min_norm_weights(gram)
        exact = [Fraction(a) for a in alpha.tolist()]
        achieved = sum(
            a * b * Fraction(gram[i, j].item()) for i, a in enumerate(exact) for j, b in enumerate(exact)
        ) / (sum(exact) ** 2)
        assert best <= achieved <= best + Fraction(1e-13 * rounding_scale(gram, alpha).item())
        if len(vertices) == 1:
            unique += 1
            expected = torch.tensor([float(weight) for weight in vertices[0]], dtype=torch.float64)
            torch.testing.assert_close(alpha, expected, rtol=1e-9, atol=1e-13)
    assert unique >= 50


@pytest.mark.parametrize("m", range(2, 9))
def test_weights_equal_those_of_a_quadratic_programme(m: int) -> None:
    size = m + 3
    g = cvxpy.Parameter((m, size))
    alpha = cvxpy.Variable(m, nonneg=True)
    length = cvxpy.sum_squares(g.T @ alpha)  # type: ignore[attr-defined]  # cvxpy imports it by *
    programme = cvxpy.Problem(cvxpy.Minimize(length), [cvxpy.sum(alpha) == 1])  # type: ignore[attr-defined]  # as above
    generator = torch.Generator().manual_seed(m)
    for i, offset in itertools.product(range(25), (0.0, 1.0)):
        gradients = offset + torch.randn(m, size, generator=generator, dtype=torch.float64)
        if i % 5 == 0:
            gradients[-1] = gradients[0]  # not unique
        g.value = gradients.numpy()
        programme.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13)
        gram = gram_matrix(gradients)
        weights, expected = min_norm_weights(gram), torch.from_numpy(np.asarray(alpha.value))
        assert value(gram, weights).item() == pytest.approx(value(gram, expected).item(), abs=1e-8)
        if i % 5 == 0:
            torch.testing.assert_close(weights @ gradients, expected @ gradients, rtol=0, atol=1e-6)
        else:
            torch.testing.assert_close(weights, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("m", range(2, 7))
def test_torchjd_is_as_far_from_the_weights_as_its_own_certificate_allows(m: int) -> None:
    """Its Frank-Wolfe steps converge sublinearly, so few runs get to 1e-6; the gap says how far each one may be off.

    With v(a) = a^T K a and the gap v(a) - min_i (K a)_i, convexity gives v(a) - v(a*) <= 2 gap, and
    (a - a*)^T K (a - a*) <= v(a) - v(a*), hence |a - a*|^2 <= 2 gap / least eigenvalue of K.
    """
    generator = torch.Generator().manual_seed(m)
    weighting = MGDAWeighting(epsilon=1e-12, max_iters=300)
    for _ in range(12):
        gradients = torch.randn(m, m + 4, generator=generator, dtype=torch.float64)
        gram = gram_matrix(gradients)
        ours, theirs = min_norm_weights(gram), weighting(gram)
        gap = (value(gram, theirs) - (gram @ theirs).min()).item()
        excess = (value(gram, theirs) - value(gram, ours)).item()
        assert -1e-13 <= excess <= 2 * max(gap, 0) + 1e-13
        radius = (2 * max(gap, 0) / torch.linalg.eigvalsh(gram)[0].item()) ** 0.5
        assert (ours - theirs).norm().item() <= radius + 1e-7
        if m == 2:  # one exact line search: the optimum
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
        aggregated = MGDA(epsilon=1e-12, max_iters=300)(gradients)
        assert (ours @ gradients - aggregated).norm().item() <= (2 * max(gap, 0)) ** 0.5 + 1e-7


# Optimality conditions


def test_weights_satisfy_the_optimality_conditions_at_any_norm_and_rank() -> None:
    for _, _, gram, alpha in batches(40):
        assert_optimal(gram, alpha, torch.finfo(torch.float64).eps)


def test_float32_weights_are_float32_and_optimal_to_its_precision() -> None:
    generator = torch.Generator().manual_seed(3)
    for m, shape in itertools.product((1, 2, 3, 6), SHAPES):
        g = gradients_like(shape, 40, m, generator).float()
        gram = g @ g.mT
        alpha = torch.func.vmap(min_norm_weights)(gram)
        assert alpha.dtype == torch.float32
        assert_optimal(gram, alpha, torch.finfo(torch.float32).eps)


def test_a_gradient_dropped_too_soon_comes_back() -> None:
    """Dependent gradients on one side of the origin take several rounds of dropping."""
    generator = torch.Generator().manual_seed(4)
    g = 1 + torch.randn(1000, 8, 4, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 2.0, 5.0, 10.0])
    gram = g @ g.mT
    assert_optimal(gram, torch.func.vmap(min_norm_weights)(gram), torch.finfo(torch.float64).eps)


@pytest.mark.parametrize("m", [12, 30])
def test_many_gradients_are_no_harder(m: int) -> None:
    generator = torch.Generator().manual_seed(m)
    for size in (3, m, 4 * m):
        g = torch.randn(20, m, size, generator=generator, dtype=torch.float64)
        gram = g @ g.mT
        assert_optimal(gram, torch.func.vmap(min_norm_weights)(gram), torch.finfo(torch.float64).eps)


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [
        ([[3.0, 4.0]], [1.0]),
        ([[0.0, 0.0]], [1.0]),
        ([[1.0, 2.0], [1.0, 2.0]], [0.5, 0.5]),
        ([[0.0, 0.0], [0.0, 0.0]], [0.5, 0.5]),
        ([[0.0, 0.0], [1.0, 2.0]], [1.0, 0.0]),
        ([[1.0, 0.0], [-3.0, 0.0]], [0.75, 0.25]),
        ([[1.0, 0.0], [2.0, 0.0]], [1.0, 0.0]),
        ([[1e6, 0.0], [0.0, 1e-6]], [1e-24, 1.0]),
        ([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]], [0.8, 0.2, 0.0]),
        ([[1.0, 5.0], [0.0, 0.0], [0.0, 0.0]], [0.0, 0.5, 0.5]),
        ([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], [1 / 3, 1 / 3, 1 / 3]),
        ([[1e6, 0.0], [-1e6, 0.0], [0.0, 1e-6]], [0.5, 0.5, 0.0]),
    ],
)
def test_special_cases(gradients: list[list[float]], expected: list[float]) -> None:
    weights = min_norm_weights(gram_matrix(torch.tensor(gradients, dtype=torch.float64)))
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=1e-30)


@pytest.mark.parametrize("m", [1, 2, 3, 5])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_shows_in_the_weights(m: int, bad: float) -> None:
    gradients = torch.ones(m, 4)
    gradients[-1, 0] = bad
    assert min_norm_weights(gram_matrix(gradients)).isnan().all()


@pytest.mark.parametrize("m", [1, 2, 4])
def test_no_value_is_read_by_the_host(m: int) -> None:
    """The meta device has shapes and no values: whatever would need one raises."""
    gram, losses = torch.empty(m, m, device="meta"), torch.empty(m, device="meta")
    assert min_norm_weights(gram).device.type == "meta"
    for kind in NORMALISATIONS:
        assert common_descent_weights(losses, gram, kind).shape == (m,)
    with pytest.raises((RuntimeError, NotImplementedError)):
        gram.sum().item()


# Common descent


@st.composite
def situations(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Losses and gradients: small integers, so often parallel, equal or zero, times very different scales."""
    m, size = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    entries = st.lists(st.integers(-3, 3), min_size=size, max_size=size)
    scale = st.sampled_from([1e-6, 1e-2, 1.0, 30.0, 1e6])
    rows = [[draw(scale) * entry for entry in draw(entries)] for _ in range(m)]
    losses = [draw(st.sampled_from([0.0, 1e-9, 0.3, 2.0, 1e5, -1.5])) for _ in range(m)]
    return torch.tensor(losses, dtype=torch.float64), torch.tensor(rows, dtype=torch.float64)


@PROPERTY
@given(situations(), st.sampled_from(NORMALISATIONS))
def test_the_direction_increases_no_loss_to_first_order(situation: tuple[Tensor, Tensor], kind: str) -> None:
    losses, gradients = situation
    gram = gram_matrix(gradients)
    weights = common_descent_weights(losses, gram, kind)
    assert (weights >= 0).all()
    assert weights.sum().item() == pytest.approx(1, abs=1e-12)
    slope = gram @ weights
    size = (weights * gram.diagonal().sqrt()).sum()
    assert (slope >= -1e-12 * size * gram.diagonal().sqrt()).all()


@pytest.mark.parametrize("longest", [30.0, 1e6])
def test_losses_of_zero_and_opposite_gradients_still_give_a_descent_direction(longest: float) -> None:
    rows = [[0, 0, -1e-6], [0, 0, -1e-6], [0, 1e-6, 0], [0, 0, -1e-6], [0, -longest, 1e-6]]
    gram = gram_matrix(torch.tensor(rows, dtype=torch.float64))
    for kind in ("loss", "loss+"):
        weights = common_descent_weights(torch.tensor([0, 0, 0, 1e-9, 0], dtype=torch.float64), gram, kind)
        assert weights.sum().item() == pytest.approx(1)
        lengths = gram.diagonal().sqrt()
        assert (gram @ weights >= -1e-12 * (weights @ lengths) * lengths).all()


def test_without_conflict_every_loss_decreases_where_equal_weights_let_one_increase() -> None:
    gradients = torch.tensor([[10.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    gram = gram_matrix(gradients)
    assert (gram.sum(1) < 0).any()
    for kind in NORMALISATIONS:
        weights = common_descent_weights(torch.tensor([1.0, 0.2, 3.0]), gram, kind)
        assert (gram @ weights > 1e-4).all()


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_the_direction_is_a_multiple_of_the_min_norm_point_of_the_normalised_gradients(kind: str) -> None:
    generator = torch.Generator().manual_seed(5)
    for m in (2, 3, 5):
        gradients = torch.randn(m, 9, generator=generator, dtype=torch.float64)
        losses = torch.rand(m, generator=generator, dtype=torch.float64) + 0.1
        norms = gradients.norm(dim=1)
        factors = {"none": torch.ones(m).double(), "l2": norms, "loss": losses, "loss+": losses * norms}[kind]
        gram = gram_matrix(gradients)
        torch.testing.assert_close(normalisation_factors(losses, gram, kind), factors, rtol=1e-12, atol=0)
        normalised = gradients / factors.unsqueeze(1)
        point = reference_by_nnls(normalised.unsqueeze(0))[0] @ normalised
        direction = common_descent_weights(losses, gram, kind) @ gradients
        torch.testing.assert_close(direction / direction.norm(), point / point.norm(), rtol=0, atol=1e-9)


def test_a_negative_loss_counts_by_its_magnitude() -> None:
    losses, gram = torch.tensor([-2.0, 3.0]), torch.tensor([[4.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(normalisation_factors(losses, gram, "loss"), torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(normalisation_factors(losses, gram, "loss+"), torch.tensor([4.0, 3.0]))


@pytest.mark.parametrize("kind", NORMALISATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_zero_never_divides(kind: str, dtype: torch.dtype) -> None:
    losses = torch.tensor([0.0, 2.0, 0.0, 1e-30], dtype=dtype)
    gradients = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0], [1.0, 1.0]], dtype=dtype)
    gram = gram_matrix(gradients)
    assert (normalisation_factors(losses, gram, kind) > 0).all()
    expected = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=dtype)  # nothing is shorter than a zero gradient
    torch.testing.assert_close(common_descent_weights(losses, gram, kind), expected)
    rest = common_descent_weights(losses[1:], gram[1:, 1:], kind)
    assert rest.isfinite().all() and rest.sum().item() == pytest.approx(1)
    assert common_descent_weights(losses[:1], gram[:1, :1], kind).item() == 1


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_the_order_of_the_gradients_does_not_matter(kind: str) -> None:
    generator = torch.Generator().manual_seed(6)
    for m in (2, 3, 6):
        gradients = torch.randn(m, 10, generator=generator, dtype=torch.float64)
        losses = torch.rand(m, generator=generator, dtype=torch.float64) + 0.1
        order = torch.randperm(m, generator=generator)
        weights = common_descent_weights(losses, gram_matrix(gradients), kind)
        permuted = common_descent_weights(losses[order], gram_matrix(gradients[order]), kind)
        torch.testing.assert_close(permuted, weights[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_l2_ignores_the_scale_of_each_gradient_and_loss_plus_that_of_each_objective(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(7)
    gradients = torch.randn(4, 10, generator=generator, dtype=torch.float64).to(dtype)
    losses = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=dtype)
    scale = torch.tensor([1e-6, 3.0, 1e6, 0.2], dtype=dtype)
    scaled = gradients * scale.unsqueeze(1)

    def direction(losses: Tensor, gradients: Tensor, kind: str) -> Tensor:
        point = common_descent_weights(losses, gram_matrix(gradients), kind) @ gradients
        return torch.nn.functional.normalize(point, dim=0)

    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    expected = direction(losses, gradients, "l2")
    torch.testing.assert_close(direction(losses, scaled, "l2"), expected, rtol=0, atol=tolerance)
    expected = direction(losses, gradients, "loss")
    torch.testing.assert_close(direction(losses * scale, scaled, "loss"), expected, rtol=0, atol=tolerance)
    assert not torch.allclose(direction(losses, scaled, "none"), direction(losses, gradients, "none"), atol=1e-2)


def test_weights_do_not_change_with_a_common_factor() -> None:
    gram = gram_matrix(torch.randn(5, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64))
    for factor in (1e-200, 1e-30, 1e30, 1e200):
        torch.testing.assert_close(min_norm_weights(gram * factor), min_norm_weights(gram), rtol=0, atol=1e-12)


# What is refused


@pytest.mark.parametrize("shape", [(2, 3), (3,), (0, 0), (2, 2, 2)])
def test_a_gram_matrix_that_is_not_square_is_refused(shape: tuple[int, ...]) -> None:
    message = rf"gram has shape \({', '.join(map(str, shape))},?\); allowed: \(m, m\) with m >= 1"
    with pytest.raises(ValueError, match=message):
        min_norm_weights(torch.ones(shape))
    with pytest.raises(ValueError, match=message):
        common_descent_weights(torch.ones(2), torch.ones(shape), "l2")


def test_gradients_that_are_not_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gradients has shape \(3,\); allowed: \(m, P\) with m >= 1"):
        gram_matrix(torch.ones(3))


@pytest.mark.parametrize("function", [normalisation_factors, common_descent_weights])
def test_an_unknown_kind_and_losses_that_do_not_fit_are_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match=r"kind is 'l1'; allowed: none, l2, loss, loss\+"):
        function(torch.ones(2), torch.eye(2), "l1")
    with pytest.raises(ValueError, match=r"losses has shape \(3,\); allowed: \(2,\), one a row of gram"):
        function(torch.ones(3), torch.eye(2), "loss")
