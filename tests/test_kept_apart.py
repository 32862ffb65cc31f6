"""Runs, studies and comparisons keep what others left, or say what they replace."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.utils.runs.config import ROOT, Run, RunConfig
from src.utils.training import engine
from src.utils.training.parameters import TrainingParameters
from tests.test_scripts import SHORT, files_in, run

SCRIPT, ROUNDS = "Example_HPS_MM_withSparsity.py", 20


def public(folder: Path) -> dict[Path, bytes]:
    """What lies in the two public folders."""
    return {**files_in(folder / "Images"), **files_in(folder / "src")}


def test_a_run_with_other_parameters_replaces_nothing_and_the_same_again_says_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--demo", *SHORT, "--output-dir", str(tmp_path)]
    assert run(monkeypatch, SCRIPT, *flags) == 0
    first = public(tmp_path)
    assert len(first) == 5  # a model and four pictures
    assert run(monkeypatch, SCRIPT, *flags, "--lr", "1e-3") == 0
    second = public(tmp_path)
    assert len(second) == 10
    assert {path: second[path] for path in first} == first
    assert "replaced" not in capsys.readouterr().err
    assert run(monkeypatch, SCRIPT, *flags) == 0
    assert set(public(tmp_path)) == set(second)
    (line,) = (text for text in capsys.readouterr().err.splitlines() if "replaced" in text)
    (model,) = (path for path in first if path.suffix == ".pth")
    assert line.startswith(f"note: an earlier run was the same; replaced: {model} and the pictures ")


def test_single_tasks_have_samples_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--demo", *SHORT, "--output-dir", str(tmp_path)]
    assert run(monkeypatch, SCRIPT, *flags) == 0
    before = public(tmp_path)
    for task in ("0", "1"):
        assert run(monkeypatch, "Example_STL_MM_withSparsity.py", *flags, "--task", task) == 0
    assert {path: public(tmp_path)[path] for path in before} == before
    assert len(list(tmp_path.glob("logs/*/*/samples.png"))) == 3
    assert len(list(tmp_path.glob("Images/*/*_samples.png"))) == 3


def test_a_second_study_keeps_the_pictures_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["search", "--architecture", "HPS", "--k0", "0.01", "--resolution", "2", "--demo", *SHORT]
    flags += ["--output-dir", str(tmp_path)]
    assert run(monkeypatch, "Train_and_Test.py", *flags) == 0
    first = public(tmp_path)
    assert run(monkeypatch, "Train_and_Test.py", *flags, "--lr", "1e-3") == 0
    assert {path: public(tmp_path)[path] for path in first} == first
    assert "replaced" not in capsys.readouterr().err
    assert run(monkeypatch, "Train_and_Test.py", *flags) == 0
    notes = capsys.readouterr().err
    assert "the same was drawn before; replaced: the pictures " in notes
    assert "an earlier run was the same; replaced: " in notes  # the best model


def test_a_comparison_says_what_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, SCRIPT, "--demo", *SHORT, "--output-dir", str(tmp_path)) == 0
    (folder,) = tmp_path.glob("logs/*/*")
    flags = ["compare", str(folder), "--output-dir", str(tmp_path)]
    assert run(monkeypatch, "Train_and_Test.py", *flags) == 0
    assert "replaced" not in capsys.readouterr().err
    assert run(monkeypatch, "Train_and_Test.py", *flags, "--name", "other") == 0
    assert "replaced" not in capsys.readouterr().err
    assert run(monkeypatch, "Train_and_Test.py", *flags) == 0
    assert "replaced: " in capsys.readouterr().err


def test_the_fingerprint_is_of_what_is_run_not_of_where_and_when(tmp_path: Path) -> None:
    config = RunConfig(script="mine", architecture="HPS", dataset="MultiDigits")
    parameters = TrainingParameters()
    first = Run.new(config, parameters)
    assert first.fingerprint is not None
    assert len(first.fingerprint) == 6
    places: dict[str, Any] = {
        "output_dir": str(tmp_path),
        "data_dir": str(tmp_path),
        "main_dir": "elsewhere",
        "script": "other",
    }
    assert Run.new(replace(config, **places), parameters).fingerprint == first.fingerprint
    configured: list[dict[str, Any]] = [
        *({"seed": 1}, {"data_seed": 1}, {"task": 1}, {"architecture": "MDMTN"}, {"dataset": "x"})
    ]
    trained: list[dict[str, Any]] = [{"lr": 1e-3}, {"num_model": 1}, {"w": (1e-3, 0.3, 0.699)}]
    others = {Run.new(replace(config, **change), parameters).fingerprint for change in configured}
    others |= {Run.new(config, parameters.changed(**change)).fingerprint for change in trained}
    assert len(others | {first.fingerprint}) == 9


@pytest.mark.slow
def test_of_two_processes_in_one_folder_at_the_same_moment_one_works_and_one_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: engine.Trainer, *arguments: Any) -> None:
        if len(self.history) == 1:
            raise KeyboardInterrupt
        original(self, *arguments)

    original = engine.Trainer._epoch
    flags = ["--demo", "--output-dir", str(tmp_path / "out"), "--num_epochs", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(engine.Trainer, "_epoch", interrupted)
        assert run(patch, SCRIPT, *flags) == 130
    (begun,) = tmp_path.glob("out/logs/*/*")
    kept = shutil.copytree(begun, tmp_path / "kept")
    for _ in range(ROUNDS):
        shutil.rmtree(begun)
        shutil.copytree(kept, begun)
        command = [sys.executable, SCRIPT, "--resume", str(begun), "--quiet"]
        both = [
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        errors = [process.communicate(timeout=300)[1] for process in both]
        assert sorted(process.returncode for process in both) == [0, 2]
        (refused,) = (text for process, text in zip(both, errors, strict=True) if process.returncode)
        assert refused == f"error: the run in {begun} is in the hands of another process\n"
        assert (begun / "results.json").exists()
