"""The Pareto-front study and the comparison of studies, on the bundled digits."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import make_splits
from src.models.registry import load_model, save_model
from src.utils.runs.config import Run, RunConfig
from src.utils.sparsity.rows import to_rows, zero_rows
from src.utils.study import sweep
from src.utils.study.pareto import hypervolume, non_dominated
from src.utils.study.start_models import find_start_model
from src.utils.study.sweep import SweepObserver
from src.utils.study.workers import Failure
from src.utils.training.evaluation import evaluate
from tests.conftest import CPU, equal_states
from tests.test_scripts import files_in, run

SCRIPT = "Pareto_front_study_MDMTN_MM.py"
SHORT = ["--demo", "--num_epochs", "1", "--max_iter", "1", "--num_batchEpoch", "8", "--jobs", "2", "--resolution", "4"]
MODEL = ["--demo", "--num_epochs", "1", "--max_iter_search", "3", "--max_iter_retrain", "1"]


def study_in(folder: Path) -> Path:
    (found,) = folder.glob("logs/pareto_*")
    return found


def model_in(folder: Path) -> Path:
    (found,) = folder.glob("src/Sparse_models/*.pth")
    return found


def table_of(folder: Path) -> list[dict[str, str]]:
    with (study_in(folder) / "front.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a short study of three vectors."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, "Example_MDMTN_MM_withSparsity.py", *MODEL, "--output-dir", str(folder), "--quiet") == 0
        assert run(patch, SCRIPT, *SHORT, "--output-dir", str(folder), "--quiet") == 0
    return folder


def test_a_study_leaves_its_files(finished: Path) -> None:
    study = study_in(finished)
    assert {path.name for path in study.iterdir() if path.is_file()} == {
        *("front.csv", "study.json", "report.md", "sweep.json", model_in(finished).name),
        *("losses.png", "accuracies.png", "curves.png"),
    }
    pictures = {path.name for path in (finished / "Images" / "MultiDigits").glob("pareto_*")}
    assert pictures == {f"{study.name}_{what}.png" for what in ("losses", "accuracies", "curves")}
    assert len(list(study.glob("*/results.json"))) == 3


def test_the_start_is_the_best_sparse_model_and_its_zero_rows_stay(finished: Path) -> None:
    summary = json.loads((study_in(finished) / "study.json").read_text())
    (start,) = summary["starts"]
    model = load_model(model_in(finished))
    copy = load_model(study_in(finished) / start["path"])
    assert equal_states(copy.network.state_dict(), model.network.state_dict())
    layers = model.network.growl_layers(1)
    zero = {name: zero_rows(to_rows(layer.weight)) for name, layer in layers.items()}
    assert sum(int(rows.sum()) for rows in zero.values()) > 0
    for file in study_in(finished).glob("*/model.pth"):
        trained = load_model(file).network.growl_layers(1)
        for name, layer in trained.items():
            assert zero_rows(to_rows(layer.weight))[zero[name]].all()
            assert not torch.equal(layer.weight, layers[name].weight)


def test_the_table_is_what_the_runs_found(finished: Path) -> None:
    rows = table_of(finished)
    found = {}
    for path in study_in(finished).glob("*/results.json"):
        content = json.loads(path.read_text())
        found[tuple(content["k"])] = content
    assert len(rows) == len(found) == 3
    for row in rows:
        content = found[tuple(float(row[f"k_{number}"]) for number in range(3))]
        for name in ("validation_losses", "validation_accuracy", "test_accuracy"):
            assert [float(row[f"{name}_{task}"]) for task in (1, 2)] == content[name]
        assert float(row["omega"]) == content["objectives"][0]
    losses = np.array([[float(row["validation_losses_1"]), float(row["validation_losses_2"])] for row in rows])
    assert [row["on_front"] == "True" for row in rows] == non_dominated(losses).tolist()
    summary = json.loads((study_in(finished) / "study.json").read_text())["hypervolume"]
    accuracies = np.array([[float(row[f"validation_accuracy_{task}"]) for task in (1, 2)] for row in rows])
    chosen = non_dominated(-accuracies)  # by the validation data; the test data are shown
    assert [row["on_accuracy_front"] == "True" for row in rows] == chosen.tolist()
    errors = np.array([[100 - float(row[f"test_accuracy_{task}"]) for task in (1, 2)] for row in rows])[chosen]
    omegas = np.array([[float(row["omega"])] for row in rows])
    for name, points in {"losses": losses, "errors": errors, "losses_and_omega": np.hstack([losses, omegas])}.items():
        assert summary[name]["volume"] == pytest.approx(hypervolume(points, summary[name]["reference"]))
    assert summary["losses"]["volume"] > 0


def test_validation_losses_are_those_of_the_saved_model_on_validation_data(
    finished: Path, digits: MultiTaskDataset
) -> None:
    splits = make_splits(digits, CPU)
    for path in study_in(finished).glob("*/results.json"):
        content = json.loads(path.read_text())
        assert content["compression"] is None  # of many trainings none
        measured = evaluate(load_model(path.with_name("model.pth")).network, splits.validation)
        assert measured.losses == pytest.approx(content["validation_losses"], rel=1e-4)
        assert measured.accuracy == pytest.approx(content["validation_accuracy"])


def test_the_report_can_be_read_on_its_own(finished: Path) -> None:
    text = (study_in(finished) / "report.md").read_text()
    for row in table_of(finished):
        assert f"{float(row['validation_losses_1']):.4f}" in text
    for part in ("zero rows", "3 vectors trained, 0 failed", "not dominated", "Hypervolume", "reference point"):
        assert part in text


def train_nothing(folder: Path, runs: Sequence[Run], *_: object) -> tuple[Failure, ...]:
    return tuple(Failure(run.name, "not now") for run in runs)


def test_pictures_and_report_are_made_anew_from_the_files_alone(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_in(finished)
    copies = (finished / "Images" / "MultiDigits").glob("pareto_*.png")
    made = [*study_in(finished).glob("*.png"), *copies, study_in(finished) / "report.md"]
    assert len(made) == 7
    for path in made:
        path.unlink()
    assert run(monkeypatch, "Train_and_Test.py", "draw", str(study_in(finished))) == 0
    shown = capsys.readouterr().out
    assert all(str(path) in shown for path in made)
    after = files_in(finished)
    assert {path: after[path] for path in before} == before
    new = set(after) - set(before)  # the study itself draws nothing of its single runs
    runs = [path.parent for path in study_in(finished).glob("*/results.json")]
    assert new == {run / f"{kind}.png" for run in runs for kind in ("training", "rows")}


def test_a_finished_study_is_not_trained_again_and_another_parameter_starts_a_new_one(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in finished.rglob("results.json")}
    flags = [*SHORT, "--output-dir", str(finished), "--quiet"]
    assert run(monkeypatch, SCRIPT, *flags) == 0
    folder = study_in(finished)
    assert f"going on in {folder}: 3 of 3 trainings are done" in capsys.readouterr().err
    assert stamps == {path: path.stat().st_mtime_ns for path in finished.rglob("results.json")}
    monkeypatch.setattr(sweep, "train_runs", train_nothing)
    assert run(monkeypatch, SCRIPT, *flags, "--lr", "1e-4") == 2
    said = capsys.readouterr().err
    (other,) = set(finished.glob("logs/pareto_*")) - {folder}
    shutil.rmtree(other)
    assert f"3 trainings start in {other}, since parameters, data or models differ from those of {folder.name}" in said
    assert "none of 3 trainings could be finished: not now" in said


def test_without_a_model_the_script_that_makes_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, SCRIPT, "--output-dir", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert "make one with Example_MDMTN_MM_withSparsity.py" in error
    assert error.count("\n") == 1
    assert run(monkeypatch, SCRIPT, "--demo", "--model", "missing.pth", "--output-dir", str(tmp_path)) == 2
    assert "missing.pth" in capsys.readouterr().err


def test_the_most_accurate_model_that_is_sparse_enough_is_taken(finished: Path, tmp_path: Path) -> None:
    saved = load_model(model_in(finished))
    accuracies = {"better": 99.0, "worse": 1.0, "too dense": 99.9}
    for name, accuracy in accuracies.items():
        found = {"validation_accuracy": [accuracy] * 2, "reached_min_sparsRate": name != "too dense"}
        path = tmp_path / "src" / "Sparse_models" / f"{name}.pth"
        save_model(path, saved.network, saved.architecture, saved.parameters, {**saved.results, **found})
    config = RunConfig(script="s", architecture="MDMTN", dataset="MultiDigits", output_dir=str(tmp_path))
    assert find_start_model(config, "maker", None, SweepObserver()).path.stem == "better"


def test_the_best_vector_is_the_most_accurate_on_validation_data(finished: Path) -> None:
    best = json.loads((study_in(finished) / "study.json").read_text())["best"]
    rows = table_of(finished)
    accuracies = [float(row["validation_accuracy_1"]) + float(row["validation_accuracy_2"]) for row in rows]
    assert [float(rows[int(np.argmax(accuracies))][f"k_{number}"]) for number in range(3)] == best


def test_a_model_of_another_architecture_is_refused(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--demo", "--model", str(model_in(finished)), "--output-dir", str(tmp_path)]
    assert run(monkeypatch, "Pareto_front_study_HPS_MM.py", *flags) == 2
    assert "holds MDMTN for MultiDigits; wanted: HPS for MultiDigits" in capsys.readouterr().err


def test_several_k0_make_a_picture_in_three_dimensions_and_a_demonstration_the_models_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make = [*MODEL, "--output-dir", str(tmp_path), "--quiet"]
    for script in ("Example_HPS_MM_withSparsity.py", "Example_HPS_MM_noSparsity.py"):
        k0 = "0.1" if script.endswith("withSparsity.py") else "0"
        assert run(monkeypatch, script, "--k", k0, "0.2", "0.7", *make, "--max_iter", "1") == 0
    study = [*SHORT[:-1], "2", "--k0", "0.01", "0.1", "--output-dir", str(tmp_path), "--quiet"]
    script = "Pareto_front_study_HPS_MM.py"
    assert run(monkeypatch, script, *study) == 0
    assert (study_in(tmp_path) / "3d.png").is_file()
    assert [row["k_0"] for row in table_of(tmp_path)] == ["0.01", "0.1"]
    assert len(list(tmp_path.glob("src/Sparse_models/*.pth"))) == 3  # two were there, one was made
    assert run(monkeypatch, SCRIPT, "--k0", "0.5", "--data-dir", "none", "--output-dir", str(tmp_path)) == 2
    assert "no sparse MDMTN for MultiMnist trained with k0 = 0.5" in capsys.readouterr().err


def test_a_start_without_zero_rows_makes_the_front_of_a_dense_network_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make = ["--demo", "--quiet", "--num_epochs", "1", "--num_batchEpoch", "1", "--max_iter_search", "1"]
    make += ["--max_iter_retrain", "1", "--lr", "1e-12", "--k", "1e-9", "0.4", "0.6", "--output-dir", str(tmp_path)]
    assert run(monkeypatch, "Example_HPS_MM_withSparsity.py", *make) == 0
    assert "phase 1 ends with no zero rows, less than min_sparsRate = 10 %" in capsys.readouterr().err
    study = [*SHORT[:-1], "2", "--k0", "1e-9", "--output-dir", str(tmp_path), "--quiet"]
    assert run(monkeypatch, "Pareto_front_study_HPS_MM.py", *study) == 0
    note = f"{model_in(tmp_path).name}, trained with k0 = 1e-09, has no zero rows: none are held, and its front is"
    assert note in capsys.readouterr().err
    assert [row["sparsity_rate"] for row in table_of(tmp_path)] == ["0.0"]


def test_fronts_are_compared_with_one_reference_point(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_in(finished)
    single = next(path.parent for path in study.glob("*/results.json"))
    assert run(monkeypatch, "Train_and_Test.py", "compare", str(study), str(single), "--output-dir", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert f"MDMTN, Chebyshev, {study.name}" in shown
    images = tmp_path / "Images" / "MultiDigits"
    assert {path.name for path in images.iterdir()} == {
        "comparison_losses.png",
        "comparison_accuracies.png",
        "comparison.csv",
    }
    with (images / "comparison.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert float(first["hypervolume_losses"]) >= float(second["hypervolume_losses"]) > 0
    assert (first["points"], second["points"]) == ("3", "1")
    assert run(monkeypatch, "Train_and_Test.py", "compare", str(tmp_path)) == 2
    assert "holds no finished run" in capsys.readouterr().err


BAD = {
    "method": (["--method", "Adam"], "method is 'Adam'; allowed: Chebyshev"),
    "model and k0": (["--model", "m.pth", "--k0", "0.1"], "k0 is [0.1]; allowed with --model: none"),
    "jobs": (["--jobs", "0"], "jobs is '0'; allowed: a whole number >= 1"),
    "what a study does not use": (["--sim_preference", "0.5"], "--sim_preference"),
    "box": (["--box", "0"], "box is '0'; allowed: a finite number > 0"),
    "corner of the boxes": (["--box_origin", "inf"], "box_origin is 'inf'; allowed: a finite number"),
    "no address": (["--dask", "nonsense"], "dask is 'nonsense'; allowed: the address of a scheduler"),
    "k0 too large": (["--k0", "0.95"], "k0 is 0.95; allowed"),
    "resolution": (["--resolution", "1"], "resolution 1; allowed"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_flags_are_one_line_before_any_training(
    case: str, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, text = BAD[case]
    for folder in (finished, tmp_path):  # one with a model to start from, one without
        before = sorted(folder.rglob("*"))
        assert run(monkeypatch, SCRIPT, "--demo", "--output-dir", str(folder), *flags) == 2
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1
        assert sorted(folder.rglob("*")) == before
