"""Choosing among saved models: what is listed, what a budget leaves, which one is named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from Data_loaders.loaders import Splits
from src.models.registry import Architecture, load_model, save_model
from src.utils.deployment.catalogue import Budget, Entry, choose, find_models
from src.utils.errors import UserError
from src.utils.report.choice import draw_models
from src.utils.runs.config import RunConfig
from src.utils.sparsity.compress import compress
from src.utils.sparsity.figures import Figures
from tests.conftest import one_line
from tests.test_compress import sparse_mdmtn
from tests.test_scripts import run

MDMTN_MM, HPS_MM = Architecture("MDMTN", "MultiMnist", (10, 10)), Architecture("HPS", "MultiMnist", (10, 10))


def results(architecture: str, accuracy: float, dataset: str = "MultiDigits") -> dict[str, Any]:
    """What a run records of itself, as far as a list of models needs it."""
    return {
        "architecture": architecture,
        "dataset": dataset,
        "task_names": ["left digit", "right digit"],
        "k": [0.1, 0.3, 0.6],
        "seed": 0,
        "validation_accuracy": [accuracy, accuracy + 1],
        "test_accuracy": [accuracy - 2, accuracy - 1],
        "sparsity_rate": 70.0,
    }


@pytest.fixture(scope="module")
def house(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense network twice, its compressed form, a smaller one, an unfinished run, and a file of another kind."""
    root = tmp_path_factory.mktemp("house")
    models, run_folder = root / "src" / "Sparse_models", root / "logs" / "script" / "run"
    network = sparse_mdmtn(splits)
    small = compress(network, splits.test.images[:1]).network()
    save_model(models / "dense.pth", network, MDMTN_MM, {}, results("MDMTN", 95.0))
    save_model(run_folder / "model_compressed.pth", small, MDMTN_MM, {}, results("MDMTN", 95.0))
    shutil.copy(models / "dense.pth", run_folder / "model.pth")
    (run_folder / "results.json").write_text("{}")
    torch.manual_seed(1)
    save_model(models / "hps.pth", HPS_MM.build(), HPS_MM, {}, results("HPS", 90.0))
    save_model(root / "logs" / "script" / "unfinished" / "model.pth", HPS_MM.build(), HPS_MM, {}, results("HPS", 99.0))
    (models / "other.pth").write_text("no model")
    save_model(models / "old.pth", HPS_MM.build(), HPS_MM, {}, {})
    return root


def config_in(root: Path) -> RunConfig:
    return RunConfig(script="models", architecture="any", dataset="any", output_dir=str(root))


def test_every_model_is_listed_once_with_what_it_is(house: Path) -> None:
    notes: list[str] = []
    entries = find_models(config_in(house), notes.append)
    assert [entry.path.name for entry in entries] == ["dense.pth", "hps.pth", "model_compressed.pth"]
    assert len(notes) == 2
    assert any("other.pth is damaged" in note or "other.pth cannot be read" in note for note in notes)
    assert any("old.pth does not say what it reached" in note for note in notes)
    dense, hps, small = entries
    assert dense.training == small.training != hps.training
    assert (dense.compressed, small.compressed) == (False, True)
    assert 3 * small.figures.bytes < dense.figures.bytes
    assert dense.figures.parameters == sum(p.numel() for p in load_model(dense.path).network.parameters())
    assert (dense.mean_accuracy, dense.mean_test_accuracy, hps.k) == (95.5, 93.5, (0.1, 0.3, 0.6))


def entry(name: str, accuracy: float, size: int, ms: float, adds: int, dataset: str = "A") -> Entry:
    values = ("HPS", False, dataset, ("one", "two"), (0.0, 0.5, 0.5), 0)
    cost = Figures(size // 4, size, adds, {1: ms, 256: 200 * ms})
    return Entry(Path(name), *values, (accuracy, accuracy), (accuracy - 3, accuracy - 1), 0.0, cost)


ENTRIES = [entry("a", 90, 400, 0.4, 40), entry("b", 95, 900, 0.2, 60), entry("c", 97, 2000, 0.9, 20)]


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        (Budget(), "cba"),
        (Budget(max_bytes=900), "ba"),
        (Budget(max_bytes=899), "a"),
        (Budget(max_ms=0.4), "ba"),
        (Budget(max_multiply_adds=40), "ca"),
        (Budget(max_bytes=1000, max_multiply_adds=50), "a"),
    ],
)
def test_a_budget_leaves_what_is_within_it_the_most_accurate_first(budget: Budget, left: str) -> None:
    (found,) = choose(ENTRIES, budget).values()
    assert "".join(item.path.name for item in found) == left


def test_data_sets_are_apart_and_of_equals_the_smaller_comes_first() -> None:
    twin = replace(ENTRIES[0], path=Path("d"), figures=replace(ENTRIES[0].figures, bytes=300))
    found = choose([*ENTRIES[:1], twin, entry("e", 99, 1, 0.1, 1, dataset="B")], Budget())
    assert [[item.path.name for item in group] for group in found.values()] == [["d", "a"], ["e"]]


def test_nothing_to_choose_from_is_one_line() -> None:
    with pytest.raises(UserError, match="there is no saved model yet") as error:
        choose([], Budget())
    one_line(error)
    needs = "none of 3 models is within the budget; the least that models here need: 400 bytes, 0.200 ms, 20 multiply"
    with pytest.raises(UserError, match=needs) as error:
        choose(ENTRIES, Budget(max_bytes=1))
    one_line(error)


def test_the_picture_has_a_mark_per_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []

    def keep(figure: Any, path: Path) -> list[Path]:
        figures.append(figure)
        return [path]

    monkeypatch.setattr("src.utils.report.choice.save", keep)
    small = replace(ENTRIES[2], compressed=True, figures=replace(ENTRIES[2].figures, bytes=500))
    draw_models(tmp_path / "models.png", [*ENTRIES, small], small)
    (axis,) = figures[0].axes
    dense, compressed, best = (marks.get_offsets().tolist() for marks in axis.collections)
    assert dense == [[0.4, 88], [0.9, 93], [2.0, 95]]
    assert compressed == best == [[0.5, 95]]
    assert [line.get_xdata().tolist() for line in axis.lines][-1] == [2.0, 0.5]


def test_the_command_lists_names_and_draws(
    house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--output-dir", str(house))
    assert run(monkeypatch, "Train_and_Test.py", "models", *place) == 0
    screen = capsys.readouterr().out
    assert "most accurate: " in screen
    assert screen.count("MDMTN k (0.1, 0.3, 0.6) seed 0") == 2
    assert (house / "Images" / "MultiDigits" / "models_left_digit_right_digit.png").is_file()
    assert run(monkeypatch, "Train_and_Test.py", "models", *place, "--max_bytes", "100000") == 0
    screen = capsys.readouterr().out
    assert f"most accurate within the budget: {house}/src/Sparse_models/hps.pth (validation 90.50 %" in screen
    assert run(monkeypatch, "Train_and_Test.py", "models", *place, "--max_bytes", "1") == 2
    assert "none of 3 models is within the budget" in capsys.readouterr().err
