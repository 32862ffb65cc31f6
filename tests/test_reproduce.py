"""The command that makes the README's figures: cases, lines and tables."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import experiments, preference_ratios, reproduce, scalarizations, sparsity_control
from benchmarks.cases import CAPPED, CASES
from benchmarks.experiments import keep_rows, read_rows
from benchmarks.pictures import draw
from benchmarks.shown import SHOWN_RUNS, SHOWN_STUDIES
from benchmarks.tables import PAGES, REFERENCE, TABLES, read_lines, size_of, with_tables, write_tables
from src.utils.command_line.parser import exit_code
from src.utils.errors import UserError
from src.utils.files import write_text
from src.utils.runs.config import ROOT
from src.utils.study.sweep import Outcome
from tests.processes import train_in_this_process
from tests.test_report import made_up_search, made_up_study

RESULTS = ROOT / "results"


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    train_in_this_process(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["reproduce", *words])
    return exit_code(reproduce.main)


def line(case: str, seed: int, **values: Any) -> dict[str, Any]:
    figures = {"parameters": 100, "bytes": 4000, "multiply_adds": 90, "latency_ms": {"1": 2.0, "256": 8.0}}
    small = {"parameters": 20, "bytes": 1000, "multiply_adds": 30, "latency_ms": {"1": 1.0, "256": 2.0}}
    return {
        "case": case,
        "seed": seed,
        "data_seed": 0,
        "test_accuracy": [90.0 + seed, 80.0],
        "sparsity_rate": 50.0,
        "compression_rate": 2.0,
        "parameter_sharing": 1.0,
        "seconds": 120.0,
        "compression": {"dense": figures, "compressed": small},
        **values,
    }


def write(folder: Path, case: str, lines: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{case}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in lines))


def test_every_page_has_the_tables_of_the_committed_results() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text()
        assert with_tables(text, RESULTS) == text, f"run python -m benchmarks.reproduce --table for {page}"
    shown = {name for page in PAGES for name in re.findall(r"<!-- table (\w+) -->", (ROOT / page).read_text())}
    assert shown == set(TABLES)


def test_tables_show_means_spreads_and_quotients(tmp_path: Path) -> None:
    write(tmp_path / "r", "MDMTN_MM_sparse", [line("MDMTN_MM_sparse", seed) for seed in (0, 2)])
    empty = "".join(f"<!-- table {name} -->old<!-- end -->\n" for name in ("main", "small", "seeds"))
    made = with_tables(f"before\n{empty}", tmp_path / "r")
    assert made.startswith("before\n")
    assert "old" not in made
    theirs = f"{REFERENCE['MDMTN_MM_sparse'][1]:.2f}, {REFERENCE['MDMTN_MM_sparse'][2]:.1f}"
    assert f"| `Example_MDMTN_MM_withSparsity.py` | 2 | 85.50 ± 0.71 | 50.0 ± 0.0 | {theirs} |" in made
    assert "| 50.0 ± 0.0 | 100 -> 20 | 4 -> 1 | 90 -> 30 | 2.00 | 4.00 |" in made
    assert "|  | 2 | 92.00 / 80.00 (86.00) | 50.0 | 2.00 | 1.00 |  |" in made
    assert with_tables(made, tmp_path / "r") == made


def test_networks_without_zero_rows_are_compressed_beside_those_with(tmp_path: Path) -> None:
    write(tmp_path / "r", "MDMTN_MM_sparse", [line("MDMTN_MM_sparse", 0)])
    write(tmp_path / "r", "MDMTN_MM_dense", [line("MDMTN_MM_dense", 0, sparsity_rate=0.0)])
    small, compressed = (
        with_tables(f"<!-- table {name} --><!-- end -->", tmp_path / "r") for name in ("small", "compressed")
    )
    assert [name in small for name in ("MM_withSparsity", "MM_noSparsity")] == [True, False]
    assert all(name in compressed for name in ("MM_withSparsity", "MM_noSparsity"))


def test_schedules_and_statements_compare_the_same_seeds(tmp_path: Path) -> None:
    slow, fast, dense = "MDMTN_MM_sparse", "MDMTN_MM_sparse_fast", "MDMTN_MM_dense_fast"
    write(tmp_path / "r", slow, [line(slow, seed, seconds=240.0) for seed in (0, 1)])
    write(tmp_path / "r", fast, [line(fast, seed, seconds=60.0) for seed in (0, 1, 2)])
    write(
        tmp_path / "r", dense, [line(dense, n, test_accuracy=[90.0 + n - gain, 80.0]) for n, gain in ((0, 2), (2, 4))]
    )
    made = with_tables("<!-- table schedules --><!-- end -->\n<!-- table claims --><!-- end -->", tmp_path / "r")
    assert "| `Example_MDMTN_MM_withSparsity.py` | 2 | 85.25 ± 0.35 | 50.0 ± 0.0 | 240 | 1.0 |" in made
    assert "--schedule fast` | 3 | 85.50 ± 0.50 | 50.0 ± 0.0 | 60 | 4.0 |" in made
    assert "Example_MDMTN_MM_noSparsity" not in made  # has one schedule
    assert "| sparse MDMTN over dense MDMTN | 2 | +1.50 ± 0.71 | 0.2 |" in made
    assert "HPS" not in made


def test_the_table_of_speed_has_a_row_per_timing(tmp_path: Path) -> None:
    timing = {"group": "step", "name": "plain", "ms": 50.0, "ratio": 1.0, "low": 1.0, "high": 1.0}
    (tmp_path / "speed.json").write_text(
        json.dumps(
            {"timings": [timing, {**timing, "name": "ours", "ms": 55.0, "ratio": 1.1, "low": 1.0, "high": 1.21}]}
        )
    )
    made = with_tables("<!-- table speed --><!-- end -->", tmp_path)
    assert "| step | plain | 50 | 1 |\n|  | ours | 55 | 1.1 (1 to 1.21) |" in made


def front(method: str, seed: int, *, follows: bool = True) -> list[scalarizations.Training]:
    """Trainings whose losses are as k asks, or the other way round."""
    found = []
    for k1 in scalarizations.SHARES:
        losses = (0.1 * (1 - k1), 0.1 * k1) if follows else (0.1 * k1, 0.1 * (1 - k1))
        errors = (100 * losses[0], 100 * losses[1])
        found.append(scalarizations.Training(method, (k1, 1 - k1), seed, losses, errors, errors, 1.0))
    return found


def test_figures_of_a_front_tell_one_that_follows_k_from_one_that_does_not() -> None:
    right, wrong = (scalarizations.figures_of(front("Chebyshev", 0, follows=follows)) for follows in (True, False))
    assert (right.correlation, wrong.correlation) == pytest.approx((1, -1))
    assert right.apart == pytest.approx(0, abs=1e-9)
    assert wrong.apart > 80
    assert wrong.largest > 2 * right.largest
    assert right.error_volume == pytest.approx(wrong.error_volume)  # the same points
    assert 80 < right.error_volume < 87.5  # what a line from (0, 10) to (10, 0) leaves of 20 x 20, less its steps
    assert right.on_front == 11
    assert (*right.extent, right.accuracy) == pytest.approx((9.0, 9.0, 95.0))


def test_every_method_gets_the_same_budget_and_mgda_other_starts() -> None:
    candidates = scalarizations._candidates(2)
    for method in scalarizations.NAMES:
        own = [(item["w"], item["seed"]) for item in candidates if item["method"] == method]
        assert len(set(own)) == len(own) == 2 * len(scalarizations.SHARES)
        assert len({w for w, _ in own}) == (1 if method == "MGDA" else 11)


def test_scalarizations_have_a_table_and_a_picture(tmp_path: Path) -> None:
    trainings = [training for name in ("Chebyshev", "MGDA") for seed in (0, 1) for training in front(name, seed)]
    lines = [asdict(training) for training in trainings]
    (tmp_path / scalarizations.FILE).write_text(json.dumps({"trainings": lines}))
    assert scalarizations.read_trainings(tmp_path) == trainings
    made = with_tables("<!-- table scalarizations --><!-- end -->", tmp_path)
    assert "| augmented Lagrangian | 2 |" in made
    assert "| 1.000 ± 0.000 | 0.0 % |" in made
    assert made.splitlines()[-3].startswith("| MGDA, eleven starts | 2 |")
    assert made.splitlines()[-3].endswith("|  |  |  |")
    assert "smooth maximum" not in made
    *_, file = draw(tmp_path / "pictures", tmp_path)
    assert file.name == "scalarizations.png"


def ratio(k1: float, f1: float, f2: float) -> preference_ratios.Row:
    return preference_ratios.Row(0, k1, round(1 - k1, 1), f1, f2, 1.5, 0.4, 0.6, 96.0, 95.0)


def test_rows_of_an_experiment_are_kept_by_architecture_and_shown(tmp_path: Path) -> None:
    rows = {"HPS": [ratio(0.1, 0.9, 0.1), ratio(0.5, 0.1, 0.1)], "MDMTN": [ratio(0.5, 0.02, 0.03)]}
    outcome = Outcome("experiment", tmp_path, tmp_path, (), (), {})
    for name, found in [("HPS", rows["MDMTN"]), *rows.items()]:  # what was there of an architecture is replaced
        flags = Namespace(architecture=name, dataset="MultiDigits", t_update="exact", seeds=1)
        file = keep_rows(preference_ratios.FILE, flags, outcome, found)
    assert file.parent == tmp_path  # of other data: not with the project's
    assert read_rows(file, preference_ratios.Row) == rows
    made = with_tables("<!-- table ratios --><!-- end -->", tmp_path)
    assert "| HPS | 0 | 0.1 : 0.9 | 0.9000 | 0.1000 | 9.000 | 9.000 | 1.5 % | 0.40, 0.60 | 96.00 / 95.00 |" in made
    assert "| MDMTN | 0 | 0.5 : 0.5 | 0.0200 |" in made
    *_, first, second = draw(tmp_path / "pictures", tmp_path)
    assert [first.name, second.name] == ["preference_ratios_HPS.png", "preference_ratios_MDMTN.png"]


def test_zero_rows_over_k0_are_shown_with_their_range(tmp_path: Path) -> None:
    rows = [sparsity_control.Row(1e-3, seed, 10.0 + seed, 10.0, 90.0, 2e-3 + seed * 1e-3) for seed in (0, 2)]
    rows.append(sparsity_control.Row(1e-2, 0, 50.0, 50.0, 80.0, 0.01))
    flags = Namespace(architecture="HPS", dataset="MultiDigits", t_update="exact", seeds=3)
    keep_rows(sparsity_control.FILE, flags, Outcome("experiment", tmp_path, tmp_path, (), (), {}), rows)
    made = with_tables("<!-- table control --><!-- end -->", tmp_path)
    assert "| k0 | HPS, 2 seeds: zero rows | accuracy | binds from |" in made
    assert "| 0.001 | 11.0 (10.0 to 12.0) | 90.0 (90.0 to 90.0) | 0.003 |" in made
    assert "| 0.01 | 50.0 (50.0 to 50.0, 1 of 2 seeds) | 80.0 (80.0 to 80.0, 1 of 2 seeds) | 0.01 |" in made
    assert "| 0.1 |  |  |  |" in made
    assert "| rank correlation, every k0 | 1.00 | | |" in made
    *_, picture = draw(tmp_path / "pictures", tmp_path)
    assert picture.name == "sparsity_control.png"


def test_k0_that_ask_for_nothing_count_once_in_the_rank_correlation() -> None:
    def trained(k0: float, zero: float, binding: float) -> sparsity_control.Row:
        return sparsity_control.Row(k0, 0, zero, zero, 90.0, binding)

    by_chance = [trained(1e-4, 6.0, 2e-3), trained(3e-4, 5.0, 2e-3), trained(1e-3, 5.5, 2e-3)]
    rows = [*by_chance, trained(3e-3, 20.0, 3e-3), trained(1e-2, 50.0, 1e-2)]
    assert sparsity_control.deciding_k0(rows) == [1e-3, 3e-3, 1e-2]
    assert sparsity_control.rank_correlation(rows, sparsity_control.deciding_k0(rows)) == pytest.approx(1.0)
    assert sparsity_control.rank_correlation(rows, sparsity_control.measured_k0(rows)) < 0.9
    wrong = [*by_chance, trained(3e-3, 50.0, 3e-3), trained(1e-2, 20.0, 1e-2)]  # rows fall where k0 grows
    assert sparsity_control.rank_correlation(wrong, sparsity_control.deciding_k0(wrong)) < 1


def test_another_figure_makes_another_table_and_pages_are_written(tmp_path: Path) -> None:
    for page in PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text("<!-- table all -->\n<!-- end -->\n")
    write(tmp_path / "r", "HPS_MM_dense", [line("HPS_MM_dense", 0, test_accuracy=[70.0, 60.0])])
    assert len(write_tables(tmp_path, tmp_path / "r")) == len(PAGES)
    assert "65.00" in (tmp_path / PAGES[0]).read_text()
    assert write_tables(tmp_path, tmp_path / "r") == []
    write(tmp_path / "r", "HPS_MM_dense", [line("HPS_MM_dense", 0, test_accuracy=[70.0, 61.0])])
    assert len(write_tables(tmp_path, tmp_path / "r")) == len(PAGES)


def test_the_picture_has_dense_networks_as_trained_and_sparse_ones_compressed(tmp_path: Path) -> None:
    write(tmp_path / "r", "MDMTN_MM_sparse", [line("MDMTN_MM_sparse", 0)])
    write(tmp_path / "r", "MDMTN_CM_dense", [line("MDMTN_CM_dense", 0, sparsity_rate=0.0)])
    (file,) = draw(tmp_path / "pictures", tmp_path / "r")
    assert file.stat().st_size > 10_000
    sparse, dense = size_of([line("MDMTN_MM_sparse", 0)]), size_of([line("MDMTN_CM_dense", 0, sparsity_rate=0.0)])
    assert (sparse["bytes"], dense["bytes"]) == (1000, 4000)


def test_networks_from_dense_to_empty_have_a_table_and_a_picture(tmp_path: Path) -> None:
    dense, small = CAPPED["HPS"][0.0], CAPPED["HPS"][0.95]
    write(tmp_path / "r", dense, [line(dense, 0, sparsity_rate=0.0)])
    write(tmp_path / "r", small, [line(small, seed, sparsity_rate=94.0) for seed in (0, 2)])
    made = with_tables("<!-- table caps --><!-- end -->", tmp_path / "r")
    assert "| HPS | dense | 1 | 85.00 | 0.0 | 4 | 90 |\n| HPS | 0.95 | 2 | 85.50 ± 0.71 | 94.0 ± 0.0 | 1 | 30 |" in made
    assert [file.name for file in draw(tmp_path / "pictures", tmp_path / "r")][1:] == ["accuracy_of_sizes.png"]


def test_an_unknown_table_or_case_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no table 'none'; allowed: main"):
        with_tables("<!-- table none --><!-- end -->", tmp_path)
    assert command(monkeypatch, "--only", "nothing") == 2
    assert command(monkeypatch, "--demo") == 2  # the project's own results are no demonstration's
    assert command(monkeypatch, "--seeds", "0") == 2


@pytest.mark.parametrize("name", CASES)
def test_cases_are_what_their_scripts_train(name: str) -> None:
    case = CASES[name]
    assert (ROOT / f"{case.script}.py").exists()
    parameters = case.parameters()
    assert parameters.with_sparsity is ("sparse" in name or "channel" in name)
    assert parameters.tasks == (1 if case.architecture == "STL" else 2)
    for flag, value in re.findall(r"--(\w+) (\S+)", case.flags):
        own = getattr(case, flag, getattr(parameters, flag, None))
        known = {"k": parameters.w[0], "teachers": "FILE"}.get(flag, own)
        assert str(known).removesuffix(".0") == value


def test_committed_results_are_of_known_cases_and_whole() -> None:
    for path in RESULTS.glob("*.jsonl"):
        lines = read_lines(path)
        assert path.stem in CASES
        assert len({(item["seed"], item["data_seed"]) for item in lines}) == len(lines)
        for item in lines:
            assert reproduce.Line(**item).case == path.stem


def test_a_case_is_trained_and_a_finished_run_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "_case_of", lambda results: "HPS_MM_sparse")  # a demonstration's are no case's
    monkeypatch.setitem(SHOWN_RUNS, "HPS_MM_sparse", "Shown")
    places = ("--output-dir", str(tmp_path / "out"), "--results", str(tmp_path / "r"))
    words = ("--only", "HPS_MM_sparse", "--seeds", "1", "--demo", *places)
    assert command(monkeypatch, *words) == 0
    (trained,) = read_lines(tmp_path / "r" / "HPS_MM_sparse.jsonl")
    assert trained["seed"] == 0
    assert trained["sparsity_rate"] > 0
    assert trained["compression"]["compressed"]["parameters"] < trained["compression"]["dense"]["parameters"]
    drawn = {file.name for file in draw(tmp_path / "pictures", tmp_path / "r")}
    assert {f"Shown_{kind}.png" for kind in ("training", "rows", "samples", "diagram")} <= drawn
    again = ("--collect", str(tmp_path / "out"), "--revision", "1a2b3c4", "--demo", *places)
    assert command(monkeypatch, *again) == 0
    (collected,) = read_lines(tmp_path / "r" / "HPS_MM_sparse.jsonl")
    assert collected["revision"] == "1a2b3c4"
    assert collected["data"] == trained["data"]
    assert collected["test_accuracy"] == trained["test_accuracy"]


def test_studies_are_kept_and_shown_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "r"
    for number, network in enumerate(("HPS", "MDMTN")):
        study = made_up_study(tmp_path / network, count=5 + number).outcome
        name = "pareto_{0.architecture}_{0.dataset}".format(study.results[0])
        monkeypatch.setitem(SHOWN_STUDIES, network, name)
        assert command(monkeypatch, "--collect", str(study.folder), "--results", str(results)) == 0
        (results / "shown" / name).rename(results / "shown" / network)  # made-up studies are all of one network
        monkeypatch.setitem(SHOWN_STUDIES, network, network)
    kept = "".join(path.read_text() for path in results.rglob("*.json"))
    assert str(tmp_path) not in kept
    table = with_tables("<!-- table fronts -->\n<!-- end -->", results).splitlines()
    hps, mdmtn = (row for row in table if row.startswith(("| HPS", "| MDMTN")))
    assert "| 5 |" in hps
    assert "| 6 |" in mdmtn
    drawn = {file.name for file in draw(tmp_path / "pictures", results)}
    assert {f"{what}_{kind}.png" for what in ("pareto", "comparison") for kind in ("losses", "accuracies")} <= drawn


def test_other_sweeps_are_not_kept_as_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = made_up_search(tmp_path)
    monkeypatch.setitem(SHOWN_STUDIES, "HPS", "pareto_{0.architecture}_{0.dataset}".format(search.results[0]))
    assert command(monkeypatch, "--collect", str(search.folder), "--results", str(tmp_path / "r")) == 0
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_results_that_are_written_do_not_change_the_revision_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    for file in ("results/case.jsonl", "program.py"):
        write_text(tmp_path / file, "1")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    monkeypatch.setattr(experiments, "ROOT", tmp_path)
    head = experiments.revision()
    assert head is not None
    assert re.fullmatch("[0-9a-f]{7,}", head)
    write_text(tmp_path / "results" / "case.jsonl", "2")
    assert experiments.revision() == head
    write_text(tmp_path / "program.py", "2")
    assert experiments.revision() == f"{head}+"


def test_a_run_of_other_parameters_is_no_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ("--output-dir", str(tmp_path / "out"), "--results", str(tmp_path / "r"))
    assert command(monkeypatch, "--only", "HPS_MM_dense", "--seeds", "1", "--demo", *places) == 0
    (tmp_path / "r" / "HPS_MM_dense.jsonl").unlink()
    assert command(monkeypatch, "--collect", str(tmp_path / "out"), "--demo", *places) == 0
    assert list((tmp_path / "r").iterdir()) == []
