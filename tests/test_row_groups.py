"""Channels as rows: which inputs belong together, what GrOWL does to groups, and what a training makes of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from Data_loaders.loaders import Splits
from src.models.hps import HPS
from src.models.registry import Architecture, load_model
from src.utils.errors import UserError
from src.utils.objectives.growl import group_weights, growl_prox, growl_value
from src.utils.objectives.owl import owl_weights
from src.utils.runs.own import own_problem
from src.utils.runs.problem import group_rows
from src.utils.sparsity.compress import compress
from src.utils.sparsity.groups import channel_positions
from src.utils.sparsity.rows import from_rows, to_rows, with_rows, zero_rows
from src.utils.training.engine import Trainer
from src.utils.training.methods import make_method
from src.utils.training.sparse_layers import growl_thetas, sparse_layers
from src.utils.training.stationarity import relative_gradient
from src.utils.training.two_phase import train
from tests import twins
from tests.conftest import CPU, make_network, one_line, short
from tests.test_scripts import run
from tests.test_training import chebyshev

POSITIONS_MM = {"trunk.6": 16, "monitors.0.3": 144, "monitors.1.3": 144}


# Which inputs belong together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "backbone", "positions"),
    [
        ("MDMTN", "MultiMnist", POSITIONS_MM),
        ("HPS", "MultiMnist", {"trunk.6": 16}),
        ("MTAN", "MultiMnist", {f"attention.{task}.transitions.1.0": 16 for task in (0, 1)}),
        ("MDMTN", "Cifar10Mnist", {"trunk.8": 36, "monitors.0.4": 225, "monitors.1.4": 225}),
    ],
)
def test_positions_of_the_channels_are_found(architecture: str, backbone: str, positions: dict[str, int]) -> None:
    network = Architecture(architecture, backbone, (10, 10)).build()
    image = torch.zeros(1, *((1, 28, 28) if backbone == "MultiMnist" else (3, 32, 32)))
    assert channel_positions(network, image) == positions


class Own(nn.Module):
    """Flattens in a function, normalises behind it, and has a second layer that reads neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm, self.first, self.second = nn.BatchNorm1d(3 * 36), nn.Linear(3 * 36, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = functional.relu(self.norm(torch.flatten(self.conv(x), 1)))
        output: Tensor = self.second(functional.relu(self.first(features)))
        return output


def test_positions_are_found_behind_functions_and_normalisations() -> None:
    assert channel_positions(Own(), torch.zeros(1, 1, 8, 8)) == {"first": 36}


def test_a_group_is_all_that_leaves_the_positions_of_a_channel() -> None:
    """The slow twin: entry (o, c * P + p) of the weight is in row c."""
    out, channels, positions = 3, 4, 5
    weight = torch.arange(float(out * channels * positions)).view(out, -1)
    rows = to_rows(with_rows(weight, positions))
    assert rows.shape == (channels, out * positions)
    for c in range(channels):
        wanted = {float(weight[o, c * positions + p]) for o in range(out) for p in range(positions)}
        assert set(rows[c].tolist()) == wanted
    view = with_rows(weight, positions)
    assert view.data_ptr() == weight.data_ptr()
    assert torch.equal(from_rows(rows, view.shape).reshape(weight.shape), weight)
    assert with_rows(weight) is weight


# GrOWL of groups ----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 6),
    size=st.integers(1, 9),
    kind=st.sampled_from(["spike", "linear", "Dejiao"]),
    step=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_the_proximal_operator_of_groups_is_that_of_a_convex_solver(
    seed: int, n: int, size: int, kind: str, step: float
) -> None:
    """min 1/2 |V - W|^2 + step sqrt(s) sum_i theta_i |V_[i]| over groups V_i of s rows of 2 weights each."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, n * size, generator=generator, dtype=torch.float64)
    theta = owl_weights(n, kind, 0.4, 0.3).double()
    found = growl_prox(to_rows(with_rows(weight, size)), group_weights(theta, size), step)
    groups = np.stack([weight[:, c * size : (c + 1) * size].flatten().numpy() for c in range(n)])
    wanted = twins.growl_prox(groups, [math.sqrt(size) * value for value in theta.tolist()], step)
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-5)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(1, 9), step=st.sampled_from([0.05, 0.3, 1.0]))
def test_the_result_meets_the_conditions_of_optimality(seed: int, size: int, step: float) -> None:
    """0 is in V - W + step d Omega(V): for every U, Omega(U) >= Omega(V) + <(W - V) / step, U - V>."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(5, 2 * size, generator=generator, dtype=torch.float64)
    theta = group_weights(owl_weights(5, "linear", 0.2, 0.5).double(), size)
    found = growl_prox(rows, theta, step)
    subgradient = (rows - found) / step
    for _ in range(20):
        other = found + torch.randn(rows.shape, generator=generator, dtype=torch.float64)
        bound = growl_value(found, theta) + (subgradient * (other - found)).sum()
        assert growl_value(other, theta) >= bound - 1e-9


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 6), size=st.integers(1, 12))
def test_groups_of_equal_rows_become_zero_when_their_rows_would(seed: int, n: int, size: int) -> None:
    """Copies of a row are shrunk as the row alone is: what the square root is for."""
    rows = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    theta = owl_weights(n, "spike", 0.8, 0.2).double()
    alone = growl_prox(rows, theta, 0.9)
    grouped = growl_prox(rows.repeat(1, size), group_weights(theta, size), 0.9)
    torch.testing.assert_close(grouped, alone.repeat(1, size))


# Trainings ----------------------------------------------------------------------------------------------------------


def make_trainer(splits: Splits, **values: Any) -> Trainer:
    parameters = short(**{"row_groups": "channel", "sim_preference": 0.7, **values})
    network = make_network(splits)
    network.positions = channel_positions(network, splits.train.images[:1])
    return Trainer(network, make_method(network, parameters, CPU), splits, parameters)


def test_rows_of_the_layers_are_channels_and_their_weights_scaled(splits: Splits) -> None:
    trainer = make_trainer(splits)
    layers = sparse_layers(trainer.model, trainer.parameters)
    assert {name: layer.weight.shape[1] for name, layer in layers.items()} == {
        "trunk.3": 10,
        "trunk.6": 20,
        "monitors.0.3": 20,
        "monitors.1.3": 20,
    }
    thetas = dict(zip(layers, growl_thetas(trainer.model, trainer.parameters, CPU), strict=True))
    for name, layer in layers.items():
        plain = owl_weights(layer.weight.shape[1], "spike", 0.8, 0.2)
        torch.testing.assert_close(thetas[name], math.sqrt(POSITIONS_MM.get(name, 1)) * plain)
    omega = sum(float(growl_value(to_rows(layer.weight.detach()), thetas[name])) for name, layer in layers.items())
    assert float(trainer.method.sparsity_objective().detach()) == pytest.approx(omega)
    neurons = short(row_groups="neuron")
    assert [len(theta) for theta in growl_thetas(trainer.model, neurons, CPU)] == [10, 320, 2880, 2880]


def test_whole_filters_fall_away_and_stay_away(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.3, 0.3, 0.4), max_layerSRate=0.5)
    train(trainer)
    network, zero = trainer.model, {}
    for name, weight in trainer.sparse_weights.items():
        zero[name] = int(zero_rows(to_rows(weight)).sum())
        assert zero[name] <= 0.5 * weight.shape[1]  # the cap counts channels
    assert sum(zero[name] for name in POSITIONS_MM) > 0
    found = compress(network, splits.test.images[:1])
    for layer, before in (("trunk.6", "trunk.3"), ("monitors.0.3", "monitors.0.0"), ("monitors.1.3", "monitors.1.0")):
        assert found.layers[before].kept == found.layers[before].outputs - zero[layer]
    images = splits.test.images
    with torch.no_grad():
        for wanted, got in zip(network.eval()(images), found.network()(images), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_zero_and_equal_groups_are_held_in_phase_2_and_by_the_gradient(splits: Splits) -> None:
    trainer = make_trainer(splits, is_search=False)
    with torch.no_grad():
        for weight in trainer.sparse_weights.values():
            weight[:, 1], weight[:, 3] = 0, weight[:, 2]
    train(trainer)
    for weight in trainer.sparse_weights.values():
        rows = to_rows(weight.detach())
        assert zero_rows(rows).nonzero().flatten().tolist() == [1]
        assert torch.equal(rows[3], rows[2])
    method = chebyshev(trainer)
    measured = relative_gradient(trainer.model, method, splits.train.batches(50), method.state(method.k).lam)
    assert 0 < measured < 1.01


def test_without_positions_channels_are_refused(splits: Splits) -> None:
    with pytest.raises(UserError, match=r"row_groups is 'channel'; allowed .* positions are not set: neuron") as error:
        make_method(make_network(splits), short(row_groups="channel"), CPU)
    one_line(error)


def test_a_network_that_flattens_nothing_is_refused() -> None:
    from tests.test_scripts import OWN, own_network

    problem = own_problem("own", own_network((2, 5)), OWN)
    assert isinstance(problem.network, HPS)
    with pytest.raises(UserError, match="row_groups is 'channel'; allowed for a network without a layer") as error:
        group_rows(problem, short(row_groups="channel", skip_layer=12))
    one_line(error)


SHORT = [
    *("--num_epochs", "1", "--max_iter_search", "2", "--max_iter_retrain", "1", "--num_batchEpoch", "4"),
    *("--k", "0.3", "0.3", "0.4", "--min_sparsRate", "0", "--quiet"),
]


def test_a_run_with_channels_as_rows_and_what_may_follow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--demo", "--output-dir", str(tmp_path))
    assert run(monkeypatch, "Example_HPS_MM_withSparsity.py", *place, *SHORT, "--row_groups", "channel") == 0
    (file,) = tmp_path.glob("logs/*/*/results.json")
    content = json.loads(file.read_text())
    assert content["parameters"]["row_groups"] == "channel"
    assert {name: layer["rows"] for name, layer in content["layers"].items()} == {"trunk.3": 10, "trunk.6": 20}
    assert content["compression"]["same_predictions"]
    assert content["compression"]["compressed"]["multiply_adds"] < content["compression"]["dense"]["multiply_adds"]
    (model,) = tmp_path.glob("src/Sparse_models/*.pth")
    assert load_model(model).parameters["row_groups"] == "channel"
    capsys.readouterr()
    assert run(monkeypatch, "Train_and_Test.py", "test", str(model)) == 0
    zero = f"({content['layers']['trunk.3']['rows'] + 20 - sum(x['nonzero'] for x in content['layers'].values())} of 30"
    assert zero in capsys.readouterr().out
    again = (*place, *SHORT, "--is_search", "no", "--model", str(model))
    assert run(monkeypatch, "Example_HPS_MM_withSparsity.py", *again) == 2
    assert "row_groups is 'neuron'; allowed, as" in capsys.readouterr().err
