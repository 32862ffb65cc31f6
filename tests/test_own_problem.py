"""The penguins: mixed tasks with missing labels, from a table to a compressed network by the commands of one script."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from Data_loaders.loaders import Splits
from Example_own_problem import penguins
from src.models.hps import HPS
from src.models.registry import load_model
from src.utils.runs.results import read_results
from src.utils.tasks import REGRESSION
from src.utils.training import engine
from tests.test_scripts import run

SCRIPT, STUDY = "Example_own_problem.py", "Pareto_front_study_own_problem.py"
SHORT = ("--max_iter", "1", "--max_iter_search", "1", "--max_iter_retrain", "1", "--num_epochs", "2")


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the script has left its files, with its own parameters."""
    folder = tmp_path_factory.mktemp("penguins")
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, SCRIPT, "--output-dir", str(folder), "--quiet") == 0
    return folder


def test_the_table_has_labels_missing_in_places() -> None:
    data = penguins().data
    assert isinstance(data, Splits)
    parts = (data.train, data.validation, data.test)
    assert sum(len(part) for part in parts) == 344
    missing = [sum(int(part.labels[task].isnan().sum()) for part in parts) for task in (1, 2)]
    assert missing == [11, 2]
    assert all(part.images.isfinite().all() for part in parts)


def test_rows_fall_and_all_tasks_are_learned(trained: Path) -> None:
    results = read_results(only(trained, "logs/*/*/results.json").parent)
    assert results.sparsity_rate > 30
    assert results.sparsity_advice is None
    assert results.scores is not None
    found = results.scores.test_scores
    assert found["species"]["accuracy"] > 0.85
    assert found["sex"]["average_precision"] > 0.9
    assert found["body mass"]["r2"] > 0.75
    assert found["body mass"]["rmse"] < 0.4  # kg
    assert results.compression is not None
    assert results.compression["compressed"]["parameters"] < 0.6 * results.compression["dense"]["parameters"]


def test_the_compressed_network_gives_the_same_answers_and_is_tested_by_the_same_command(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = penguins()
    model = only(trained, "src/Sparse_models/*.pth")
    assert run(monkeypatch, SCRIPT, "compress", str(model)) == 0
    small = model.with_name(f"{model.stem}_compressed.pth")
    assert isinstance(problem.data, Splits)
    images = problem.data.test.images
    dense = load_model(model, network=problem.network()).network
    for wanted, found in zip(dense(images), load_model(small).network(images), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    capsys.readouterr()
    shown = []
    for file in (model, small):
        assert run(monkeypatch, SCRIPT, "test", str(file)) == 0
        shown.append(capsys.readouterr().out)
    small.unlink()
    assert "average_precision" in shown[0]
    assert "rmse" in shown[0]
    assert shown[1].splitlines() == shown[0].splitlines()[: len(shown[1].splitlines())]


def outcome(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(only(folder, "logs/*/*/results.json").read_text())
    if content["compression"]:
        for kind in ("dense", "compressed"):
            content["compression"][kind].pop("latency_ms")
    return {name: value for name, value in content.items() if name != "seconds"}


def test_an_interrupted_run_is_continued_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.utils.report.run.draw_run", lambda folder: [])
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert run(monkeypatch, SCRIPT, *SHORT, "--quiet", "--output-dir", str(whole)) == 0
    original = engine.Trainer._epoch

    def interrupted(self: engine.Trainer, *arguments: Any) -> None:
        if len(self.history) == 3:
            raise KeyboardInterrupt
        original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(engine.Trainer, "_epoch", interrupted)
        assert run(patch, SCRIPT, *SHORT, "--quiet", "--output-dir", str(part)) == 130
    folder = only(part, "logs/*/*")
    assert run(monkeypatch, "Train_and_Test.py", "--resume", str(folder)) == 2  # another script knows nothing of it
    assert run(monkeypatch, SCRIPT, "--resume", str(folder)) == 0
    assert outcome(part) == outcome(whole)


def test_the_mixed_problem_is_searched_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ("--k0", "0.1", "--resolution", "3", "--quiet", "--output-dir", str(tmp_path))
    assert run(monkeypatch, SCRIPT, "search", *SHORT, *flags) == 0
    table = list(csv.DictReader(only(tmp_path, "logs/search_own_penguins_*/search.csv").open()))
    assert [row["k_3"] for row in table] == ["0.3"]
    assert 0 < float(table[0]["test_accuracy_3"]) < 100
    load_model(only(tmp_path, "src/Sparse_models/*.pth"), network=penguins().network())


def test_the_front_of_a_classification_and_a_regression_is_studied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--resolution", "3", "--max_iter", "1", "--num_epochs", "2", "--output-dir", str(tmp_path), "--quiet")
    assert run(monkeypatch, STUDY, "study", *flags) == 0
    folder = only(tmp_path, "logs/pareto_own_penguins_pair_*")
    rows = list(csv.DictReader((folder / "front.csv").open()))
    assert [(row["k_0"], row["k_1"], row["k_2"]) for row in rows] == [("0.1", "0.3", "0.6"), ("0.1", "0.6", "0.3")]
    assert any(row["on_front"] == "True" for row in rows)
    kinds = json.loads(next(folder.glob("k*/results.json")).read_text())["tasks"]
    assert [task["kind"] for task in kinds] == ["classification", REGRESSION]
    assert "test score, body mass" in (folder / "report.md").read_text()
    assert {path.name for path in folder.glob("*.png")} == {"losses.png", "accuracies.png", "curves.png"}
    capsys.readouterr()
    assert run(monkeypatch, STUDY, "study", *flags) == 0  # goes on: nothing is left to do
    assert "2 of 2 trainings are done" in capsys.readouterr().err


def test_another_network_makes_another_search() -> None:
    problem = penguins()
    assert problem.checksum == penguins().checksum
    wider = replace(problem, network=lambda: HPS(nn.Linear(6, 9), [nn.Linear(9, n) for n in (3, 1, 1)]))
    assert wider.checksum != problem.checksum
    assert penguins(problem.tasks[:2]).checksum != problem.checksum


def test_an_unknown_command_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, SCRIPT, "serch") == 2
    assert capsys.readouterr().err.startswith("error: unknown command 'serch'; known: search, repeat, study, test")
