"""The scripts as a user meets them: flags, files, tables, errors in one line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.datasets
from PIL import Image

from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import make_splits
from src.models.compact import CompactNetwork
from src.models.registry import load_model
from src.utils.checked import fields_of
from src.utils.command_line.options import RunOptions
from src.utils.runs.config import ROOT, RunConfig
from src.utils.training import engine
from src.utils.training.evaluation import evaluate
from src.utils.training.parameters import TrainingParameters
from tests.test_scripts import files_in
from tests.test_scripts import run as run_script
from Train_and_Test import run_example

SHORT = [
    *("--num_epochs", "1", "--max_iter_search", "2", "--max_iter_retrain", "2", "--num_batchEpoch", "3"),
    *("--k", "0.1", "0.3", "0.6", "--min_sparsRate", "5", "--sim_preference", "0.95"),
]


def run(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    """The exit code of the MDMTN script with these flags."""
    monkeypatch.setattr(sys, "argv", ["Example_MDMTN_MM_withSparsity.py", *flags])
    with pytest.raises(SystemExit) as left:
        run_example(sys.argv[0], "MDMTN", "MultiMnist", [1e-3, 0.2, 0.799], description="A test.")
    return int(left.value.code or 0)


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def results_of(output: Path) -> dict[str, Any]:
    """The results file of the only run, without times."""
    content = json.loads(only(output, "logs/*/*/results.json").read_text())
    del content["seconds"]
    for which in ("dense", "compressed"):
        del content["compression"][which]["latency_ms"]
    return dict(content)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The output folder and the screen of a short demo run as a process of its own, without a screen."""
    output = tmp_path_factory.mktemp("finished")
    script = ROOT / "Example_MDMTN_MM_withSparsity.py"
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), "--demo", "--output-dir", str(output), *SHORT],
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        cwd=output,
    )
    assert done.returncode == 0, done.stderr
    return output, done.stdout


def test_run_ends_with_a_table_and_the_names_of_its_files(finished: tuple[Path, str]) -> None:
    output, screen = finished
    for line in ("left digit", "right digit", "mean", "sparsity rate", "compression rate", "parameter sharing"):
        assert re.search(rf"^{line} +[\d.]+", screen, re.MULTILINE)
    named = [Path(line.strip()) for line in screen.splitlines() if line.strip().startswith(str(output))]
    assert len(named) >= 8
    assert all(path.is_file() for path in named)
    assert sorted(named) == sorted(p for p in output.rglob("*") if p.is_file() and p.name != "run.json")


def test_results_file_has_every_promised_entry(finished: tuple[Path, str]) -> None:
    content = json.loads(only(finished[0], "logs/*/*/results.json").read_text())
    promised = (
        "test_accuracy test_accuracy_mean validation_accuracy objectives weighted_objectives t lambda mu sparsity_rate "
        "compression_rate parameter_sharing layers reached_min_sparsRate parameters seed device versions seconds "
        "compression images"
    )
    assert set(promised.split()) <= set(content)
    assert content["k"] == [0.1, 0.3, 0.6]
    assert content["parameters"]["num_epochs"] == 1
    assert set(content["seconds"]) == {"total", "phases", "epoch"}
    assert len(content["lambda"]) == len(content["objectives"]) == 3
    rows = sum(layer["rows"] for layer in content["layers"].values())
    zero = sum(layer["rows"] - layer["nonzero"] for layer in content["layers"].values())
    assert content["sparsity_rate"] == pytest.approx(100 * zero / rows)


def test_a_sparse_run_ends_with_a_smaller_network_of_the_same_answers(
    finished: tuple[Path, str], digits: MultiTaskDataset
) -> None:
    (folder,), screen = finished[0].glob("logs/*/*"), finished[1]
    found = json.loads((folder / "results.json").read_text())["compression"]
    dense, small = (load_model(folder / name).network for name in ("model.pth", "model_compressed.pth"))
    assert isinstance(small, CompactNetwork)
    images = make_splits(digits, torch.device("cpu")).validation.images
    with torch.no_grad():
        pairs = list(zip(dense(images), small(images), strict=True))
    assert max(float((a - b).abs().max()) for a, b in pairs) == pytest.approx(found["max_difference"], abs=1e-5)
    assert all(torch.equal(a.argmax(1), b.argmax(1)) for a, b in pairs) == found["same_predictions"]
    for name, network in (("dense", dense), ("compressed", small)):
        figures = found[name]
        assert figures["parameters"] == sum(parameter.numel() for parameter in network.parameters())
        assert 4 * figures["parameters"] < figures["bytes"] < (folder / "model.pth").stat().st_size
        assert set(figures["latency_ms"]) == {"1", "256"}
        assert all(time > 0 for time in figures["latency_ms"].values())
        assert f"{figures['parameters']:,}" in screen
    assert all(found["compressed"][name] < found["dense"][name] for name in ("parameters", "bytes", "multiply_adds"))
    assert re.search(
        r"^compressed +[\d,]+ \([\d,]+\) parameters, .* kB, .* ms for 1 image, .* 256", screen, re.MULTILINE
    )


def test_history_has_a_row_per_epoch(finished: tuple[Path, str]) -> None:
    with only(finished[0], "logs/*/*/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [row["phase"] for row in rows] == ["search"] * 2 + ["retrain"] * 2
    assert {"lambda_0", "objectives_2", "validation_accuracy_1"} <= set(rows[0])


def test_pictures_can_be_opened(finished: tuple[Path, str]) -> None:
    names = ("diagram", "rows", "samples", "training")
    copies = sorted(finished[0].glob("Images/MultiDigits/*.png"))
    (fingerprint,) = {path.name.split("_")[-2] for path in copies}
    assert [path.name for path in copies] == [
        f"Example_MDMTN_MM_withSparsity_{fingerprint}_{name}.png" for name in names
    ]
    pictures = [only(finished[0], f"logs/*/*/{name}.png") for name in names]
    assert [path.read_bytes() for path in pictures] == [path.read_bytes() for path in copies]
    for picture in pictures:
        with Image.open(picture) as image:
            image.verify()


def test_pictures_are_drawn_anew_from_the_files_alone(
    finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_in(finished[0])
    pictures = [path for path in before if path.suffix == ".png"]
    for path in pictures:
        path.unlink()
    assert run_script(monkeypatch, "Train_and_Test.py", "draw", str(only(finished[0], "logs/*/*"))) == 0
    shown = capsys.readouterr().out
    assert all(str(path) in shown for path in pictures)
    assert files_in(finished[0]) == before


def test_saved_model_is_named_by_k_and_gives_the_recorded_accuracy(
    finished: tuple[Path, str], digits: MultiTaskDataset
) -> None:
    file = only(finished[0], "src/Sparse_models/*.pth")
    assert "k0.1_0.3_0.6" in file.name
    saved = load_model(file)
    tested = evaluate(saved.network, make_splits(digits, torch.device("cpu")).test)
    assert tested.accuracy == pytest.approx(saved.results["test_accuracy"], abs=0.3)  # another number of threads


def test_no_checkpoint_is_left_after_a_finished_run(finished: tuple[Path, str]) -> None:
    assert not list(finished[0].rglob("checkpoint.pt"))
    assert not list(finished[0].rglob("*.partial"))


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Output folder, screen and notes of the same run in this process, with --quiet."""
    output, screen, notes = tmp_path_factory.mktemp("again"), io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(screen), redirect_stderr(notes):
        assert run(patch, "--demo", "--quiet", "--output-dir", str(output), *SHORT) == 0
    return output, screen.getvalue(), notes.getvalue()


def test_same_seed_gives_the_same_results_file(finished: tuple[Path, str], again: tuple[Path, str, str]) -> None:
    assert results_of(again[0]) == results_of(finished[0])


def test_quiet_shows_the_table_and_notes_only(again: tuple[Path, str, str]) -> None:
    _, screen, notes = again
    assert screen.lstrip().startswith("test accuracy")
    assert "epoch 1" not in screen
    assert all(line.startswith("note: ") for line in notes.splitlines())


def test_a_run_leaves_the_arithmetic_of_the_process_as_it_was(again: tuple[Path, str, str]) -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    assert float(torch.tensor(1e-40) * 1) > 0  # denormal numbers are not flushed


def test_interrupted_run_is_continued_to_the_same_results(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = engine.Trainer._epoch

    def interrupted(self: engine.Trainer, *arguments: Any) -> None:
        if len(self.history) == 3:
            raise KeyboardInterrupt
        original(self, *arguments)

    words = ("--demo", "--output-dir", str(tmp_path / "continued"), *SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(engine.Trainer, "_epoch", interrupted)
        assert run(patch, *words) == 130
    folder = only(tmp_path, "continued/logs/*/*")
    assert f"--resume {folder}" in capsys.readouterr().err
    assert run_script(monkeypatch, "Train_and_Test.py", "draw", str(folder)) == 2
    assert capsys.readouterr().err == f"error: {folder} holds no finished run (no results.json)\n"
    assert run(monkeypatch, "--resume", str(folder)) == 0
    assert results_of(tmp_path / "continued") == results_of(finished[0])
    assert run(monkeypatch, "--resume", str(folder)) == 2
    assert "is finished" in capsys.readouterr().err
    assert run(monkeypatch, "--resume", "nowhere") == 2
    assert "nowhere holds no run" in capsys.readouterr().err


def test_the_same_command_goes_on_unless_a_fresh_start_is_asked_for(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: engine.Trainer, *arguments: Any) -> None:
        if len(self.history) == 2:
            raise KeyboardInterrupt
        original(self, *arguments)

    original = engine.Trainer._epoch
    words = ("--demo", "--output-dir", str(tmp_path / "same"), *SHORT)
    for more in ((), ("--fresh",)):  # the second one does not go on with the first
        with monkeypatch.context() as patch:
            patch.setattr(engine.Trainer, "_epoch", interrupted)
            assert run(patch, *words, *more) == 130
    first, second = sorted(tmp_path.glob("same/logs/*/*"))
    capsys.readouterr()
    assert run(monkeypatch, *words, "--lr", "0.001") == 0  # other parameters: a run of its own
    assert "going on" not in "".join(capsys.readouterr())
    assert run(monkeypatch, *words) == 0
    assert f"found the interrupted run in {second}" in "".join(capsys.readouterr())
    assert (second / "results.json").exists()
    assert not (first / "results.json").exists()
    content = json.loads((second / "results.json").read_text())
    wanted = results_of(finished[0])
    assert content["test_accuracy"] == wanted["test_accuracy"]
    assert content["objectives"] == wanted["objectives"]


def test_a_network_without_any_row_left_is_named_and_ends_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--demo", "--k", "0.9", "0.05", "0.05", "--max_layerSRate", "1", "--output-dir", str(tmp_path)]
    flags += ["--max_iter_search", "6", "--num_epochs", "3", "--num_batchEpoch", "4", "--lr", "0.03"]
    assert run_script(monkeypatch, "Example_HPS_MM_withSparsity.py", *flags, "--max_iter_retrain", "1") == 0
    said = "".join(capsys.readouterr())
    assert re.search(r"all rows of trunk\.\S+.* are zero: nothing of the input passes there any more; lower k_0", said)
    results = json.loads(only(tmp_path, "logs/*/*/results.json").read_text())
    assert results["sparsity_rate"] > 0
    assert results["compression"]["compressed"]["parameters"] < results["compression"]["dense"]["parameters"]


def test_retraining_starts_from_a_given_model(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(only(finished[0], "src/Sparse_models/*.pth"))
    assert run(
        monkeypatch, "--demo", "--is_search", "no", "--model", model, "--output-dir", str(tmp_path), *SHORT
    ) == 0  # fmt: skip
    assert results_of(tmp_path)["sparsity_rate"] == pytest.approx(results_of(finished[0])["sparsity_rate"])


def test_cuda_without_cuda_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(monkeypatch, "--demo", "--device", "cuda", "--output-dir", str(tmp_path / "out")) == 2
    assert "no CUDA" in capsys.readouterr().err


def test_output_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(monkeypatch, "--demo", "--output-dir", str(tmp_path / "file")) == 2
    assert "cannot write to" in capsys.readouterr().err
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert run(monkeypatch, "--demo", "--output-dir", str(tmp_path / "out")) == 2
    assert "not a folder you may write to" in capsys.readouterr().err


def test_missing_data_without_network_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise RuntimeError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "MNIST", no_network)
    flags = ["--data-dir", str(tmp_path / "data"), "--output-dir", str(tmp_path / "out")]
    assert run(monkeypatch, *flags) == 2
    screen = capsys.readouterr()
    assert "cannot be downloaded (no route to host)" in screen.err
    assert "--data-dir" in screen.err
    assert screen.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_model_of_another_network_is_refused(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(only(finished[0], "src/Sparse_models/*.pth"), weights_only=True)
    content["architecture"]["num_outs"] = [10, 7]
    torch.save(content, tmp_path / "other.pth")
    flags = ["--is_search", "no", "--model", str(tmp_path / "other.pth"), "--output-dir", str(tmp_path / "out")]
    assert run(monkeypatch, "--demo", *flags) == 2
    assert "wanted: MDMTN on MultiMnist with [10, 10] classes" in capsys.readouterr().err


def test_help_explains_every_parameter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, "--help") == 0
    screen = " ".join(capsys.readouterr().out.split())
    parameters = {**fields_of(TrainingParameters), **fields_of(RunConfig), **fields_of(RunOptions)}
    for name in ("script", "architecture", "dataset", "worker"):  # no flags, or not for the user
        del parameters[name]
        assert not re.search(rf"--{name}[ ,]", screen)
    for name, parameter in parameters.items():
        assert re.search(rf"--{'k' if name == 'w' else name}[ ,]", screen)
        assert parameter.description
        assert " ".join(parameter.description.split()) in screen
    for flag in ("--data-dir", "--output-dir", "--demo", "--quiet"):
        assert flag in screen
    assert "preference vector k: sparsity, task 1, ..., task m [0.001, 0.2, 0.799]" in screen
