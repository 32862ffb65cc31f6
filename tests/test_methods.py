"""The training methods beside the Chebyshev one: MGDA, weighted sums, and what all of them share."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from Data_loaders.loaders import Splits
from src.models.hps import HPS
from src.models.multi_task import MultiTaskNetwork
from src.models.registry import Architecture
from src.utils.errors import UserError
from src.utils.objectives.min_norm import NORMALISATIONS, common_descent_weights, gram_matrix
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.defaults import WITH_TEACHERS
from src.utils.training.engine import Trainer
from src.utils.training.method import Method
from src.utils.training.methods import METHODS, check_method, make_method
from src.utils.training.mgda import MGDA
from src.utils.training.parameters import LARGEST_MU
from src.utils.training.two_phase import train
from tests.conftest import CPU, make_network, short

TASKS_ONLY = (0.0, 0.5, 0.5)


def method_of(network: MultiTaskNetwork, **values: Any) -> Method:
    return make_method(network, short(**{"w": TASKS_ONLY, **values}), CPU)


def task_gradients(network: MultiTaskNetwork, method: Method, splits: Splits) -> list[dict[str, Tensor]]:
    """The gradient of each task's loss at all parameters, by ``torch.autograd.grad`` and a graph of its own."""
    images, labels = splits.train.images[:40], splits.train.labels[:40]
    found = []
    for task in range(labels.shape[1]):
        loss = method.task_losses(network(images), labels)[task]
        gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, materialize_grads=True)
        found.append(dict(zip(dict(network.named_parameters()), gradients, strict=True)))
    return found


def shared_names(network: MultiTaskNetwork) -> list[str]:
    shared = {id(parameter) for parameter in network.shared_part.parameters()}
    return [name for name, parameter in network.named_parameters() if id(parameter) in shared]


def flat(gradients: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([gradients[name].flatten() for name in names])


def hps(seed: int = 0, num_outs: tuple[int, ...] = (10, 10)) -> MultiTaskNetwork:
    torch.manual_seed(seed)
    return Architecture("HPS", "MultiMnist", num_outs).build()


@pytest.mark.parametrize("architecture", ["HPS", "MDMTN"])
@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_mgda_gradients_are_the_weighted_task_gradients(splits: Splits, architecture: str, kind: str) -> None:
    network = hps() if architecture == "HPS" else make_network(splits)
    method = method_of(network, method="MGDA", gradient_normalisation=kind)
    wanted = task_gradients(network, method, splits)
    f = method.backward(network, splits.train.images[:40], splits.train.labels[:40])
    names = shared_names(network)
    stacked = torch.stack([flat(gradients, names) for gradients in wanted])
    weights = common_descent_weights(f[1:], gram_matrix(stacked), kind)
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert len(found) == len(dict(network.named_parameters()))
    torch.testing.assert_close(flat(found, names), weights @ stacked, rtol=1e-4, atol=1e-6)
    for name in set(found) - set(names):
        torch.testing.assert_close(found[name], sum(gradients[name] for gradients in wanted), rtol=1e-4, atol=1e-6)
    assert (stacked @ flat(found, names)).min() >= -1e-4 * stacked.norm(dim=1).max() ** 2


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_a_small_mgda_step_increases_no_loss(splits: Splits, kind: str) -> None:
    network = hps().double()
    method = method_of(network, method="MGDA", gradient_normalisation=kind).double()
    images, labels = splits.train.images[:40].double(), splits.train.labels[:40]
    before = method.backward(network, images, labels)
    with torch.no_grad():
        for parameter in network.shared_part.parameters():
            assert parameter.grad is not None
            parameter.sub_(1e-6 * parameter.grad)
    after = torch.stack(method.task_losses(network(images), labels))
    assert (after <= before[1:] + 1e-12).all()
    assert (after < before[1:]).any()


def test_upper_bound_takes_the_gradients_at_the_representation(splits: Splits) -> None:
    network = hps()
    assert isinstance(network, HPS)
    method = method_of(network, method="MGDA", mgda_ub=True)
    images, labels = splits.train.images[:40], splits.train.labels[:40]
    shared = network.trunk(images)
    losses = method.task_losses(network.predict(images, shared), labels)
    at = torch.stack([torch.autograd.grad(loss, shared, retain_graph=True)[0].flatten() for loss in losses])
    weights = common_descent_weights(torch.stack(losses).detach(), gram_matrix(at), "none")
    combined = sum(w * loss for w, loss in zip(weights, losses, strict=True))
    assert isinstance(combined, Tensor)
    wanted = torch.autograd.grad(combined, list(network.trunk.parameters()))
    method.backward(network, images, labels)
    for parameter, gradient in zip(network.trunk.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_mgda_takes_any_number_of_tasks(splits: Splits) -> None:
    network = hps(num_outs=(10, 10, 10))
    parameters = short(method="MGDA", w=(0.0, 1.0, 1.0, 1.0), a=(0.0,) * 4, num_tasks=4)
    method = make_method(network, parameters, CPU)
    labels = splits.train.labels[:40][:, [0, 1, 0]]
    f = method.backward(network, splits.train.images[:40], labels)
    lam = method.state(f).lam
    assert lam[0] == 0
    assert sum(lam) == pytest.approx(1, abs=1e-6)
    assert min(lam) >= 0


def test_mgda_state_is_the_mean_of_the_epoch_and_starts_anew(splits: Splits) -> None:
    network = hps()
    method = method_of(network, method="MGDA")
    batches = list(splits.train.batches(100))[:2]
    single = []
    for images, labels in batches:
        method.start_epoch(1, 1.0)
        f = method.backward(network, images, labels)
        single.append(method.state(f))
    method.start_epoch(1, 1.0)
    for images, labels in batches:
        f = method.backward(network, images, labels)
    together = method.state(f)
    assert together.lam == pytest.approx(
        [sum(pair) / 2 for pair in zip(*(s.lam for s in single), strict=True)], abs=1e-5
    )
    mean = sum(s.details["direction_norm"] for s in single) / 2
    assert together.details["direction_norm"] == pytest.approx(mean, rel=1e-4)


def peak_memory(work: Any) -> int:
    """Bytes on the CPU at the highest point of ``work``, above what was there before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("number", [200, 256])
def test_mgda_needs_at_most_half_as_much_memory_again_as_a_sum(
    splits: Splits, number: int, layout: torch.memory_format
) -> None:
    images, labels = splits.train.images[:number].contiguous(memory_format=layout), splits.train.labels[:number]
    peaks = {}
    for name in ("WeightedSum", "MGDA"):
        network = hps().to(memory_format=layout)
        method = method_of(network, method=name)
        peaks[name] = peak_memory(lambda: method.backward(network, images, labels))  # noqa: B023
    assert peaks["WeightedSum"] > images.nbytes
    assert peaks["MGDA"] <= 1.5 * peaks["WeightedSum"]


def test_a_weighted_sum_has_the_gradient_of_the_sum(splits: Splits) -> None:
    network = make_network(splits)
    method = method_of(network, method="WeightedSum", w=(0.0, 0.2, 0.8))
    wanted = task_gradients(network, method, splits)
    method.backward(network, splits.train.images[:40], splits.train.labels[:40])
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, 0.2 * wanted[0][name] + 0.8 * wanted[1][name], rtol=1e-4, atol=1e-6)


def test_a_weighted_sum_with_sparsity_searches_and_retrains(splits: Splits) -> None:
    parameters = short(method="WeightedSum", w=(0.02, 0.3, 0.6))
    network = make_network(splits)
    trainer = Trainer(network, make_method(network, parameters, CPU), splits, parameters)
    outcome = train(trainer)
    assert outcome.best.record.sparsity_rate > 0
    weights = {record.phase: record.lam[0] for record in trainer.history}
    assert weights == {"search": pytest.approx(0.02), "retrain": 0}


@pytest.mark.parametrize("name", ["WeightedSum", "MGDA"])
def test_every_method_trains_in_the_same_loop(splits: Splits, name: str) -> None:
    parameters = short(method=name, w=TASKS_ONLY, max_iter=6)
    network = make_network(splits)
    trainer = Trainer(network, make_method(network, parameters, CPU), splits, parameters)
    train(trainer)
    assert sum(trainer.history[-1].objectives[1:]) < 0.5 * sum(trainer.history[0].objectives[1:])


def test_a_method_keeps_the_network_out_of_its_own_parameters(splits: Splits) -> None:
    network = make_network(splits)
    own = {id(parameter) for parameter in network.parameters()}
    for name in set(METHODS) - {"KDMTL"}:
        assert not own & {id(parameter) for parameter in method_of(network, method=name).parameters()}


def test_bad_choices_are_refused() -> None:
    known = "Chebyshev, SmoothChebyshev, ChebyshevMaximum, WeightedSum, MGDA, KDMTL"
    with pytest.raises(UserError, match=rf"method is 'MDGA'; allowed: {known}"):
        check_method(short(method="MDGA", w=TASKS_ONLY), teachers=0)
    with pytest.raises(UserError, match=r"preference vector k\) is .* allowed for method MGDA: 0 for sparsity"):
        check_method(short(method="MGDA", w=(0.1, 0.4, 0.5)), teachers=0)
    with pytest.raises(UserError, match=r"there are 2 teachers; allowed for method MGDA: 0"):
        check_method(short(method="MGDA", w=TASKS_ONLY), teachers=2)


def test_methods_with_teachers_are_those_the_defaults_name() -> None:
    assert set(WITH_TEACHERS) == {name for name, method in METHODS.items() if method.uses_teachers}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_what_it_is_for(name: str) -> None:
    method = METHODS[name]
    teachers, distillation = (2, (0.1, 0.1)) if method.uses_teachers else (0, ())
    check_method(short(method=name, w=TASKS_ONLY, distillation=distillation), teachers)
    sparse = short(method=name, w=(0.1, 0.4, 0.5), distillation=distillation)
    with nullcontext() if method.uses_sparsity else pytest.raises(UserError):
        check_method(sparse, teachers)
    check_method(sparse.changed(Sparsity_study=False), teachers)  # a study leaves sparsity out of play


def test_gradients_have_the_layout_of_their_parameters(splits: Splits) -> None:
    network = make_network(splits).to(memory_format=torch.channels_last)
    method = method_of(network, method="MGDA")
    assert isinstance(method, MGDA)
    method.backward(network, splits.train.images[:40], splits.train.labels[:40])
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride()


def test_multipliers_keep_their_sum_however_long_mu_grows(splits: Splits) -> None:
    network = hps()
    method = method_of(network, w=(0.0, 0.2, 0.8), mu=1.0, rho=2.0)
    assert isinstance(method, ChebyshevMethod)
    for _ in range(200):
        method.end_iteration()
    assert float(method.mu) == LARGEST_MU
    for _ in range(20):
        method.backward(network, 1000 * splits.train.images[:40], splits.train.labels[:40])
        assert float(method.lam.sum()) == pytest.approx(1, abs=1e-4)
    assert all(float(weight.grad.abs().max()) > 0 for weight in network.parameters() if weight.grad is not None)


@pytest.mark.parametrize(("name", "value"), [("mu", 1e5), ("mu", 1e-300), ("rho", 0.5)])
def test_a_mu_without_digits_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} is {value}; allowed"):
        short(**{name: value})


PRECISIONS: dict[str, dict[str, Any]] = {"Chebyshev": {}, "WeightedSum": {}, "MGDA": {"w": (0.0, 1.0, 1.0)}}


@pytest.mark.parametrize("name", PRECISIONS)
def test_bf16_is_of_the_forward_pass_only_and_close_to_fp32(name: str, splits: Splits) -> None:
    found: dict[str, tuple[torch.Tensor, dict[str, torch.Tensor]]] = {}
    for precision in ("fp32", "bf16", "bf16"):
        parameters, network = short(method=name, precision=precision, **PRECISIONS[name]), make_network(splits)
        method = make_method(network, parameters, CPU)
        f = method.backward(network, splits.train.images[:50], splits.train.labels[:50])
        gradients = {key: value.grad for key, value in network.named_parameters() if value.grad is not None}
        assert f.dtype == torch.float32
        assert {value.dtype for value in gradients.values()} == {torch.float32}
        if precision in found:  # the same again is the same to the bit
            assert torch.equal(found[precision][0], f)
            assert all(torch.equal(found[precision][1][key], value) for key, value in gradients.items())
        found[precision] = (f, gradients)
    (exact, exact_gradients), (rounded, gradients) = found["fp32"], found["bf16"]
    assert not torch.equal(exact[1:], rounded[1:])
    assert torch.equal(exact[0], rounded[0])  # Omega
    assert torch.allclose(exact, rounded, rtol=0.02)
    for key in ("trunk.0.weight", "heads.0.0.weight"):
        if key in gradients:
            cosine = torch.nn.functional.cosine_similarity(exact_gradients[key].flatten(), gradients[key].flatten(), 0)
            assert float(cosine) > 0.99
