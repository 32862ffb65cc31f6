"""Networks that leave the house: raw images in, the format ONNX, predictions for pictures."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from Data_loaders.Create_Cifar10Mnist_dataset import load_colour_digits
from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import Splits, normalise
from src.models.exported import WIDTH, RawImages, for_runtime
from src.models.registry import Architecture, save_model
from src.utils.checked import to_plain
from src.utils.deployment.inputs import Inputs
from src.utils.deployment.onnx import OnnxNetwork, export
from src.utils.deployment.predict import predict
from src.utils.errors import UserError
from src.utils.runs.config import ROOT
from src.utils.sparsity.compress import compress
from tests.conftest import CPU, one_line, quiet, short
from tests.test_compress import TOLERANCE, Maker, outputs, sparse_mdmtn
from tests.test_scripts import run

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MISSING = [name for name in PACKAGES if find_spec(name) is None]
with_onnx = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (requirements-export.txt)")
MDMTN_MM = Architecture("MDMTN", "MultiMnist", (10, 10))


def inputs_of(data: MultiTaskDataset) -> Inputs:
    return Inputs(data.x_train.shape[1:], data.mean, data.std, data.task_names, data.class_names)


@pytest.fixture(scope="module")
def networks(splits: Splits) -> dict[str, nn.Module]:
    """A sparse network and what compression makes of it."""
    dense = sparse_mdmtn(splits)
    return {"dense": dense, "compressed": compress(dense, splits.test.images[:1]).network()}


@pytest.fixture(scope="module")
def models(
    networks: dict[str, nn.Module], digits: MultiTaskDataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The same in files, as a run leaves them."""
    folder = tmp_path_factory.mktemp("models")
    images = {name: value for name, value in asdict(inputs_of(digits)).items() if name != "task_names"}
    results = {"dataset": "MultiDigits", "task": None, "data_seed": 0, "task_names": list(digits.task_names)}
    for name, network in networks.items():
        save_model(folder / f"{name}.pth", network, MDMTN_MM, to_plain(short()), {**results, "images": images})  # type: ignore[arg-type]
    return {name: folder / f"{name}.pth" for name in networks}


@pytest.fixture(scope="module")
def pictures(digits: MultiTaskDataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The first test images: as they are, coloured and larger, and as JPEG."""
    folder = tmp_path_factory.mktemp("pictures")
    plain, coloured, jpeg = folder / "0.png", folder / "1.png", folder / "2.jpg"
    Image.fromarray(digits.x_test[0]).save(plain)
    Image.fromarray(digits.x_test[1]).convert("RGB").resize((84, 84), Image.Resampling.BICUBIC).save(coloured)
    Image.fromarray(digits.x_test[2]).save(jpeg, quality=95)
    return [plain, coloured, jpeg]


# Raw images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dense", "compressed"])
def test_raw_images_are_normalised_inside(networks: dict[str, nn.Module], name: str, digits: MultiTaskDataset) -> None:
    network, images = networks[name], digits.x_test[:20]
    raw = RawImages(network, digits.mean, digits.std)  # type: ignore[arg-type]
    wanted = outputs(network, normalise(images, digits.mean, digits.std, CPU))
    for expected, got in zip(wanted, raw(torch.from_numpy(images)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_coloured_images_are_normalised_per_channel() -> None:
    data = load_colour_digits(Path("nowhere"), 0, quiet)
    torch.manual_seed(0)
    network = Architecture("HPS", "Cifar10Mnist", (2, 10)).build().eval()
    raw, images = RawImages(network, data.mean, data.std), data.x_test[:5]
    wanted = outputs(network, normalise(images, data.mean, data.std, CPU))
    for expected, got in zip(wanted, raw(torch.from_numpy(images)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), kind=st.sampled_from(["mdmtn", "hps", "mtan", "own"]))
def test_the_layout_for_a_runtime_changes_no_answer(seed: int, kind: str) -> None:
    maker = Maker(seed)
    network = getattr(maker, kind)()
    maker.damage(network)
    x = torch.randn(3, *maker.image, dtype=torch.float64)
    small = compress(network.double().eval(), x).network()
    for wanted, got in zip(outputs(small, x), outputs(for_runtime(small), x), strict=True):
        assert (got - wanted).abs().max() <= TOLERANCE[torch.float64] * max(float(wanted.detach().abs().max()), 1.0)


def test_a_runtime_gets_no_transposition_no_scattered_sums_and_full_vectors(networks: dict[str, nn.Module]) -> None:
    laid_out = for_runtime(networks["compressed"])  # type: ignore[arg-type]
    steps = laid_out.program.steps
    assert not any(step.op in {"merge", "select"} or step.options.get("channels_last") for step in steps)
    first = next(step for step in steps if step.op == "conv2d")
    assert len(laid_out.state_dict()[f"tensors.{first.name}.weight"]) % WIDTH == 0


# Predictions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dense", "compressed"])
def test_predictions_are_those_of_the_network(
    name: str, networks: dict[str, nn.Module], models: dict[str, Path], pictures: list[Path], digits: MultiTaskDataset
) -> None:
    inputs, answers = predict(models[name], pictures)
    assert inputs == inputs_of(digits)
    read = np.stack([inputs.read(path) for path in pictures])
    assert np.array_equal(read[0], digits.x_test[0])
    assert read.shape == (3, 28, 28)
    logits = outputs(networks[name], normalise(read, digits.mean, digits.std, CPU))
    for task, output in enumerate(logits):
        probabilities, classes = output.double().softmax(1).max(1)
        assert [answer.classes[task] for answer in answers] == [str(int(best)) for best in classes]
        assert [answer.probabilities[task] for answer in answers] == pytest.approx(probabilities.tolist(), abs=1e-4)


def test_the_command_predicts(
    models: dict[str, Path], pictures: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "Train_and_Test.py", "predict", str(models["compressed"]), *map(str, pictures)) == 0
    lines = capsys.readouterr().out.splitlines()
    _, answers = predict(models["compressed"], pictures)
    assert len(lines) == 3
    for line, path, answer in zip(lines, pictures, answers, strict=True):
        (left, right), (first, second) = answer.classes, answer.probabilities
        assert line.startswith(str(path))
        assert line.endswith(f"left digit: {left} ({100 * first:.1f} %), right digit: {right} ({100 * second:.1f} %)")


def test_what_is_no_picture_and_who_takes_none_is_refused(
    models: dict[str, Path], networks: dict[str, nn.Module], pictures: list[Path], tmp_path: Path
) -> None:
    for path, text in ((ROOT / "LICENSE", "cannot be read; allowed: a picture"), (tmp_path / "no.png", "no such file")):
        with pytest.raises(UserError, match=text) as error:
            predict(models["dense"], [path])
        assert str(path) in one_line(error)
    save_model(tmp_path / "own.pth", networks["compressed"], MDMTN_MM, {}, {"images": None, "task_names": ["a", "b"]})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"own\.pth does not say what images it takes") as error:
        predict(tmp_path / "own.pth", pictures)
    one_line(error)


def test_what_a_network_takes_comes_back_as_it_was(digits: MultiTaskDataset) -> None:
    inputs = inputs_of(digits)
    assert Inputs.of_text(Path("m"), inputs.as_text()) == inputs
    for text in ("", "{", "[]", json.dumps({"shape": 3})):
        with pytest.raises(UserError, match="m does not say what images it takes"):
            Inputs.of_text(Path("m"), text)


# ONNX ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_one_line(
    package: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PACKAGES[: PACKAGES.index(package)]:
        monkeypatch.setitem(sys.modules, name, sys)  # any module: it is not used
    monkeypatch.setitem(sys.modules, package, None)
    assert run(monkeypatch, "Train_and_Test.py", "export", str(models["dense"])) == 2
    error = capsys.readouterr().err
    assert error == f"error: {package} is not installed: pip install -r requirements-export.txt\n"


@pytest.fixture(scope="module")
def exported(
    networks: dict[str, nn.Module], digits: MultiTaskDataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Both networks as ONNX, and the compressed one with 8 bits."""
    folder = tmp_path_factory.mktemp("exported")
    for name in ("dense", "compressed", "compressed_int8"):
        network = networks[name.removesuffix("_int8")]
        found = export(network, inputs_of(digits), digits, folder / f"{name}.onnx", int8="int8" in name)  # type: ignore[arg-type]
        assert found.bytes == found.path.stat().st_size
        assert found.images == len(digits.x_test)
        assert all(time > 0 for time in found.latency_ms.values())
        if "int8" not in name:
            assert (found.other_classes, found.accuracy) == (0, found.accuracy_before)
    return {name: folder / f"{name}.onnx" for name in ("dense", "compressed", "compressed_int8")}


@with_onnx
def test_onnx_runtime_answers_as_torch_in_batches_of_any_size(
    exported: dict[str, Path], networks: dict[str, nn.Module], digits: MultiTaskDataset
) -> None:
    for name, network in networks.items():
        there = OnnxNetwork.read(exported[name])
        assert there.inputs == inputs_of(digits)
        for size in (1, 7, 100):
            images = digits.x_test[:size]
            wanted = outputs(network, normalise(images, digits.mean, digits.std, CPU))
            for expected, got in zip(wanted, there(images), strict=True):
                assert got.shape == (size, 10)
                torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-4, atol=1e-4)


@with_onnx
def test_a_compressed_network_is_smaller_there_and_with_8_bits_again(
    exported: dict[str, Path], networks: dict[str, nn.Module], digits: MultiTaskDataset
) -> None:
    sizes = [exported[name].stat().st_size for name in ("dense", "compressed", "compressed_int8")]
    assert 2.5 * sizes[1] < sizes[0]
    assert 1.5 * sizes[2] < sizes[1]
    for a, b in zip(*(OnnxNetwork.read(exported[name])(digits.x_test) for name in list(exported)[1:]), strict=True):
        assert np.abs(a - b).max() < 0.1 * np.abs(a).max()


@with_onnx
def test_an_exported_file_tells_nothing_of_where_it_was_made(exported: dict[str, Path]) -> None:
    for path in exported.values():
        content = path.read_bytes()
        assert str(ROOT).encode() not in content
        assert b"site-packages" not in content


@with_onnx
def test_predictions_are_the_same_from_every_file(
    exported: dict[str, Path], models: dict[str, Path], pictures: list[Path]
) -> None:
    for name, model in models.items():
        for wanted, got in zip(predict(model, pictures)[1], predict(exported[name], pictures)[1], strict=True):
            assert got.classes == wanted.classes
            assert got.probabilities == pytest.approx(wanted.probabilities, abs=1e-4)


@with_onnx
def test_a_network_that_answers_otherwise_is_not_written(
    networks: dict[str, nn.Module], digits: MultiTaskDataset, tmp_path: Path
) -> None:
    other = replace(inputs_of(digits), std=(0.5,))
    altered = RawImages.__init__

    def wrong(self: RawImages, network: nn.Module, mean: object, std: object) -> None:
        altered(self, network, (0.0,), (1.0,))  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match=r"is not written: its logits") as error:
        patch.setattr(RawImages, "__init__", wrong)
        export(networks["dense"], other, digits, tmp_path / "model.onnx", int8=False)  # type: ignore[arg-type]
    one_line(error)
    assert not any(tmp_path.iterdir())


@with_onnx
def test_the_command_exports_and_refuses_what_is_damaged(
    models: dict[str, Path], pictures: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "Train_and_Test.py", "export", str(models["compressed"])) == 0
    screen, target = capsys.readouterr().out, models["compressed"].with_suffix(".onnx")
    assert "794 of 794 answers to 397 test images are torch's" in screen
    assert str(target) in screen
    target.write_bytes(target.read_bytes()[:2000])
    assert run(monkeypatch, "Train_and_Test.py", "predict", str(target), str(pictures[0])) == 2
    assert capsys.readouterr().err.startswith(f"error: {target} cannot be read: it is damaged, or no network")
