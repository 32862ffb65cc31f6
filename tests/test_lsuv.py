"""Layer-sequential unit-variance initialisation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from src.models.registry import Architecture
from src.models.row_layers import weight_layers
from src.utils.runs.config import RunConfig
from src.utils.runs.problem import load_problem
from src.utils.training.lsuv import initialise_lsuv
from src.utils.training.records import Observer
from tests.conftest import short


def images(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return 1.0 + scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Backwards(nn.Module):
    """Its layers are defined in the opposite order of their execution."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(12, 5)
        self.middle = nn.Linear(18, 12)
        self.first = nn.Conv2d(2, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.middle(self.first(x).flatten(1).relu()).relu())
        return y


def normalised() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 7),
    )


def make(kind: str) -> tuple[nn.Module, Tensor]:
    if kind == "MDMTN":
        return Architecture("MDMTN", "MultiMnist", (10, 10)).build(), images(48, 1, 28, 28)
    return (Backwards() if kind == "backwards" else normalised()), images(64, 2, 4 + (kind == "backwards"), 4)


KINDS = ["MDMTN", "backwards", "batch norm"]


def output_variances(model: nn.Module, batch: Tensor) -> dict[str, float]:
    """Variance of every layer's output, in the order of execution; what running statistics see is undone."""
    variances: dict[str, float] = {}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for name, layer in weight_layers(model).items():

        def record(_module: nn.Module, _args: object, output: Tensor, name: str = name) -> None:
            variances[name] = output.double().var().item()

        layer.register_forward_hook(record)
    with torch.no_grad():
        model(batch)
    model.load_state_dict(state)
    return variances


def test_a_run_starts_from_it() -> None:
    config = RunConfig(script="lsuv", architecture="HPS", dataset="MultiDigits", seed=3)
    parameters = short()
    problem = load_problem(config, parameters, Observer())
    variances = output_variances(problem.network, problem.splits.train.first(parameters.batch_size)[0])
    assert list(variances.values()) == pytest.approx([1.0] * len(variances), abs=0.1 + 1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_has_unit_output_variance(kind: str, training: bool) -> None:
    torch.manual_seed(0)
    model, batch = make(kind)
    model.train(training)
    initialise_lsuv(model, batch)
    variances = output_variances(model, batch)
    assert variances.keys() == weight_layers(model).keys()
    for name, variance in variances.items():
        assert variance == pytest.approx(1, abs=0.1 + 1e-5), name


def test_layers_defined_backwards_are_scaled_in_the_order_of_execution() -> None:
    """Scaled in the order of definition, the last layer would be fed inputs that change afterwards."""
    torch.manual_seed(0)
    model, batch = make("backwards")
    initialise_lsuv(model, 100 * batch)
    variances = output_variances(model, 100 * batch)
    assert list(variances) == ["first", "middle", "last"]
    assert all(abs(variance - 1) <= 0.1 + 1e-5 for variance in variances.values())


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1e-3, 1.0, 1e3]), st.sampled_from([0.01, 0.1]))
def test_the_tolerance_holds_for_inputs_of_any_size(seed: int, scale: float, tolerance: float) -> None:
    torch.manual_seed(seed)
    model, batch = make("backwards")
    initialise_lsuv(model, scale * batch, tolerance=tolerance)
    for variance in output_variances(model, scale * batch).values():
        assert variance == pytest.approx(1, abs=tolerance + 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_orthonormal_up_to_scale(kind: str) -> None:
    torch.manual_seed(0)
    model, batch = make(kind)
    initialise_lsuv(model, batch)
    for name, layer in weight_layers(model).items():
        matrix = layer.weight.detach().double().flatten(1)  # (out, in * kh * kw)
        matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        gram = matrix @ matrix.T
        scale = gram.diagonal().mean()
        assert scale > 0, name
        identity = torch.eye(len(gram), dtype=torch.float64)
        torch.testing.assert_close(gram / scale, identity, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_biases_are_zero_and_all_other_parameters_keep_their_values(kind: str) -> None:
    torch.manual_seed(0)
    model, batch = make(kind)
    touched = {f"{name}.{part}" for name in weight_layers(model) for part in ("weight", "bias")}
    before = {name: value.clone() for name, value in model.named_parameters()}
    initialise_lsuv(model, batch)
    for layer in weight_layers(model).values():
        assert layer.bias is None or not layer.bias.any()
    for name, value in model.named_parameters():
        assert name in touched or torch.equal(value, before[name]), name


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_mode_hooks_and_gradients_are_left_untouched(training: bool) -> None:
    model, batch = make("batch norm")
    assert isinstance(model, nn.Sequential)
    model(images(8, 2, 4, 4, seed=1))  # statistics that are not the initial ones
    model.train(training)
    model[4].eval()
    before = {name: value.clone() for name, value in model.named_buffers()}
    initialise_lsuv(model, batch)
    assert before
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name]), name
    assert model.training == training
    assert not model[4].training
    assert all(not layer._forward_hooks for layer in weight_layers(model).values())
    assert all(value.requires_grad and value.grad is None for value in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(kind: str) -> None:
    found = []
    for seed in (3, 3, 4):
        model, batch = make(kind)
        torch.manual_seed(seed)
        initialise_lsuv(model, batch)
        found.append(torch.cat([layer.weight.detach().flatten() for layer in weight_layers(model).values()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_dead_layer_ends_with_finite_weights() -> None:
    """Images without any variation give every output variance zero: there is nothing to divide by."""
    model, batch = make("backwards")
    initialise_lsuv(model, torch.zeros_like(batch))
    assert all(layer.weight.isfinite().all() for layer in weight_layers(model).values())


def test_max_tries_limits_the_rescalings() -> None:
    """No try at all leaves orthonormal weights."""
    model, batch = make("backwards")
    initialise_lsuv(model, batch, max_tries=0)
    weight = weight_layers(model)["last"].weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(5), rtol=0, atol=1e-5)
