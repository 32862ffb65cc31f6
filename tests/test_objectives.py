"""Chebyshev terms, augmented Lagrangian, OWL and GrOWL against their definitions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from torch import Tensor

from src.models.registry import Architecture
from src.utils.objectives.augmented_lagrangian import (
    augmented_lagrangian,
    multipliers,
    optimal_t,
    optimal_weights,
    project_simplex,
    simplex_threshold,
)
from src.utils.objectives.chebyshev import chebyshev_terms, chebyshev_value
from src.utils.objectives.growl import growl_prox, growl_sum, growl_value
from src.utils.objectives.owl import WEIGHT_TYPES, leading_weights, owl_prox, owl_value, owl_weights
from src.utils.objectives.running_mean import RunningMean
from src.utils.sparsity.rows import to_rows
from tests import twins

PROPERTY = settings(max_examples=80, deadline=None)


def vec(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def numbers(size: int, low: float = -50.0, high: float = 50.0) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high), min_size=size, max_size=size)


# Chebyshev


@st.composite
def objectives(draw: st.DrawFn) -> tuple[list[float], list[float], list[float], float]:
    n = draw(st.integers(1, 6))
    return draw(numbers(n)), draw(numbers(n, 0.0, 1.0)), draw(numbers(n)), draw(st.floats(0, 1))


@PROPERTY
@given(objectives())
def test_chebyshev_terms_and_value_equal_the_formula(
    case: tuple[list[float], list[float], list[float], float],
) -> None:
    f, k, a, epsilon = case
    expected = twins.chebyshev_terms(f, k, a, epsilon)
    arguments = vec(k), vec(a), epsilon
    torch.testing.assert_close(chebyshev_terms(vec(f), *arguments), vec(expected), rtol=1e-12, atol=1e-11)
    assert chebyshev_value(vec(f), *arguments).item() == pytest.approx(max(expected), rel=1e-12, abs=1e-11)


def test_a_reference_point_reached_gives_zero_terms_and_preference_zero_gives_a_zero_term() -> None:
    f, k = vec([0.3, 2.0, 1.0]), vec([0.0, 0.4, 0.6])
    assert torch.equal(chebyshev_terms(f, k, f, 0.5), torch.zeros(3, dtype=torch.float64))
    assert chebyshev_terms(f, k, torch.zeros(3, dtype=torch.float64), 0.5)[0] == 0


def test_epsilon_couples_the_gradients_of_all_objectives() -> None:
    """d c_i / d f_j = k_i * ([i = j] + epsilon)."""
    f, k, a = vec([1.0, 2.0, 3.0]), vec([0.1, 0.3, 0.6]), vec([0.0, 0.1, 0.2])
    jacobian = torch.autograd.functional.jacobian(lambda value: chebyshev_terms(value, k, a, 0.25), f)
    expected = k.unsqueeze(1) * (torch.eye(3, dtype=torch.float64) + 0.25)
    torch.testing.assert_close(jacobian, expected)


# Augmented Lagrangian


@dataclass(frozen=True)
class Problem:
    c: Tensor
    lam: Tensor
    mu: float


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    n = draw(st.integers(1, 6))
    mu = draw(st.sampled_from([2.5e-8, 1e-3, 0.1, 1.0, 10.0, 1e3]))
    return Problem(vec(draw(numbers(n, -10, 10))), vec(draw(numbers(n, 0, 3))), mu)


@PROPERTY
@given(problems(), st.floats(-10, 10))
def test_augmented_lagrangian_equals_the_formula(problem: Problem, t: float) -> None:
    g = problem.c - t
    value = augmented_lagrangian(vec([t])[0], g, problem.lam, problem.mu)
    expected = twins.augmented_lagrangian(t, g.tolist(), problem.lam.tolist(), problem.mu)
    scale = 1 + float(problem.lam.square().sum() / problem.mu)  # squares of lambda cancel
    assert value.item() == pytest.approx(expected, rel=1e-10, abs=1e-13 * scale)


@PROPERTY
@given(problems(), st.floats(-10, 10))
def test_multipliers_are_never_negative_and_equal_the_update_rule(problem: Problem, t: float) -> None:
    g = problem.c - t
    updated = multipliers(g, problem.lam, problem.mu)
    expected = [max(0.0, lam + problem.mu * g_i) for lam, g_i in zip(problem.lam.tolist(), g.tolist(), strict=True)]
    assert (updated >= 0).all()
    torch.testing.assert_close(updated, vec(expected), rtol=1e-12, atol=1e-12)


@PROPERTY
@given(problems(), st.integers(0, 2**31))
def test_gradient_of_the_augmented_lagrangian_is_the_multipliers_times_the_gradients_of_the_terms(
    problem: Problem, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = len(problem.c)
    mixing = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    parameters = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True)

    def terms(value: Tensor) -> Tensor:
        return problem.c + (mixing @ value).sin()

    t = vec([0.5])[0].requires_grad_()
    c = terms(parameters)
    augmented_lagrangian(t, c - t, problem.lam, problem.mu).backward()
    weights = multipliers((c - t).detach(), problem.lam, problem.mu)
    jacobian = torch.autograd.functional.jacobian(terms, parameters.detach())  # (n, 4)
    assert parameters.grad is not None and t.grad is not None
    torch.testing.assert_close(parameters.grad, weights @ jacobian, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(t.grad, 1 - weights.sum(), rtol=1e-9, atol=1e-9)


@PROPERTY
@given(problems(), st.floats(0.01, 10))
def test_slack_constraints_have_no_gradient(problem: Problem, margin: float) -> None:
    """A constraint below -lambda / mu is inactive; one above it pulls its objective down, never up."""
    limit = -problem.lam / problem.mu
    slack = (limit - margin).requires_grad_()
    augmented_lagrangian(vec([0.0])[0], slack, problem.lam, problem.mu).backward()
    assert slack.grad is not None
    assert torch.equal(slack.grad, torch.zeros_like(slack))
    active = (limit + margin).requires_grad_()
    augmented_lagrangian(vec([0.0])[0], active, problem.lam, problem.mu).backward()
    assert active.grad is not None
    assert (active.grad > 0).all()


# Simplex and the optimal t

VECTORS = st.lists(st.one_of(st.floats(-20, 20), st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=12)


@PROPERTY
@given(VECTORS)
def test_simplex_projection_equals_bisection(v: list[float]) -> None:
    torch.testing.assert_close(project_simplex(vec(v)), vec(twins.project_simplex(v)), rtol=0, atol=1e-12)


@PROPERTY
@given(VECTORS)
def test_simplex_projection_fulfils_its_optimality_conditions(v: list[float]) -> None:
    """x >= 0, sum 1, and x - v is -tau where x > 0 and at least -tau elsewhere."""
    x, tau = project_simplex(vec(v)), simplex_threshold(vec(v))
    assert (x >= 0).all()
    assert x.sum().item() == pytest.approx(1, abs=1e-12)
    gap = x - vec(v) + tau
    assert gap[x > 0].abs().max() <= 1e-12
    assert (gap >= -1e-12).all()


@PROPERTY
@given(VECTORS, st.integers(0, 2**31))
def test_no_other_point_of_the_simplex_is_nearer(v: list[float], seed: int) -> None:
    x = project_simplex(vec(v))
    others = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(len(v), 0.5), size=50))
    assert (((others - vec(v)) ** 2).sum(1) >= ((x - vec(v)) ** 2).sum() - 1e-9).all()


@PROPERTY
@given(st.integers(1, 12), st.integers(0, 2**31))
def test_a_point_of_the_simplex_is_its_own_projection(n: int, seed: int) -> None:
    point = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(n)))
    torch.testing.assert_close(project_simplex(point), point, rtol=0, atol=1e-14)


@PROPERTY
@given(problems())
def test_optimal_t_makes_the_derivative_of_the_augmented_lagrangian_zero(problem: Problem) -> None:
    t = optimal_t(problem.c, problem.lam, problem.mu).requires_grad_()
    augmented_lagrangian(t, problem.c - t, problem.lam, problem.mu).backward()
    assert t.grad is not None
    assert abs(t.grad.item()) <= 1e-9


@PROPERTY
@given(problems())
def test_weights_at_the_optimal_t_are_the_projection_onto_the_simplex(problem: Problem) -> None:
    t = optimal_t(problem.c, problem.lam, problem.mu)
    weights = multipliers(problem.c - t, problem.lam, problem.mu)
    assert weights.sum().item() == pytest.approx(1, abs=1e-9)
    projection = project_simplex(problem.lam + problem.mu * problem.c)
    torch.testing.assert_close(weights, projection, rtol=0, atol=1e-9)


@PROPERTY
@given(problems(), st.floats(-5, 5))
def test_no_other_t_has_a_smaller_augmented_lagrangian(problem: Problem, shift: float) -> None:
    t = optimal_t(problem.c, problem.lam, problem.mu)
    other = t + shift

    def value(level: Tensor) -> float:
        return augmented_lagrangian(level, problem.c - level, problem.lam, problem.mu).item()

    scale = 1 + float((problem.lam.sum() ** 2 + 1) / problem.mu)
    assert value(other) >= value(t) - 1e-12 * scale


@pytest.mark.parametrize("mu", [2.5e-8, 6.8e-8, 1.0, 2.0**12])
def test_weights_stay_on_the_simplex_in_single_precision(mu: float) -> None:
    c, lam = torch.tensor([0.3, 0.5, 0.4]), torch.full((3,), 1 / 3)
    weights = multipliers(c - optimal_t(c, lam, mu), lam, mu)
    assert weights.sum().item() == pytest.approx(1, abs=1e-3)
    expected = twins.project_simplex((lam.double() + mu * c.double()).tolist())
    torch.testing.assert_close(weights.double(), vec(expected), rtol=0, atol=1e-3)


def test_repeated_updates_with_the_optimal_t_converge_to_the_weighted_chebyshev_point_of_a_concave_front() -> None:
    """On the front f_2 = 1 - f_1^2 a weighted sum ends in a corner; the method ends where k_1 f_1 = k_2 f_2."""
    k, a = vec([0.5, 0.5]), vec([0.0, 0.0])
    x = vec([0.9])[0].requires_grad_()
    lam, mu = vec([0.5, 0.5]), 4.0
    for _ in range(40):
        for _ in range(30):
            c = chebyshev_terms(torch.stack([x, 1 - x**2]), k, a, 0.0)
            t = optimal_t(c.detach(), lam, mu)
            (slope,) = torch.autograd.grad(augmented_lagrangian(t, c - t, lam, mu), x)
            with torch.no_grad():
                x -= 0.2 * slope
        with torch.no_grad():
            c = chebyshev_terms(torch.stack([x, 1 - x**2]), k, a, 0.0)
            lam = multipliers(c - optimal_t(c, lam, mu), lam, mu)
    assert x.item() == pytest.approx((math.sqrt(5) - 1) / 2, abs=1e-4)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_simplex_projection_equals_a_quadratic_programme(n: int) -> None:
    rng = np.random.default_rng(n)
    v, x = cvxpy.Parameter(n), cvxpy.Variable(n, nonneg=True)
    distance = cvxpy.sum_squares(x - v)  # type: ignore[attr-defined]  # cvxpy imports it by *
    programme = cvxpy.Problem(cvxpy.Minimize(distance), [cvxpy.sum(x) == 1])  # type: ignore[attr-defined]  # as above
    for number in range(400):
        v.value = (rng.normal(size=n), rng.integers(-2, 3, n) / 2, 10 * rng.normal(size=n))[number % 3]
        programme.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
        found = project_simplex(vec(v.value.tolist()))
        assert x.value is not None
        np.testing.assert_allclose(found.numpy(), x.value, rtol=0, atol=1e-6)


@PROPERTY
@given(problems())
def test_optimal_weights_are_the_projection_and_the_multipliers_at_the_optimal_t(problem: Problem) -> None:
    weights = optimal_weights(problem.c, problem.lam, problem.mu)
    expected = twins.project_simplex((problem.lam + problem.mu * problem.c).tolist())
    torch.testing.assert_close(weights, vec(expected), rtol=0, atol=1e-9)
    at_t = multipliers(problem.c - optimal_t(problem.c, problem.lam, problem.mu), problem.lam, problem.mu)
    torch.testing.assert_close(weights, at_t, rtol=0, atol=1e-9)


@PROPERTY
@given(st.floats(0, 1e6), st.lists(st.floats(0, 1e-4), min_size=1, max_size=4), st.integers(0, 2**31))
def test_optimal_weights_have_float32_digits_whatever_the_size_of_the_terms(
    size: float, parts: list[float], seed: int
) -> None:
    """30 + 1e-4 times a mu of 1e4 leaves float32 three digits for multipliers of size 1."""
    c = torch.tensor([size + part for part in parts], dtype=torch.float32)
    lam = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(len(parts)))).float()
    found = optimal_weights(c, lam, 1e4)
    largest = max(c.tolist())
    expected = twins.project_simplex([x + 1e4 * (y - largest) for x, y in zip(lam.tolist(), c.tolist(), strict=True)])
    torch.testing.assert_close(found.double(), vec(expected), rtol=0, atol=3e-6)
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)


# The running mean


@PROPERTY
@given(st.integers(1, 3).flatmap(lambda n: st.lists(numbers(n, -10, 10), min_size=1, max_size=15)), st.floats(0, 0.99))
def test_running_mean_and_its_error_equal_their_definition(vectors: list[list[float]], beta: float) -> None:
    average = RunningMean(len(vectors[0]), torch.device("cpu")).double()
    for vector in vectors:
        average.update(vec(vector), beta)
    mean, error = twins.running_mean(vectors, beta)
    torch.testing.assert_close(average.mean, vec(mean), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(average.error, vec(error), rtol=1e-6, atol=1e-6)


def test_running_mean_of_equal_vectors_has_no_error_and_without_averaging_it_is_the_last_one() -> None:
    average = RunningMean(2, torch.device("cpu"))
    for _ in range(50):
        average.update(torch.tensor([1.5, -2.0]), 0.9)
    assert average.mean.tolist() == [1.5, -2.0]
    assert average.error.tolist() == [0.0, 0.0]
    last = RunningMean(2, torch.device("cpu"))
    for number in range(4):
        last.update(torch.tensor([1.0, 2.0]) * number, 0.0)
    assert last.mean.tolist() == [3.0, 6.0]
    last.reset()
    assert last.count == 0


@pytest.mark.parametrize("beta", [0.9, 0.98])
def test_the_error_is_that_of_the_mean_of_noise_and_a_slow_change_counts_little(beta: float) -> None:
    """Independent noise of variance 1 leaves (1 - beta) / (1 + beta) in the mean."""
    average = RunningMean(2000, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for step in range(1000):
        average.update(torch.randn(2000, generator=generator) - 0.1 * step, beta)
    variance = float(average.mean.var())
    assert variance == pytest.approx((1 - beta) / (1 + beta), rel=0.1)
    assert float(average.error.square().mean()) == pytest.approx(variance, rel=0.1)


# OWL weights


BETAS = st.floats(0, 2)


@PROPERTY
@given(st.integers(1, 25), st.sampled_from(WEIGHT_TYPES), BETAS, BETAS)
def test_owl_weights_equal_the_formulas_and_never_increase(
    n: int, weight_type: str, beta1: float, beta2: float
) -> None:
    theta = owl_weights(n, weight_type, beta1, beta2)
    assert theta.shape == (n,)
    expected = vec(twins.owl_weights(n, weight_type, beta1, beta2))
    torch.testing.assert_close(theta.double(), expected, rtol=1e-6, atol=1e-6)
    assert (theta >= 0).all()
    assert (theta[:-1] >= theta[1:]).all()


@pytest.mark.parametrize(
    ("weight_type", "beta1", "beta2"),
    [("oscar", 0.8, 0.2), ("dejiao", 0.8, 0.2), ("spike", -0.1, 0.2), ("linear", 0.8, -1.0)],
)
def test_owl_weights_refuse_unknown_types_and_negative_coefficients(
    weight_type: str, beta1: float, beta2: float
) -> None:
    with pytest.raises(ValueError, match="allowed"):
        owl_weights(4, weight_type, beta1, beta2)


def test_owl_weights_refuse_coefficients_that_are_not_numbers() -> None:
    """NaN is neither non-negative nor does it give a non-increasing sequence."""
    with pytest.raises(ValueError, match="allowed"):
        owl_weights(4, "spike", math.nan, 0.2)


# OWL value and proximal operator


@dataclass(frozen=True)
class OwlCase:
    x: list[float]
    theta: list[float]
    step: float


ENTRIES = st.one_of(st.floats(-3, 3), st.sampled_from([0.0, 1.0, -1.0, 0.7, -0.7, 1e8, -1e8, 1e8 + 0.5]))


@st.composite
def owl_cases(draw: st.DrawFn, max_size: int = 6) -> OwlCase:
    """Few different entries, so that ties are common; every type of weights; zero weights and step 0 included."""
    n = draw(st.integers(1, max_size))
    x = draw(st.lists(ENTRIES, min_size=n, max_size=n))
    theta = twins.owl_weights(n, draw(st.sampled_from(WEIGHT_TYPES)), draw(st.floats(0, 1)), draw(st.floats(0, 1)))
    return OwlCase(x, theta, draw(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 3))))


def prox_of(case: OwlCase) -> Tensor:
    return owl_prox(vec(case.x), vec(case.theta), case.step)


@PROPERTY
@given(owl_cases())
def test_owl_value_is_the_maximum_over_all_pairings(case: OwlCase) -> None:
    value = owl_value(vec(case.x), vec(case.theta)).item()
    assert value == pytest.approx(twins.owl_value(case.x, case.theta), rel=1e-12, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(10, 50), st.integers(1, 5), st.floats(0.1, 1), st.floats(0, 1), st.integers(0, 2**31))
def test_owl_value_by_its_few_leading_weights_is_that_of_all(
    n: int, few: int, first: float, rest: float, seed: int
) -> None:
    x = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
    steps = torch.arange(few, 0, -1, dtype=torch.float64)
    theta = torch.full((n,), rest, dtype=torch.float64)
    theta[:few] += first * steps
    assert leading_weights(theta) == few
    value, expected = owl_value(x, theta, few), owl_value(x, theta)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, x), torch.autograd.grad(expected, x))


def test_leading_weights_of_each_type() -> None:
    assert [leading_weights(owl_weights(20, kind, 0.8, 0.2)) for kind in ("spike", "linear", "Dejiao")] == [1, 19, 10]
    assert leading_weights(owl_weights(20, "spike", 0.0, 0.2)) == 0
    assert leading_weights(torch.zeros(0)) == 0


@settings(max_examples=300, deadline=None)
@given(owl_cases())
def test_owl_prox_equals_the_exact_solution(case: OwlCase) -> None:
    expected = vec(twins.owl_prox(case.x, case.theta, case.step))
    torch.testing.assert_close(prox_of(case), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
def test_owl_prox_equals_a_quadratic_programme_on_thousands_of_inputs(weight_type: str) -> None:
    """With z the sorted magnitudes less the weights: min |v - z|^2 over v_1 >= ... >= v_n >= 0.

    With u >= 0 the differences, v = L u, L of ones from the diagonal on: a least-squares problem with bounds.
    """
    rng = np.random.default_rng(11)
    for number in range(1500):
        n = int(rng.integers(1, 13))
        x = (rng.normal(size=n), rng.integers(-2, 3, n) / 2, 10.0 ** rng.integers(-3, 7, n))[number % 3]
        step, beta1, beta2 = rng.uniform(0, 2, 3)
        theta = np.array(twins.owl_weights(n, weight_type, beta1, beta2))
        order = np.argsort(-np.abs(x))
        z = np.abs(x)[order] - step * theta
        u = lsq_linear(np.triu(np.ones((n, n))), z, (0, np.inf), method="bvls", tol=1e-14).x
        expected = np.empty(n)
        expected[order] = u[::-1].cumsum()[::-1]
        found = owl_prox(vec(x.tolist()), vec(theta.tolist()), step).numpy()
        np.testing.assert_allclose(found, expected * np.sign(x), rtol=1e-9, atol=1e-9 * np.abs(x).max())


@PROPERTY
@given(owl_cases())
def test_owl_prox_is_exact_in_single_precision(case: OwlCase) -> None:
    x, theta = vec(case.x).float(), vec(case.theta).float()
    found = owl_prox(x, theta, case.step)
    expected = twins.owl_prox(x.double().tolist(), theta.double().tolist(), case.step)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), vec(expected), rtol=1e-6, atol=1e-6)


def test_owl_prox_of_spike_weights_ties_norms_below_one() -> None:
    """The case in which the reference zeroes the largest entry."""
    found = owl_prox(vec([0.9, 0.8, 0.7]), vec([1.0, 0.2, 0.2]))
    torch.testing.assert_close(found, torch.full((3,), 1 / 3, dtype=torch.float64))


@PROPERTY
@given(st.lists(ENTRIES, min_size=1, max_size=30), st.floats(0, 2), st.floats(0, 2))
def test_equal_weights_give_the_soft_threshold(x: list[float], weight: float, step: float) -> None:
    expected = [math.copysign(max(abs(x_i) - step * weight, 0.0), x_i) for x_i in x]
    found = owl_prox(vec(x), torch.full((len(x),), weight, dtype=torch.float64), step)
    torch.testing.assert_close(found, vec(expected), rtol=1e-12, atol=1e-12)


@PROPERTY
@given(st.lists(ENTRIES, min_size=1, max_size=20))
def test_step_zero_and_zero_weights_change_nothing(x: list[float]) -> None:
    theta = vec(twins.owl_weights(len(x), "spike", 0.8, 0.2))
    torch.testing.assert_close(owl_prox(vec(x), theta, 0.0), vec(x), rtol=1e-14, atol=0)
    torch.testing.assert_close(owl_prox(vec(x), torch.zeros_like(theta)), vec(x), rtol=1e-14, atol=0)
    assert torch.equal(owl_prox(vec(x).float(), theta, 0.0), vec(x).float())


@PROPERTY
@given(owl_cases(max_size=30))
def test_moreau_identity_holds(case: OwlCase) -> None:
    """x - prox(x) lies in the dual ball of radius step and touches it in the direction of prox(x).

    The dual ball of OWL: for every r, the r largest magnitudes sum to at most theta_1 + ... + theta_r. Both together
    are the optimality condition of the prox, x - v in step * subdifferential(v), so they hold for no other point.
    """
    x, theta = vec(case.x).clamp(-10, 10), vec(case.theta)
    prox = owl_prox(x, theta, case.step)
    rest = x - prox
    excess = rest.abs().sort(descending=True).values.cumsum(0) - case.step * theta.cumsum(0)
    assert excess.max() <= 1e-12
    assert (rest * prox).sum().item() == pytest.approx(case.step * owl_value(prox, theta).item(), abs=1e-11)


@PROPERTY
@given(owl_cases(max_size=20), st.integers(0, 2**31))
def test_owl_prox_beats_random_perturbations(case: OwlCase, seed: int) -> None:
    """The objective is strongly convex: a point at distance r is worse by at least r^2 / 2."""
    x, theta = vec(case.x).clamp(-10, 10), vec(case.theta)
    prox = owl_prox(x, theta, case.step)

    def objective(v: Tensor) -> float:
        return (0.5 * (v - x).square().sum() + case.step * owl_value(v, theta)).item()

    generator = torch.Generator().manual_seed(seed)
    for scale in (1e-3, 1e-1, 1.0, 10.0):
        shift = scale * torch.randn(len(x), generator=generator, dtype=torch.float64)
        gain = objective(prox + shift) - objective(prox)
        assert gain >= 0.5 * shift.square().sum().item() - 1e-9


@PROPERTY
@given(st.data())
def test_owl_prox_is_firmly_non_expansive(data: st.DataObject) -> None:
    case = data.draw(owl_cases(max_size=20))
    x = vec(case.x).clamp(-10, 10)
    y = vec(data.draw(numbers(len(x), -5, 5)))
    difference = owl_prox(x, vec(case.theta), case.step) - owl_prox(y, vec(case.theta), case.step)
    assert (difference * (x - y)).sum() >= difference.square().sum() - 1e-10


@PROPERTY
@given(owl_cases(max_size=20), st.randoms(use_true_random=False))
def test_owl_prox_commutes_with_permutations_and_sign_flips(case: OwlCase, random: Random) -> None:
    n = len(case.x)
    permutation = list(range(n))
    random.shuffle(permutation)
    signs = vec([random.choice([-1.0, 1.0]) for _ in range(n)])
    moved = owl_prox((signs * vec(case.x))[permutation], vec(case.theta), case.step)
    torch.testing.assert_close(moved, (signs * prox_of(case))[permutation], rtol=1e-13, atol=1e-15)


@PROPERTY
@given(owl_cases(max_size=20))
def test_owl_prox_keeps_order_and_signs_grows_no_entry_and_leaves_its_argument_alone(case: OwlCase) -> None:
    x = vec(case.x)
    prox = owl_prox(x, vec(case.theta), case.step)
    assert torch.equal(x, vec(case.x))
    assert (prox * x >= 0).all()
    order = x.abs().argsort(descending=True)
    sizes = prox.abs()[order]
    assert (sizes[:-1] * (1 + 1e-14) >= sizes[1:]).all()
    assert (sizes <= x.abs()[order] * (1 + 1e-14)).all()


# GrOWL


@dataclass(frozen=True)
class GrowlCase:
    rows: Tensor
    theta: Tensor
    step: float


@st.composite
def growl_cases(draw: st.DrawFn) -> GrowlCase:
    """Rows of different norms, some of them zero and some equal, with norms about the size of the weights."""
    n, d = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(draw(st.integers(0, 2**31))), dtype=torch.float64)
    rows *= vec(draw(st.lists(st.sampled_from([0.0, 0.3, 1.0, 30.0, 1e8]), min_size=n, max_size=n))).unsqueeze(1)
    if n > 1 and draw(st.booleans()):
        rows[0] = rows[-1]
    theta = twins.owl_weights(n, draw(st.sampled_from(WEIGHT_TYPES)), draw(st.floats(0, 1)), draw(st.floats(0, 1)))
    return GrowlCase(rows, vec(theta), draw(st.floats(0, 2)))


@PROPERTY
@given(growl_cases())
def test_growl_value_gives_the_largest_weight_to_the_largest_row(case: GrowlCase) -> None:
    norms = [math.sqrt(math.fsum(entry**2 for entry in row)) for row in case.rows.tolist()]
    expected = twins.owl_value(norms, case.theta.tolist())
    assert growl_value(case.rows, case.theta).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.sampled_from(WEIGHT_TYPES), st.integers(0, 2**31))
def test_gradient_of_the_growl_value_equals_finite_differences(n: int, d: int, weight_type: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=generator, dtype=torch.float64)
    sizes = 1 + 0.5 * torch.randperm(n, generator=generator, dtype=torch.float64)  # far from a change of order
    rows = (rows / rows.norm(dim=1, keepdim=True) * sizes.unsqueeze(1)).requires_grad_()
    theta = vec(twins.owl_weights(n, weight_type, 0.8, 0.2))
    assert torch.autograd.gradcheck(lambda value: growl_value(value, theta), (rows,))


def test_growl_value_has_gradient_zero_at_a_zero_row_and_none_is_nan() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    growl_value(rows, vec([1.0, 0.2])).backward()
    assert rows.grad is not None
    torch.testing.assert_close(rows.grad, torch.tensor([[0.6, 0.8], [0.0, 0.0]], dtype=torch.float64))


def test_sum_over_matrices_has_the_values_and_gradients_of_each() -> None:
    generator = torch.Generator().manual_seed(3)
    matrices = [torch.randn(n, 4, generator=generator, dtype=torch.float64).requires_grad_() for n in (30, 1, 12)]
    thetas = [
        owl_weights(len(rows), kind, 0.8, 0.2).double() for rows, kind in zip(matrices, WEIGHT_TYPES, strict=True)
    ]
    total = growl_sum(matrices, thetas, [leading_weights(theta) for theta in thetas])
    values = [growl_value(rows, theta) for rows, theta in zip(matrices, thetas, strict=True)]
    assert total.item() == pytest.approx(sum(value.item() for value in values), rel=1e-12)
    found = torch.autograd.grad(3 * total, matrices)
    for rows, value, gradient in zip(matrices, values, found, strict=True):
        torch.testing.assert_close(gradient, 3 * torch.autograd.grad(value, rows)[0])


def test_growl_value_sends_a_gradient_to_every_row_of_every_sparse_layer() -> None:
    model = Architecture("MDMTN", "MultiMnist", (10, 10)).build()
    layers = model.growl_layers(skip_layer=1)
    for layer in layers.values():
        growl_value(to_rows(layer.weight), owl_weights(layer.weight.shape[1], "spike", 0.8, 0.2)).backward()
    assert len(layers) == 4
    for name, layer in layers.items():
        assert layer.weight.grad is not None, name
        assert (to_rows(layer.weight.grad).norm(dim=1) > 0).all(), name


@PROPERTY
@given(growl_cases())
def test_growl_prox_keeps_directions_and_shrinks_the_norms_exactly(case: GrowlCase) -> None:
    prox = growl_prox(case.rows, case.theta, case.step)
    norms = case.rows.norm(dim=1)
    shrunk = vec(twins.owl_prox(norms.tolist(), case.theta.tolist(), case.step))
    torch.testing.assert_close(prox.norm(dim=1), shrunk, rtol=1e-12, atol=1e-12)
    directions = case.rows / torch.where(norms > 0, norms, 1.0).unsqueeze(1)
    torch.testing.assert_close(prox, directions * shrunk.unsqueeze(1), rtol=1e-12, atol=1e-12)


@PROPERTY
@given(growl_cases())
def test_growl_prox_gives_rows_that_are_exactly_zero(case: GrowlCase) -> None:
    """To the bit, and exactly the rows whose norm the exact operator makes zero."""
    prox = growl_prox(case.rows, case.theta, case.step)
    shrunk = twins.owl_prox(case.rows.norm(dim=1).tolist(), case.theta.tolist(), case.step)
    for row, norm in zip(prox, shrunk, strict=True):
        if norm == 0:
            assert torch.equal(row, torch.zeros_like(row))
        elif norm > 1e-12:
            assert row.norm() > 0
    assert prox.isfinite().all()


@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_growl_prox_equals_a_convex_programme(weight_type: str, seed: int) -> None:
    rows = 0.7 * torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows[2] = 0
    rows[3] = -rows[1]
    theta = twins.owl_weights(5, weight_type, 0.8, 0.2)
    expected = torch.from_numpy(twins.growl_prox(rows.numpy(), theta, 0.9))
    torch.testing.assert_close(growl_prox(rows, vec(theta), 0.9), expected, rtol=0, atol=1e-5)


def test_growl_prox_with_step_zero_is_the_identity() -> None:
    rows = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    rows[2] = 0
    for scale in (1e-37, 1e-25, 1.0, 1e25, 1e37):
        assert torch.equal(growl_prox(scale * rows, owl_weights(7, "spike", 0.8, 0.2), 0.0), scale * rows)


@PROPERTY
@given(growl_cases(), st.floats(1.1, 5))
def test_a_larger_step_leaves_a_smaller_penalty(case: GrowlCase, factor: float) -> None:
    """Why a larger weight of the sparsity objective, which is the step, gives more sparsity."""
    less, more = (growl_prox(case.rows, case.theta, case.step * scale) for scale in (1.0, factor))
    values = growl_value(less, case.theta).item(), growl_value(more, case.theta).item()
    assert values[1] <= values[0] * (1 + 1e-12) + 1e-12
