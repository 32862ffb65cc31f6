"""A reference point from single-task networks that are trained first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.utils.runs.history import read_history
from tests.test_scripts import run as run_script

SHORT = ("--demo", "--quiet", "--max_iter", "1", "--num_epochs", "2", "--num_batchEpoch", "4")


def single_losses(output: Path) -> list[float]:
    """Least training loss of an epoch of each single-task network, in the order of the tasks."""
    (record,) = output.glob("logs/ideal_*/sweep.json")
    names = [trial["name"] for trial in json.loads(record.read_text())["trials"]]
    histories = [read_history(record.parent / name / "history.csv") for name in names]
    return [min(epoch.objectives[1] for epoch in history) for history in histories]


def reference_points(output: Path) -> list[list[float]]:
    """The reference point of every finished run, but for the single-task networks."""
    files = output.glob("logs/Example_*/*/results.json")
    return [json.loads(path.read_text())["parameters"]["a"] for path in files]


def test_the_ideal_point_is_that_of_single_tasks_and_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*SHORT, "--a", "ideal", "--output-dir", str(tmp_path)]
    assert run_script(monkeypatch, "Example_HPS_MM_noSparsity.py", *flags) == 0
    (a,) = reference_points(tmp_path)
    assert a == pytest.approx([0.0, *single_losses(tmp_path)])
    assert all(0 < value < 2.3 for value in a[1:])
    assert "2 trainings start" in capsys.readouterr().err
    assert run_script(monkeypatch, "Example_HPS_MM_noSparsity.py", *flags, "--k", "0", "0.7", "0.3") == 0
    assert "trainings start" not in capsys.readouterr().err
    assert len(list(tmp_path.glob("logs/ideal_*"))) == 1


@pytest.mark.slow
def test_a_single_task_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [*SHORT, "--a", "ideal", "--task", "1", "--output-dir", str(tmp_path)]
    assert run_script(monkeypatch, "Example_STL_MM_noSparsity.py", *flags) == 0
    assert reference_points(tmp_path) == [pytest.approx([0.0, *single_losses(tmp_path)])]


def test_a_method_without_reference_point_trains_nothing_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*SHORT, "--a", "ideal", "--method", "WeightedSum", "--output-dir", str(tmp_path)]
    assert run_script(monkeypatch, "Example_HPS_MM_noSparsity.py", *flags) == 0
    assert not list(tmp_path.glob("logs/ideal_*"))
    assert "--a does nothing here" in capsys.readouterr().err
