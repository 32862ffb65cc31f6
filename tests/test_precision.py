"""The faster precision, found once and remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from src.models.registry import Architecture
from src.utils.runs import precision
from src.utils.runs.config import RunConfig
from src.utils.runs.precision import faster_precision
from src.utils.runs.problem import load_problem
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Observer
from tests.test_scripts import run as run_script

SHORT = ("--demo", "--quiet", "--max_iter", "1", "--num_epochs", "1", "--num_batchEpoch", "2", "--precision", "auto")


def test_a_run_is_trained_in_the_faster_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precision, "bf16_gain", lambda network, images: precision.LEAST_GAIN)
    assert run_script(monkeypatch, "Example_HPS_MM_noSparsity.py", *SHORT, "--output-dir", str(tmp_path)) == 0
    assert "precision bf16: bf16 saves 20 % of forward and backward pass here" in capsys.readouterr().err
    (results,) = tmp_path.glob("logs/Example_*/*/results.json")
    assert json.loads(results.read_text())["parameters"]["precision"] == "bf16"


def test_what_was_found_is_remembered_for_the_same_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gains = iter([0.5, precision.LEAST_GAIN - 0.001, 0.5])
    monkeypatch.setattr(precision, "bf16_gain", lambda network, images: next(gains))
    config = RunConfig(script="s", architecture="HPS", dataset="MultiDigits", output_dir=str(tmp_path))
    parameters, said = TrainingParameters(w=(0.0, 0.5, 0.5)), list[str]()
    problem = load_problem(config, parameters, Observer())
    small = parameters.changed(batch_size=8)
    found = [faster_precision(config, of, problem, said.append) for of in (parameters, small, parameters, small)]
    assert found == ["bf16", "fp32", "bf16", "fp32"]
    assert ["as it was found before" in line for line in said] == [False, False, True, True]
    (tmp_path / "logs" / precision.REMEMBERED).write_text("damaged")
    assert faster_precision(config, small, problem, said.append) == "bf16"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--k", "0", "1"), "w (the preference vector k) has 2 numbers"),
        (("--is_search", "no"), "is_search is False, which starts from a sparse model: name its file with --model"),
    ],
)
def test_bad_input_is_refused_before_anything_is_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    message: str,
) -> None:
    places = ("--output-dir", str(tmp_path))
    assert run_script(monkeypatch, "Example_HPS_MM_withSparsity.py", *SHORT, *places, *flags) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_measured_is_fp32_and_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(network: object, inputs: object) -> float:
        raise RuntimeError("no bf16 here")

    monkeypatch.setattr(precision, "bf16_gain", fails)
    config = RunConfig(script="s", architecture="HPS", dataset="MultiDigits", output_dir=str(tmp_path))
    parameters, said = TrainingParameters(w=(0.0, 0.5, 0.5)), list[str]()
    assert faster_precision(config, parameters, None, said.append) == "fp32"
    assert said == ["precision fp32: bf16 could not be measured (no bf16 here)"]
    assert not (tmp_path / "logs" / precision.REMEMBERED).exists()


def test_measuring_leaves_the_network_as_it_is() -> None:
    network = Architecture("HPS", "MultiMnist", (10, 10)).build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    gain = precision.bf16_gain(network, torch.rand(4, 1, 28, 28))
    assert gain < 1
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
