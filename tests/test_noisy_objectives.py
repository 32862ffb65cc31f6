"""Multipliers from noisy batches: problems with a known solution, and figures that tell a wrong one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from Data_loaders.batches import Labels, first_batches
from Data_loaders.loaders import Splits, TaskData
from src.utils.objectives.augmented_lagrangian import multipliers, optimal_t
from src.utils.objectives.optimality import chebyshev_gap
from src.utils.training import chebyshev_method
from src.utils.training.chebyshev_maximum import ChebyshevMaximum
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.engine import Trainer
from src.utils.training.smooth_chebyshev import SmoothChebyshev
from src.utils.training.stationarity import relative_gradient
from src.utils.training.two_phase import train
from tests.conftest import CPU, make_network, short
from tests.mixed_problem import TASKS, mixed_data, mixed_network, mixed_parameters
from tests.noisy_problem import NO_IMAGES, Point, noisy, parameters_for, solve, true_losses

TRUTH = {2: torch.tensor([2 / 3, 1 / 3]), 3: torch.tensor([1 / 2, 1 / 3, 1 / 6])}


def apart(f: Tensor) -> float:
    return float((f.max() - f.min()) / f.max())


@pytest.mark.parametrize("objectives", [2, 3])
def test_the_losses_are_equal_and_their_gradients_cancel_at_the_solution(objectives: int) -> None:
    x = torch.zeros(2, requires_grad=True)
    losses = true_losses(x, objectives)
    assert losses.tolist() == [1.0] * objectives
    (gradient,) = torch.autograd.grad(TRUTH[objectives] @ losses, x)
    assert gradient.abs().max() < 1e-7


@pytest.mark.parametrize(("objectives", "noise"), [(2, 0.05), (2, 0.2), (2, 0.5), (3, 0.05)])
def test_noise_of_the_batches_moves_neither_losses_nor_multipliers(objectives: int, noise: float) -> None:
    f, method = solve(ChebyshevMethod, noise, objectives)
    assert apart(f) <= 0.03
    assert float((method.lam[1:] - TRUTH[objectives]).abs().max()) <= 0.05


def test_weights_of_single_batches_would_end_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the averages and the bound on mu are for: without them the mean of the maximum is minimised."""
    monkeypatch.setattr(chebyshev_method, "TERMS_MEMORY", 1e-9)
    monkeypatch.setattr(chebyshev_method, "NOISE_IN_WEIGHTS", 1e6)
    f, _ = solve(ChebyshevMethod, 0.2, 2, mu=100.0, epochs=15)
    assert apart(f) > 0.08


def test_one_step_per_epoch_without_noise_is_the_method_of_multipliers() -> None:
    network, parameters = Point(), parameters_for(3, mu=2.0, rho=1.5)
    method = noisy(ChebyshevMethod, 0.0, 0)(network, parameters, CPU)
    lam, mu = torch.full((3,), 1 / 3), 2.0
    with torch.no_grad():
        c = (true_losses(network.x, 3) + parameters.epsilon * true_losses(network.x, 3).sum()) / 3
    for _ in range(3):
        method.start_epoch(1, 1.0)
        method.backward(network, NO_IMAGES, NO_IMAGES)
        method.end_iteration()
        penalty = mu / float(c.max())
        lam = multipliers(c - optimal_t(c, lam, penalty), lam, penalty)
        mu *= 1.5
        torch.testing.assert_close(method.lam[1:], lam, rtol=1e-5, atol=1e-5)


def test_the_pace_of_the_multipliers_follows_steps_and_learning_rate() -> None:
    """Without noise the multipliers of an epoch hardly depend on its steps, and move less where the rate is lower."""

    def after_an_epoch(steps: int, rate: float, memory: float = 0.5) -> float:
        parameters = parameters_for(2, mu=0.05, lambda_memory=memory)
        method = noisy(ChebyshevMethod, 0.0, 0)(Point(), parameters, CPU)
        method.start_epoch(steps, rate)
        for _ in range(steps):
            method.backward(Point(), NO_IMAGES, NO_IMAGES)
        return abs(float(method.lam[2]) - 0.5)

    assert after_an_epoch(200, 1.0) == pytest.approx(after_an_epoch(100, 1.0), rel=0.02)
    assert after_an_epoch(100, 0.25) == pytest.approx(after_an_epoch(100, 1.0) / 2, rel=0.02)
    assert after_an_epoch(100, 1.0, memory=1.0) == pytest.approx(after_an_epoch(100, 1.0) / 2, rel=0.02)
    assert after_an_epoch(100, 1.0) > 0.01


def swing(memory: float) -> float:
    """Standard deviation of a multiplier where losses fall by their weights, slowly, and batches are noisy."""
    generator, steps, speeds = torch.Generator().manual_seed(0), 50, torch.tensor([0.3, 0.6])

    class Falling(ChebyshevMethod):
        def task_losses(self, outputs: Sequence[Tensor], labels: Labels) -> list[Tensor]:
            return list(outputs[0].exp() * torch.exp(torch.randn(2, generator=generator) / 2))

    network = Point()
    method = Falling(network, parameters_for(2, lambda_memory=memory), CPU)
    found = []
    for _ in range(60):
        method.start_epoch(steps, 1.0)
        for _ in range(steps):
            network.zero_grad()
            objectives = method.backward(network, NO_IMAGES, NO_IMAGES)[1:]
            assert network.x.grad is not None
            weights = network.x.grad / (method.k[1:] * objectives)
            network.x.data -= speeds * weights / steps
        found.append(float(method.lam[1]))
    return float(torch.tensor(found[20:]).std())


def test_a_longer_memory_damps_the_swing_of_the_multipliers() -> None:
    assert swing(4.0) < swing(0.5) / 2


def test_the_penalty_is_bounded_by_the_noise_and_grows_as_terms_shrink() -> None:
    def penalty(noise: float, scale: float) -> float:
        method = noisy(ChebyshevMethod, noise, 0)(Point(), parameters_for(2, mu=20.0), CPU)
        method.start_epoch(100, 1.0)
        for _ in range(100):
            method.backward(Point(), NO_IMAGES, NO_IMAGES)
        for buffer, factor in ((method.average.mean, scale), (method.average.variance, scale**2)):
            buffer.mul_(factor)
        return float(method.penalty)

    assert penalty(0.5, 1) < penalty(0.1, 1) < penalty(0.0, 1)
    for noise in (0.0, 0.5):
        assert penalty(noise, 0.1) == pytest.approx(10 * penalty(noise, 1), rel=1e-4)


def test_smooth_chebyshev_is_near_the_same_solution() -> None:
    f, method = solve(SmoothChebyshev, 0.0, 2, mu=50.0, epochs=10)
    assert apart(f) == pytest.approx(math.log(2) / 50, rel=0.2)  # the logarithm of the ratio of the weights, over mu
    torch.testing.assert_close(method.lam[1:], TRUTH[2], rtol=0, atol=0.02)


def test_smooth_chebyshev_weights_are_a_softmax() -> None:
    network = Point()
    method = noisy(SmoothChebyshev, 0.0, 0)(network, parameters_for(2, mu=3.0), CPU)
    c = method.terms(method.backward(network, NO_IMAGES, NO_IMAGES))[1:]
    expected = torch.softmax(3.0 * c / c.max(), 0)
    torch.testing.assert_close(method.lam[1:], expected)


def test_the_maximum_of_each_batch_has_all_weight_on_the_largest_term_and_noise_moves_it() -> None:
    network = Point()
    method = noisy(ChebyshevMaximum, 0.0, 0)(network, parameters_for(2), CPU)
    c = method.terms(method.backward(network, NO_IMAGES, NO_IMAGES))[1:]
    assert method.lam[1:].tolist() == [float(c[0] > c[1]), float(c[1] > c[0])]
    exact, _ = solve(ChebyshevMaximum, 0.0, 2, epochs=15)
    moved, _ = solve(ChebyshevMaximum, 0.5, 2, epochs=15)
    assert apart(exact) < 0.03
    assert apart(moved) > 0.08


class Frozen(ChebyshevMethod):
    """Wrong on purpose: all weight on the second objective, whatever the terms are."""

    def _weigh(self, c: Tensor) -> Tensor:
        return torch.tensor([0.0, 0.0, 1.0])


def test_a_wrong_run_has_large_optimality_figures() -> None:
    right, method = solve(ChebyshevMethod, 0.05, 2, epochs=15)
    wrong, frozen = solve(Frozen, 0.05, 2, epochs=8)
    for f, solver, bounds in ((right, method, (0.0, 0.02)), (wrong, frozen, (0.2, 1.0))):
        state = solver.state(torch.cat([torch.zeros(1), f]))
        assert bounds[0] <= state.details["feasibility"] / max(state.weighted_objectives) <= bounds[1]
    assert float(chebyshev_gap(wrong, torch.tensor([0.5, 0.5]))) > 0.2


def test_the_relative_gradient_is_small_at_the_solution_and_large_with_wrong_multipliers() -> None:
    network = Point()
    method = noisy(ChebyshevMethod, 0.0, 0)(network, parameters_for(2, epsilon=0.0), CPU)
    with torch.no_grad():
        network.x.zero_()

    def figure(*lam: float) -> float:
        return relative_gradient(network, method, [(NO_IMAGES, NO_IMAGES)], (0.0, *lam))

    assert figure(2 / 3, 1 / 3) < 1e-6
    assert figure(0.0, 1.0) == pytest.approx(1)
    assert figure(1.0, 0.0) == pytest.approx(0.5)


def test_the_relative_gradient_of_a_network_is_that_of_its_free_rows_and_changes_nothing(splits: Splits) -> None:
    parameters, network = short(sim_preference=0.6), make_network(splits)
    trainer = Trainer(network, ChebyshevMethod(network, parameters, CPU), splits, parameters)
    outcome = train(trainer)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    lam = outcome.best.record.lam
    batches = first_batches(splits.train, 100, 40)
    assert isinstance(trainer.method, ChebyshevMethod)
    value = relative_gradient(network, trainer.method, batches, lam)
    assert 0 < value < 1
    for weight in trainer.sparse_weights.values():
        assert (weight == 0).any()
    assert all(torch.equal(before[name], content) for name, content in network.state_dict().items())


@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_the_relative_gradient_does_not_depend_on_the_batches_though_labels_are_missing(epsilon: float) -> None:
    data, network = mixed_data().train, mixed_network().double()
    data = TaskData(data.images.double(), data.labels)
    method = ChebyshevMethod(network, mixed_parameters(epsilon=epsilon), CPU, tasks=TASKS).double()
    method.measure_in([10.0, 1.0, 0.5, 1e6])
    lam = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    c = method.terms(method.objectives(network(data.images), data.labels))
    parameters = list(network.parameters())
    gradients = []
    for term in c:
        parts = torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True, allow_unused=True)
        gradients.append(torch.cat([part.flatten() for part in parts]))
    whole = (lam @ torch.stack(gradients)).norm() / torch.stack(gradients).norm(dim=1).max()
    for size in (7, 40, 1_000):
        found = relative_gradient(network, method, data.batches(size), lam.tolist())
        assert found == pytest.approx(float(whole), rel=1e-9)


def test_the_first_samples_come_in_batches_and_the_last_one_is_cut() -> None:
    data = mixed_data().train
    found = list(first_batches(data, 100, 30))
    assert [len(inputs) for inputs, _ in found] == [30, 30, 30, 10]
    assert torch.equal(torch.cat([inputs for inputs, _ in found]), data.images[:100])
    assert torch.equal(torch.cat([labels[0] for _, labels in found]), data.labels[0][:100])
    assert sum(len(inputs) for inputs, _ in first_batches(data, 10_000, 50)) == len(data)
