"""The network, its files and its list of sparse layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from Data_loaders.loaders import Splits
from src.models.hps import HPS
from src.models.image_linear import ImageLinear
from src.models.mdmtn import MDMTN
from src.models.names import ARCHITECTURE_NAMES, check_architecture
from src.models.registry import ARCHITECTURES, Architecture, load_model, save_model
from src.utils.errors import UserError
from src.utils.sparsity.capture import capture
from tests.conftest import equal_states, make_network, one_line

MDMTN_MM = Architecture("MDMTN", "MultiMnist", (10, 10))


def test_parameter_count_is_the_papers() -> None:
    network = Architecture("MDMTN", "MultiMnist", (10, 10)).build()
    assert sum(parameter.numel() for parameter in network.parameters()) == 311_490 + 4


def test_sparse_layers_are_exactly_the_expected_ones() -> None:
    network = Architecture("MDMTN", "MultiMnist", (10, 10)).build()
    assert list(network.growl_layers(skip_layer=1)) == ["trunk.3", "trunk.6", "monitors.0.3", "monitors.1.3"]
    assert list(network.growl_layers(skip_layer=320)) == [
        "trunk.0",
        "trunk.3",
        "monitors.0.0",
        "monitors.0.3",
        "monitors.1.0",
        "monitors.1.3",
    ]


@pytest.mark.parametrize("num_outs", [[10], [10, 10], [2, 5, 3]])
def test_any_number_of_tasks_and_classes(num_outs: list[int]) -> None:
    outputs = Architecture("MDMTN", "MultiMnist", tuple(num_outs)).build()(torch.zeros(4, 1, 28, 28))
    assert [tuple(output.shape) for output in outputs] == [(4, classes) for classes in num_outs]


def test_heads_read_the_mixture_of_trunk_and_monitor(splits: Splits) -> None:
    network, images = make_network(splits), splits.test.images[:7]
    shared = network.trunk(images)
    for output, head in zip(network(images), network.heads, strict=True):
        torch.testing.assert_close(output, head(shared))  # alphas start at (1, 0)
    with torch.no_grad():
        network.alphas.copy_(torch.tensor([[0.5, 2.0], [-1.0, 3.0]]))
    for task, output in enumerate(network(images)):
        weight, extra = network.alphas[task]
        mixture = weight * shared + extra * network.monitors[task](images)
        torch.testing.assert_close(output, network.heads[task](mixture))


def test_alphas_are_saved_moved_and_trained() -> None:
    network = Architecture("MDMTN", "MultiMnist", (10, 10)).build()
    assert isinstance(network, MDMTN)
    assert "alphas" in network.state_dict()
    assert network.to(torch.float64).alphas.dtype == torch.float64
    assert network.alphas.requires_grad


def test_model_file_restores_every_number(splits: Splits, tmp_path: Path) -> None:
    network = make_network(splits)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    save_model(tmp_path / "model.pth", network, MDMTN_MM, {"lr": 0.1}, {"test_accuracy": [1.0, 2.0]})
    saved = load_model(tmp_path / "model.pth", MDMTN_MM)
    assert equal_states(saved.network.state_dict(), network.state_dict())
    assert saved.parameters == {"lr": 0.1}
    assert saved.results == {"test_accuracy": [1.0, 2.0]}
    torch.load(tmp_path / "model.pth", weights_only=True)


def test_model_of_another_architecture_is_refused(splits: Splits, tmp_path: Path) -> None:
    save_model(tmp_path / "model.pth", make_network(splits), MDMTN_MM, {}, {})
    with pytest.raises(UserError, match=r"MDMTN on MultiMnist with \[10, 10\] classes; wanted: .*\[10, 5\]"):
        load_model(tmp_path / "model.pth", Architecture("MDMTN", "MultiMnist", (10, 5)))


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04 cut off"])
def test_damaged_model_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.pth"):
        load_model(tmp_path / "model.pth")


def test_model_file_of_other_content_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "model.pth")
    with pytest.raises(UserError, match="no model file of format version"):
        load_model(tmp_path / "model.pth")


def test_names_of_architectures_are_those_there_are() -> None:
    assert set(ARCHITECTURE_NAMES) == set(ARCHITECTURES)
    for name in ARCHITECTURE_NAMES:
        check_architecture(name)
        assert len(Architecture(name, "MultiMnist", (10,)).build().growl_layers(skip_layer=1)) > 0


def test_unknown_architecture_or_backbone_is_refused() -> None:
    for make in (check_architecture, lambda name: Architecture(name, "MultiMnist", (10, 10)).build()):
        with pytest.raises(UserError, match=r"architecture is 'MDMTM'; allowed: MDMTN, HPS, STL, MTAN") as error:
            make("MDMTM")
        one_line(error)
    with pytest.raises(UserError, match=r"backbone is 'Cifar10'; allowed: MultiMnist, Cifar10Mnist"):
        Architecture("HPS", "Cifar10", (10, 10)).build()


def test_a_convolution_with_groups_is_never_sparse() -> None:
    trunk = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(24, 5))
    network = HPS(trunk, [nn.Linear(5, 2)])
    assert list(network.growl_layers(skip_layer=0)) == ["trunk.1", "trunk.3"]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_linear_layer_of_images_is_a_flatten_and_a_linear_layer(layout: torch.memory_format) -> None:
    layer, plain = ImageLinear(3 * 4 * 5, 7).double(), nn.Linear(3 * 4 * 5, 7).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).to(memory_format=layout)
    found, wanted = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = layer(found), plain(wanted.flatten(1))
    torch.testing.assert_close(y, expected)
    (y**2).sum().backward()
    (expected**2).sum().backward()
    torch.testing.assert_close(found.grad, wanted.grad)
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)
    steps = [step.op for step in capture(nn.Sequential(layer), x).steps.values()]
    assert steps == ["flatten", "linear"]
