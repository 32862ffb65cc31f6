"""Compression: the same answers from fewer numbers, whatever is zero or tied."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from Data_loaders.loaders import Splits
from src.models.compact import CompactNetwork
from src.models.hps import HPS
from src.models.mdmtn import MDMTN
from src.models.mtan import MTAN
from src.models.multi_task import MultiTaskNetwork
from src.models.names import COMPRESSED
from src.models.registry import Architecture, load_model, save_model
from src.models.row_layers import RowLayer, layers_with_rows
from src.utils.errors import UserError
from src.utils.program import Program, Step
from src.utils.sparsity.capture import GROUPS, REUSED, UNSUPPORTED
from src.utils.sparsity.compress import compress
from src.utils.sparsity.figures import compare, figures
from src.utils.sparsity.fold import NEGATIVE
from src.utils.sparsity.rows import row_labels, to_rows
from tests.conftest import equal_states, make_network, one_line

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
COMPACT_MM = Architecture(COMPRESSED, "MultiMnist", (10, 10))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def outputs(network: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return list(network(x))


# Random networks ----------------------------------------------------------------------------------------------------


class Maker:
    """Makes networks of random shape with random weights from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        torch.manual_seed(seed)
        pick = self.random.choice
        self.image = (pick([1, 2, 3]), pick([13, 14, 15]), pick([13, 14, 16]))
        self.features = pick([2, 5])
        self.num_outs = [pick([2, 3]) for _ in range(pick([1, 2, 3]))]

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def stage(self, inputs: int, outputs: int) -> nn.Sequential:
        """A convolution with pooling, normalisation and activation, in one of several orders."""
        pick = self.random.choice
        padding = pick([0, 0, 1])
        conv = nn.Conv2d(inputs, outputs, pick([1, 2, 3]), padding=padding, bias=self.chance(0.7))
        pool = pick([nn.MaxPool2d(2), nn.MaxPool2d(3, 2, padding=1), nn.AvgPool2d(2), nn.MaxPool2d(2, ceil_mode=True)])
        if self.chance(0.2):
            pool = pick([nn.AvgPool2d(3, 1, padding=1), nn.AvgPool2d(2, ceil_mode=True), nn.Identity()])
        norm = [nn.BatchNorm2d(outputs)] if self.chance(0.6) else []
        middle = pick([[*norm, pool], [pool, *norm]])
        extra = pick(
            [nn.GroupNorm(1, outputs), nn.Conv2d(outputs, outputs, 1, groups=outputs)]
        )  # neither is compressed
        end = [extra] if self.chance(0.1) else []
        return nn.Sequential(conv, *middle, pick([nn.ReLU(), nn.ReLU(), nn.Tanh()]), *end)

    def branch(self) -> nn.Sequential:
        """From images to features."""
        stages, channels = [], self.image[0]
        for _ in range(self.random.choice([1, 2])):
            width = self.random.choice([3, 4])
            stages.append(self.stage(channels, width))
            channels = width
        size = nn.Sequential(*stages).eval()(torch.zeros(1, *self.image)).flatten(1).shape[1]
        norm = [nn.BatchNorm1d(size)] if self.chance(0.2) else []
        layers = [layer for stage in stages for layer in stage]
        return nn.Sequential(*layers, nn.Flatten(), *norm, nn.Linear(size, self.features), nn.ReLU(), nn.Dropout())

    def heads(self) -> list[nn.Module]:
        return [nn.Linear(self.features, outputs) for outputs in self.num_outs]

    def mdmtn(self) -> nn.Module:
        branches = [self.branch() for _ in range(1 + len(self.num_outs))]
        if self.chance(0.6):  # convolutions of the same geometry can be joined
            branches = [copy.deepcopy(branches[0]).apply(renew) for _ in branches]
        network = MDMTN(branches[0], branches[1:], self.heads())
        with torch.no_grad():
            network.alphas.normal_()
            network.alphas[torch.rand(network.alphas.shape) < 0.3] = 0
        return network

    def hps(self) -> nn.Module:
        return HPS(self.branch(), self.heads())

    def mtan(self) -> nn.Module:
        widths = [3, 4]
        convs = lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU())  # noqa: E731
        stages = [nn.Sequential(nn.Conv2d(self.image[0], widths[0], 3), nn.ReLU()), convs()]
        size = 4 * ((self.image[1] - 2) // 2) * ((self.image[2] - 2) // 2)
        last = lambda: nn.Sequential(nn.Flatten(), nn.Linear(size, self.features), nn.ReLU())  # noqa: E731
        return MTAN(stages, [[convs(), last()] for _ in self.num_outs], self.heads())

    def own(self) -> nn.Module:
        return Branches(self.image, self.branch(), self.branch(), self.heads(), self.random.choice([-0.5, 0.0, 2.0]))

    def damage(self, network: nn.Module) -> bool:
        """Random weights, with zero and tied rows; whether there are any."""
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                    module.running_mean.normal_()  # type: ignore[union-attr]
                    module.running_var.uniform_(0.3, 3)  # type: ignore[union-attr]
                    module.bias.normal_()
                    module.weight.normal_()
                    if self.chance(0.6):
                        module.weight.abs_()
                    if self.chance(0.3):
                        module.weight[0] = 0
            return sum(self.damage_layer(layer) for layer in layers_with_rows(network).values()) > 0

    def damage_layer(self, layer: RowLayer) -> bool:
        """Change the rows, and sometimes the outputs, of one layer."""
        weight = layer.weight
        rows = weight.transpose(0, 1)  # (in, out, ...), a view
        kinds = ["nothing", "nothing", "one zero", "some zero", "blocks zero", "tied", "some tied", "both"]
        kind = self.random.choice(kinds) if self.chance(0.95) else "zero"
        if kind in {"zero", "tied"}:
            rows[:] = 0 if kind == "zero" else rows[:1].clone()
        if kind == "one zero":
            rows[self.random.randrange(len(rows))] = 0
        if kind in {"some zero", "both"}:
            rows[torch.rand(len(rows)) < 0.6] = 0
        if kind == "blocks zero":
            rows[: self.random.randrange(len(rows) + 1)] = 0
        if kind in {"some tied", "both"}:
            donors = torch.randint(0, 3, (len(rows),)).clamp(max=len(rows) - 1)
            rows[:] = torch.where(
                (torch.rand(len(rows)) < 0.6).view(-1, *(1 for _ in rows.shape[1:])), rows[donors], rows
            )
        if self.chance(0.2):
            weight[torch.rand(len(weight)) < 0.5] = 0  # filters that give their bias only
        labels = row_labels(to_rows(weight))
        return len(labels) > int(labels.max()) + 1


def renew(module: nn.Module) -> None:
    """Draw the weights of a layer anew."""
    if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
        module.reset_parameters()


class Branches(nn.Module):
    """A user's own network: sums, differences, products and concatenation of branches and numbers."""

    def __init__(
        self, image: tuple[int, int, int], a: nn.Module, b: nn.Module, heads: list[nn.Module], factor: float
    ) -> None:
        super().__init__()
        self.a, self.b, self.factor = a, b, factor
        (features,) = {head.in_features for head in heads if isinstance(head, nn.Linear)}
        self.wide = nn.Linear(2 * features, features)
        self.gate = nn.Linear(features, features)
        self.gain = nn.Parameter(torch.randn(features))
        self.first = nn.Conv2d(image[0], image[0], 1)
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = torch.relu(self.first(x)) + x
        a, b = self.a(x), self.factor * self.b(x)
        c = self.wide(torch.cat([a, b - a], dim=1)) * self.gain
        d = torch.sigmoid(self.gate(c)) * a - b / 3
        return [head(d + c if i % 2 else 1 - d) for i, head in enumerate(self.heads)]


def check_random(seed: int, kind: str, dtype: torch.dtype) -> None:
    """One random network: same outputs, not more parameters, the original untouched."""
    maker = Maker(seed)
    network = getattr(maker, kind)()
    damaged = maker.damage(network)
    network = network.to(dtype).eval()
    before = copy.deepcopy(network.state_dict())
    x = torch.randn(3, *maker.image, dtype=dtype)
    smaller = compress(network, x).network()
    for wanted, got in zip(outputs(network, x), outputs(smaller, x), strict=True):
        assert got.dtype == dtype
        assert (got - wanted).abs().max() <= TOLERANCE[dtype] * max(float(wanted.abs().max()), 1.0)
    assert parameters(smaller) < parameters(network) + (not damaged)
    assert equal_states(network.state_dict(), before)


seeds, kinds = st.integers(0, 2**31), st.sampled_from(["mdmtn", "mdmtn", "hps", "mtan", "own"])
dtypes = st.sampled_from([torch.float32, torch.float64])


@settings(max_examples=250, deadline=None)
@given(seed=seeds, kind=kinds, dtype=dtypes)
def test_random_networks_give_the_same_answers(seed: int, kind: str, dtype: torch.dtype) -> None:
    check_random(seed, kind, dtype)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@given(seed=seeds, kind=kinds, dtype=dtypes)
def test_thousands_of_random_networks_give_the_same_answers(seed: int, kind: str, dtype: torch.dtype) -> None:
    check_random(seed, kind, dtype)


# Parts of networks --------------------------------------------------------------------------------------------------


def sparse_mdmtn(splits: Splits) -> MDMTN:
    """An MDMTN for MultiMNIST with 70 % zero rows and some tied ones."""
    network = make_network(splits).eval()
    with torch.no_grad():
        network.alphas.copy_(torch.tensor([[0.5, -0.3], [0.2, 1.3]]))
        for layer in network.growl_layers(1).values():
            rows = layer.weight.transpose(0, 1)
            rows[torch.rand(len(rows)) < 0.7] = 0
            rows[torch.rand(len(rows)) < 0.1] = torch.randn_like(rows[:1]) / 10
    return network


def test_what_became_of_the_layers_is_told(splits: Splits) -> None:
    network = sparse_mdmtn(splits)
    found = compress(network, splits.test.images[:2])
    assert found.left == {}
    assert {step.op for step in found.program.steps}.isdisjoint({"scale", "affine", "constant"})
    for name, layer in network.growl_layers(1).items():
        labels = row_labels(to_rows(layer.weight.detach()))
        if isinstance(layer, nn.Linear):
            assert found.layers[name].read == int((labels >= 0).sum())
            assert found.layers[name].different == int(labels.max()) + 1
        assert found.layers[name].inputs == len(labels)
    first, second = found.layers["trunk.0"], found.layers["trunk.3"]
    assert isinstance(network.trunk, nn.Sequential)
    weight = network.trunk[3].weight
    assert isinstance(weight, Tensor)
    assert first.kept == second.read == int((row_labels(to_rows(weight)) >= 0).sum())


def test_the_stored_columns_make_the_weights_of_the_network() -> None:
    """The slow twin: the dense weight of a layer, rebuilt column by column from what is stored."""
    torch.manual_seed(0)
    layer = nn.Linear(320, 50)
    with torch.no_grad():
        rows = layer.weight.transpose(0, 1)
        rows[torch.rand(320) < 0.6] = 0
        rows[torch.rand(320) < 0.3] = rows[:1].clone()
        rows[3 * 16 : 5 * 16] = 0  # channels 3 and 4
    trunk = nn.Sequential(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), layer)
    found = compress(HPS(trunk, [nn.Linear(50, 2)]), torch.zeros(1, 1, 12, 12))
    merge = {name: found.state[f"trunk_4_merge.{name}"].tolist() for name in ("first", "rest", "target")}
    kept = [channel for channel in range(20) if channel not in (3, 4)]
    dense = torch.zeros(50, 320)
    for cluster, feature in [*enumerate(merge["first"]), *zip(merge["target"], merge["rest"], strict=True)]:
        position, channel = divmod(feature, len(kept))  # features come in the order (H, W, C)
        dense[:, kept[channel] * 16 + position] = found.state["trunk_4.weight"][:, cluster]
    assert torch.equal(dense, layer.weight)


def test_monitors_of_the_same_geometry_are_one_convolution(splits: Splits) -> None:
    found = compress(sparse_mdmtn(splits), splits.test.images[:2])
    convolutions = [step for step in found.program.steps if step.op == "conv2d"]
    assert len(convolutions) == 2
    joined = next(step for step in convolutions if step.inputs == ("x",))
    outputs = sum(found.layers[name].kept for name in ("trunk.0", "monitors.0.0", "monitors.1.0"))
    assert len(found.state[f"{joined.name}.weight"]) == outputs
    assert sum(step.op == "narrow" for step in found.program.steps) == 1


def test_a_monitor_with_alpha_zero_disappears(splits: Splits) -> None:
    network = make_network(splits).eval()
    with torch.no_grad():
        network.alphas.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.7]]))
    found = compress(network, splits.test.images[:2])
    assert not any(step.name.startswith("monitors_0") for step in found.program.steps)
    assert found.layers["monitors.0.0"].kept == 0
    x = splits.test.images[:9]
    for wanted, got in zip(outputs(network, x), outputs(found.network(), x), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("sign", [1, -1])
def test_normalisation_passes_a_maximum_only_with_positive_scales(sign: int) -> None:
    norm = nn.BatchNorm2d(4)
    nn.init.constant_(norm.weight, sign)
    network = HPS(nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), norm, nn.Flatten(), nn.ReLU()), [nn.Linear(36, 2)])
    found = compress(network, torch.randn(1, 1, 8, 8))
    assert found.left == ({} if sign > 0 else {"trunk.2": NEGATIVE})
    assert any(step.op == "affine" for step in found.program.steps) == (sign < 0)


class Odd(nn.Module):
    """Layers that no step stands for, among others that are compressed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.strange = nn.LayerNorm(8)
        self.grouped = nn.Conv2d(8, 8, 1, groups=2)
        self.twice = nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)
        nn.init.zeros_(self.last.weight[:, :5])

    def forward(self, x: Tensor) -> Tensor:
        x = self.strange(self.first(x))
        x = self.grouped(x.view(x.size(0), 8, 1, 1)).flatten(1)
        x = self.twice(torch.relu(self.twice(x)))
        last: Tensor = self.last(x)
        return last


def test_what_is_not_supported_is_left_and_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, x = Odd().eval(), torch.randn(5, 6)
    found = compress(network, x)
    assert {found.left[name] for name in ("strange", "view")} == {UNSUPPORTED}
    assert (found.left["grouped"], found.left["twice"]) == (GROUPS, REUSED)
    assert found.layers["last"].read == 3
    torch.testing.assert_close(outputs(found.network(), x)[0], network(x).detach())
    with pytest.raises(UserError, match=r"cannot hold layers of other kinds: .*strange"):
        save_model(tmp_path / "model.pth", found.network(), COMPACT_MM, {}, {})


def test_a_network_that_cannot_be_followed_is_refused() -> None:
    class Choosing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UserError, match="the steps of Choosing cannot be followed"):
        compress(Choosing(), torch.zeros(1, 3))


def test_training_mode_and_batch_statistics_are_left_alone(splits: Splits) -> None:
    network = Architecture("MDMTN", "Cifar10Mnist", (10, 10)).build().train()
    before = copy.deepcopy(network.state_dict())
    compress(network, torch.randn(1, 3, 32, 32))
    assert network.training
    assert equal_states(network.state_dict(), before)


def test_no_joined_convolution_is_larger_than_what_memory_is_kept_for() -> None:
    torch.manual_seed(0)
    network = Architecture("MDMTN", "Cifar10Mnist", (10, 10)).build()
    with torch.no_grad():
        network.alphas.fill_(0.5)  # type: ignore[operator, union-attr]
    found = compress(network, torch.randn(1, 3, 32, 32))
    read = [step.name for step in found.program.steps if step.inputs == ("x",)]
    assert [len(found.state[f"{name}.weight"]) for name in read] == [
        16,
        32,
        32,
    ]  # 32 channels of 30 x 30: 28,800 numbers
    smaller, x = found.network(), torch.randn(2, 3, 32, 32)
    for wanted, got in zip(outputs(network.eval(), x), outputs(smaller, x), strict=True):
        torch.testing.assert_close(got, wanted)


class Nested(nn.Module):
    """Two pairs of convolutions that can be joined, the second behind a slice of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = nn.ModuleList(nn.Conv2d(1, 3, 3) for _ in range(2))
        self.inner = nn.ModuleList(nn.Conv2d(3, 4, 3) for _ in range(2))
        self.linear = nn.ModuleList(nn.Linear(features, 2) for features in (4 * 16, 4 * 16, 3 * 36))

    def forward(self, x: Tensor) -> list[Tensor]:
        first, last = (torch.relu(conv(x)) for conv in self.outer)
        features = [*(torch.relu(conv(first)) for conv in self.inner), last]
        return [linear(torch.flatten(value, 1)) for linear, value in zip(self.linear, features, strict=True)]


def test_convolutions_behind_a_joined_one_are_joined() -> None:
    torch.manual_seed(0)
    network, x = Nested(), torch.randn(3, 1, 8, 8)
    found = compress(network, x)
    assert sum(step.op == "conv2d" for step in found.program.steps) == 2
    for wanted, got in zip(outputs(network, x), outputs(found.network(), x), strict=True):
        torch.testing.assert_close(got, wanted)


# Files --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(splits: Splits, tmp_path: Path) -> tuple[Path, CompactNetwork]:
    network = compress(sparse_mdmtn(splits), splits.test.images[:1]).network()
    architecture = replace(COMPACT_MM, name="MDMTN")
    save_model(tmp_path / "model.pth", network, architecture, {"lr": 0.1}, {"task": 0})
    return tmp_path / "model.pth", network


def test_a_file_gives_the_same_outputs(splits: Splits, saved: tuple[Path, CompactNetwork]) -> None:
    path, network = saved
    torch.load(path, weights_only=True)
    found = load_model(path, COMPACT_MM)
    assert isinstance(found.network, MultiTaskNetwork)
    assert found.network.growl_layers(0) == {}
    assert (found.parameters, found.results) == ({"lr": 0.1}, {"task": 0})
    assert equal_states(found.network.state_dict(), network.state_dict())
    x = splits.test.images[:20]
    for wanted, got in zip(outputs(network, x), outputs(found.network.eval(), x), strict=True):
        assert torch.equal(wanted, got)


def broken(content: dict, change: str) -> None:  # type: ignore[type-arg]
    steps, state = content["program"]["steps"], content["state_dict"]
    weight = f"tensors.{steps[0]['name']}.weight"
    changes = {
        "operation": lambda: steps[0].update(op="system"),
        "options": lambda: steps[0].update(options={}),
        "inputs": lambda: steps[0].update(inputs=["trunk_3"]),
        "name": lambda: steps[0].update(name="keys"),
        "steps": lambda: content["program"].update(steps=7),
        "version": lambda: content["program"].update(version=2),
        "program": lambda: content.pop("program"),
        "outputs": lambda: content["program"].update(outputs=[]),
        "image": lambda: content["program"].update(input_shape=[3, 28, 28]),
        "missing": lambda: state.pop(weight),
        "surplus": lambda: state.update(other=torch.zeros(1)),
        "shape": lambda: state.update({"tensors.trunk_3.bias": torch.zeros(3)}),
        "index": lambda: next(value for name, value in state.items() if name.endswith("first")).fill_(10**6),
        "number": lambda: state.update({weight: 1}),
        "state": lambda: content.update(state_dict=[1]),
    }
    changes[change]()


BROKEN = ["operation", "options", "inputs", "name", "steps", "version", "program", "outputs", "image", "missing"]


@pytest.mark.parametrize("change", [*BROKEN, "surplus", "shape", "index", "number", "state"])
def test_a_file_that_does_not_fit_is_refused(change: str, saved: tuple[Path, CompactNetwork]) -> None:
    content = torch.load(saved[0], weights_only=True)
    broken(content, change)
    torch.save(content, saved[0])
    with pytest.raises(UserError, match=r"model\.pth") as error:
        load_model(saved[0])
    one_line(error)


def test_a_program_is_plain_data() -> None:
    program = Program((4,), (Step("a", "linear", ("x",)), Step("b", "flatten", ("a",), {"sizes": (1, 2)})), ("b",))
    plain = program.as_plain()
    assert plain["steps"][1]["options"] == {"sizes": [1, 2]}
    assert Program.from_plain(plain).as_plain() == plain


def test_torch_export_follows_a_compressed_network(splits: Splits) -> None:
    network = compress(sparse_mdmtn(splits), splits.test.images[:1]).network()
    x = splits.test.images[:6]
    exported = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},)).module()
    for size in (2, 6):
        for wanted, got in zip(network(x[:size]), exported(x[:size]), strict=True):
            torch.testing.assert_close(got, wanted)


# Figures ------------------------------------------------------------------------------------------------------------


def test_figures_count_what_there_is(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.utils.sparsity.figures.REPETITIONS", (1, 2))
    network, x = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5)), torch.randn(3, 1, 8, 8)
    found = figures(network, x)
    assert found.parameters == 40 + 4 * 36 * 5 + 5
    assert found.multiply_adds == 4 * 9 * 36 + 4 * 36 * 5
    assert 4 * found.parameters < found.bytes < 4 * found.parameters + 4000
    assert all(time > 0 for time in found.as_plain()["latency_ms"].values())
    dense = sparse_mdmtn(splits)
    pair = compare(dense, compress(dense, splits.test.images[:1]).network(), splits.test.images)
    assert pair.same_predictions
    assert pair.max_difference < 1e-4  # of logits of about ten
    assert 3 * pair.compressed.parameters < pair.dense.parameters
    assert 3 * pair.compressed.bytes < pair.dense.bytes
    assert pair.compressed.multiply_adds < pair.dense.multiply_adds
    assert pair.as_plain()["dense"]["latency_ms"].keys() == {"1", "256"}
