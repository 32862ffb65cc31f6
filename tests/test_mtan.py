"""MTAN: attention of each task's own, and training it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import Train_and_Test
from Data_loaders.loaders import Splits
from src.models.backbones import BACKBONES
from src.models.mtan import MTAN, TaskAttention
from src.models.registry import Architecture, load_model, save_model
from src.models.row_layers import weight_layers
from src.utils.errors import UserError
from src.utils.training.defaults import default_parameters
from src.utils.training.engine import Trainer
from src.utils.training.lsuv import initialise_lsuv
from src.utils.training.methods import METHODS, make_method
from src.utils.training.two_phase import train
from tests.conftest import CPU, equal_states, one_line, short

MTAN_MM = Architecture("MTAN", "MultiMnist", (10, 10))


def make(backbone: str = "MultiMnist", num_outs: tuple[int, ...] = (10, 10), seed: int = 0) -> MTAN:
    torch.manual_seed(seed)
    network = Architecture("MTAN", backbone, num_outs).build()
    assert isinstance(network, MTAN)
    return network


def make_trainer(splits: Splits, **values: Any) -> Trainer:
    network, parameters = make(), short(**{"w": (0.0, 0.5, 0.5), **values})
    initialise_lsuv(network, splits.train.images[:100])
    return Trainer(network, make_method(network, parameters, CPU), splits, parameters)


def masks(network: MTAN, images: Tensor) -> list[list[Tensor]]:
    """The masks of every task, stage by stage."""
    seen: list[list[Tensor]] = [[] for _ in network.attention]
    handles = [
        mask.register_forward_hook(lambda _module, _args, output, task=task: seen[task].append(output.detach()))
        for task, attention in enumerate(network.attention)
        for mask in attention.masks  # type: ignore[union-attr]
    ]
    network(images)
    for handle in handles:
        handle.remove()
    return seen


def named_gradients(network: nn.Module) -> set[str]:
    return {name for name, value in network.named_parameters() if value.grad is not None and value.grad.any()}


@pytest.mark.parametrize(
    ("backbone", "shared", "own"),
    [
        # stages; masks of stages 1 and 2, transitions 1 and 2, head
        ("MultiMnist", 260 + 5_020, (100 + 20 + 100 + 20) + (800 + 40 + 400 + 40) + 5_020 + 16_050 + 510),
        ("Cifar10Mnist", 480 + 4_704, (256 + 32 + 256 + 32) + (2048 + 64 + 1024 + 64) + 4_704 + 36_896 + 330),
    ],
)
def test_parameter_counts(backbone: str, shared: int, own: int) -> None:
    network = make(backbone)
    assert sum(p.numel() for p in network.shared_part.parameters()) == shared
    assert sum(p.numel() for p in network.parameters()) == shared + 2 * own


@pytest.mark.parametrize("backbone", list(BACKBONES))
@pytest.mark.parametrize("num_outs", [(10,), (10, 10), (2, 5, 3)])
def test_any_number_of_tasks_and_classes(backbone: str, num_outs: tuple[int, ...]) -> None:
    outputs = make(backbone, num_outs)(torch.zeros(4, *BACKBONES[backbone].input_shape))
    assert [tuple(output.shape) for output in outputs] == [(4, classes) for classes in num_outs]


@pytest.mark.parametrize(
    ("architecture", "backbone", "count"),
    [
        *(("HPS", "MultiMnist", 22_350), ("HPS", "Cifar10Mnist", 42_740)),
        *(("MDMTN", "MultiMnist", 311_494), ("MDMTN", "Cifar10Mnist", 505_528)),
    ],
)
def test_a_trunk_is_its_stages_in_a_row(architecture: str, backbone: str, count: int) -> None:
    network = Architecture(architecture, backbone, (10, 10)).build()
    assert sum(p.numel() for p in network.parameters()) == count
    torch.manual_seed(0)
    trunk = BACKBONES[backbone].trunk()
    torch.manual_seed(0)
    stages = BACKBONES[backbone].stages()
    images = torch.randn(4, *BACKBONES[backbone].input_shape)
    assert torch.equal(trunk(images), nn.Sequential(*stages)(images))
    layers = {name: type(layer).__name__ for name, layer in trunk.named_children()}
    norm = int(backbone == "Cifar10Mnist")
    assert layers["0"] == layers[str(3 + norm)] == "Conv2d"
    assert layers[str(6 + 2 * norm)] == "ImageLinear"


def test_no_two_tasks_share_an_attention_module() -> None:
    network = make(num_outs=(10, 10, 10))
    modules = [id(module) for attention in network.attention for module in attention.modules()]
    tensors = [p.data_ptr() for attention in network.attention for p in attention.parameters()]
    assert len(set(modules)) == len(modules)
    assert len(set(tensors)) == len(tensors)


def test_forward_is_the_formula(splits: Splits) -> None:
    network, images = make().eval(), splits.test.images[:7]
    p1 = network.stages[0](images)
    p2 = network.stages[1](p1)
    for output, own, head in zip(network(images), network.attention, network.heads, strict=True):
        assert isinstance(own, TaskAttention)
        g, norm_g, _, h, norm_h, _ = own.masks[0].children()
        a1 = torch.sigmoid(norm_h(h(torch.relu(norm_g(g(p1))))))
        v1 = own.transitions[0](a1 * p1)
        a2 = own.masks[1](torch.cat([p2, v1], dim=1))
        assert a1.shape == p1.shape
        assert a2.shape == p2.shape == v1.shape
        torch.testing.assert_close(output, head(own.transitions[1](a2 * p2)))


def test_masks_of_trained_tasks_differ_and_lie_between_0_and_1(splits: Splits) -> None:
    trainer = make_trainer(splits, max_iter=1)
    train(trainer)
    assert isinstance(trainer.model, MTAN)
    first, second = masks(trainer.model.eval(), splits.test.images)
    assert len(first) == len(second) == 2
    for a, b in zip(first, second, strict=True):
        assert ((a > 0) & (a < 1) & (b > 0) & (b < 1)).all()
        assert a.std() > 0.01
        assert (a - b).abs().mean() > 0.01


def test_each_loss_reaches_the_shared_stages_and_its_own_attention_only(splits: Splits) -> None:
    images, labels = splits.train.images[:20], splits.train.labels[:20]
    for task in (0, 1):
        network = make()
        nn.functional.cross_entropy(network(images)[task], labels[:, task]).backward()
        other = 1 - task
        wanted = {
            n for n, _ in network.named_parameters() if not n.startswith((f"attention.{other}", f"heads.{other}"))
        }
        assert named_gradients(network) == wanted


@pytest.mark.parametrize("method", ["Chebyshev", "WeightedSum", "MGDA"])
def test_one_step_changes_every_weight(splits: Splits, method: str) -> None:
    assert method in METHODS
    trainer = make_trainer(splits, method=method, max_iter=1, num_epochs=1, num_batchEpoch=1)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    train(trainer)
    same = {name for name, value in trainer.model.named_parameters() if torch.equal(value, before[name])}
    assert same == set()


def test_training_learns(splits: Splits) -> None:
    outcome = train(make_trainer(splits, method="WeightedSum", max_iter=5))
    assert outcome.best.record.mean_accuracy > 40  # chance is 10


def test_mgda_at_the_shared_representation_is_refused() -> None:
    with pytest.raises(UserError) as error:
        make_method(make(), short(method="MGDA", w=(0.0, 0.5, 0.5), mgda_ub=True), CPU)
    assert "mgda_ub is True; allowed for MTAN: False" in one_line(error)


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_lsuv_gives_every_layer_unit_variance(backbone: str) -> None:
    network = make(backbone)
    images = torch.randn(40, *BACKBONES[backbone].input_shape, generator=torch.Generator().manual_seed(1))
    initialise_lsuv(network, images)
    variances: dict[str, float] = {}
    for name, layer in weight_layers(network).items():
        layer.register_forward_hook(
            lambda _module, _args, output, name=name: variances.update({name: float(output.detach().var())})
        )
    network(images)
    assert variances.keys() == weight_layers(network).keys()
    assert all(value == pytest.approx(1, abs=0.101) for value in variances.values())


def test_all_layers_but_the_heads_and_the_input_layer_may_become_sparse() -> None:
    network = make()
    layers = set(weight_layers(network))
    assert set(network.growl_layers(skip_layer=1)) == layers - {"stages.0.0", "heads.0", "heads.1"}


def test_sparse_training_reaches_what_is_asked_for(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.1, 0.4, 0.5), min_sparsRate=10.0)
    outcome = train(trainer)
    assert outcome.reached_min_sparsRate
    assert outcome.best.record.sparsity_rate >= 10


def test_model_file_restores_every_number(tmp_path: Path) -> None:
    network = make()
    save_model(tmp_path / "model.pth", network, MTAN_MM, {}, {})
    assert equal_states(load_model(tmp_path / "model.pth", MTAN_MM).network.state_dict(), network.state_dict())


@pytest.mark.parametrize("dataset", list(BACKBONES))
def test_there_are_defaults_and_they_are_allowed(dataset: str) -> None:
    for sparsity in (True, False):
        short(**default_parameters(dataset, "MTAN", method="WeightedSum", sparsity=sparsity, demo=False))


def test_the_command_line_trains_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--demo", "--quiet", "--device", "cpu", "--max_iter", "1", "--num_epochs", "1", "--num_batchEpoch", "2"]
    choice = ["--architecture", "MTAN", "--dataset", "MultiMnist", "--k", "0", "0.5", "0.5"]
    Train_and_Test.main([*choice, *flags, "--output-dir", str(tmp_path)])
    (model,) = (tmp_path / "src").rglob("*.pth")
    assert load_model(model).architecture.name == "MTAN"
    assert "test accuracy" in capsys.readouterr().out


def stage(channels: int) -> nn.Module:
    return nn.Conv2d(channels, channels, 1)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="1 transitions for 2 stages"):
        MTAN([stage(3), stage(3)], [[stage(3)]], [nn.Linear(3, 2)])
    with pytest.raises(ValueError, match="transitions for 1 tasks and 2 heads"):
        MTAN([stage(3)], [[stage(3)]], [nn.Linear(3, 2), nn.Linear(3, 2)])
    with pytest.raises(ValueError, match="has no convolution"):
        MTAN([nn.Linear(3, 3)], [[stage(3)]], [nn.Linear(3, 2)])
