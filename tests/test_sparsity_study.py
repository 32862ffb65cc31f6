"""The study of accuracy and size: what it trains, what it leaves, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import Train_and_Test
from src.models.registry import load_model
from src.utils.command_line.parser import exit_code
from src.utils.errors import UserError
from src.utils.report.draw import draw
from src.utils.study.sparsity_study import TABLE, read_sizes, sparsity_candidates
from src.utils.study.sweep import read_outcome
from tests.processes import train_in_this_process

FEW = ("--demo", "--num_epochs", "1", "--num_batchEpoch", "4", "--max_iter", "1", "--max_iter_search", "1")


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    train_in_this_process(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["Train_and_Test.py", "sparsity_study", *words])
    return exit_code(lambda: Train_and_Test.main(sys.argv[1:]))


def test_candidates_are_the_dense_network_and_a_grid_in_which_the_tasks_keep_their_ratio() -> None:
    dense, *sparse = sparsity_candidates((0.5, 0.1, 0.4), (0.1, 0.01), (0.9, 0.5, 0.9))
    assert dense == {"w": pytest.approx((0.0, 0.2, 0.8))}
    assert [(point["w"][0], point["max_layerSRate"]) for point in sparse] == [
        *((0.01, 0.5), (0.01, 0.9), (0.1, 0.5), (0.1, 0.9))
    ]
    assert sparse[-1]["w"] == pytest.approx((0.1, 0.18, 0.72))


@pytest.mark.parametrize(
    ("k0s", "caps", "message"),
    [
        ((0.0,), (0.5,), "k0 is [0.0]; allowed: numbers above 0, below 1"),
        ((1.0,), (0.5,), "k0 is [1.0]; allowed"),
        ((0.1,), (1.5,), "caps is [1.5]; allowed: numbers above 0, up to 1"),
        ((0.1,), (), "caps is []; allowed"),
    ],
)
def test_other_numbers_are_refused(k0s: tuple[float, ...], caps: tuple[float, ...], message: str) -> None:
    with pytest.raises(UserError) as error:
        sparsity_candidates((0.0, 0.5, 0.5), k0s, caps)
    assert message in str(error.value)


def test_the_command_leaves_a_table_and_a_picture_that_are_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("--k0s", "0.1", "--caps", "0.9", "--jobs", "2")
    words = ("--architecture", "HPS", *FEW, "--max_iter_retrain", "1", *grid, "--output-dir", str(tmp_path))
    assert command(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    (folder,) = tmp_path.glob("logs/sparsity_study_HPS_MultiDigits_*")
    dense, sparse = read_sizes(folder)
    for size, point in zip((dense, sparse), read_outcome(folder).points, strict=True):
        assert (size.test_accuracy, size.sparsity_rate) == pytest.approx(
            (point.results.mean_test_accuracy, point.results.sparsity_rate)
        )
        assert f"{size.parameters:,}" in said
    network = load_model(read_outcome(folder).points[0].results.folder / "model.pth").network
    assert dense.parameters == sum(torch.numel(parameter) for parameter in network.parameters())
    assert (dense.cap, sparse.cap, dense.sparsity_rate) == (0.0, 0.9, 0.0)
    assert sparse.sparsity_rate > 50
    assert sparse.parameters < dense.parameters / 2
    assert sparse.kilobytes < dense.kilobytes / 2
    assert sparse.multiply_adds < dense.multiply_adds / 2
    (folder / "sizes.png").unlink()
    assert folder / "sizes.png" in draw(folder)
    (folder / TABLE).write_text("k0,cap\n0.1,x\n")
    with pytest.raises(UserError, match=r"sparsity_study\.csv is missing or damaged"):
        read_sizes(folder)


def test_a_cap_that_is_not_allowed_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--demo", "--caps", "2", "--output-dir", str(tmp_path)) == 2
    assert "caps is [2.0]; allowed: numbers above 0, up to 1" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
