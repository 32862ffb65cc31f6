"""Every example script runs its demonstration; the command beside them trains, tests and searches."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import nn

import Train_and_Test
from Data_loaders import registry
from Data_loaders.loaders import Splits, TaskData
from src.models.backbones import BACKBONES
from src.models.hps import HPS
from src.models.mdmtn import MDMTN
from src.models.registry import Architecture, load_model
from src.utils.command_line import training
from src.utils.command_line.flags import Plan, read_flags
from src.utils.command_line.options import RunOptions
from src.utils.errors import UserError
from src.utils.runs.config import ROOT
from src.utils.tasks import Task
from src.utils.training.parameters import TrainingParameters
from tests.processes import script_with, train_in_this_process
from tests.test_training import Messages
from Train_and_Test import train_and_test

SHORT = [
    *("--num_epochs", "1", "--max_iter", "1", "--max_iter_search", "1", "--max_iter_retrain", "1"),
    *("--num_batchEpoch", "2", "--min_sparsRate", "0", "--sim_preference", "0.99", "--quiet"),
]
EXAMPLES = sorted(path.name for path in ROOT.glob("Example_*Sparsity.py"))
OWN_PROBLEM = "Example_own_problem.py"  # has tests of its own
BASELINES = sorted(path.name for path in ROOT.glob("Example_*.py") if path.name not in (*EXAMPLES, OWN_PROBLEM))
PARAMETER_COUNTS = {
    ("MDMTN", "MultiMnist"): 311_490 + 4,
    ("HPS", "MultiMnist"): 22_350,
    ("STL", "MultiMnist"): 21_840,
    ("MDMTN", "Cifar10Mnist"): 505_524 + 4,
    ("HPS", "Cifar10Mnist"): 42_740,
    ("STL", "Cifar10Mnist"): 42_410,
}


def run(monkeypatch: pytest.MonkeyPatch, script: str, *flags: str) -> int:
    """The exit code of a script run with these flags, in this process with the networks it trains, if known by name."""
    train_in_this_process(monkeypatch)
    monkeypatch.setattr(sys, "argv", [script, *flags])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    return int(left.value.code or 0)


def files_in(folder: Path) -> dict[Path, bytes]:
    """The content of all files under a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results_in(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("logs/*/*/results.json")
    return dict(json.loads(file.read_text()))


def test_there_are_twelve_training_scripts() -> None:
    wanted = {
        f"Example_{architecture}_{data}_{kind}.py"
        for architecture in ("MDMTN", "HPS", "STL")
        for data in ("MM", "CM")
        for kind in ("withSparsity", "noSparsity")
    }
    assert wanted == set(EXAMPLES)


def test_there_are_eight_scripts_of_baselines() -> None:
    names = ("HPS_MGDA", "MDMTN_MGDA", "KDMTL", "MTAN")
    assert set(BASELINES) == {f"Example_{name}_{data}.py" for name in names for data in ("MM", "CM")}


@pytest.mark.parametrize(("architecture", "backbone"), PARAMETER_COUNTS)
def test_parameter_counts_are_the_papers(architecture: str, backbone: str) -> None:
    network = Architecture(architecture, backbone, (10,) if architecture == "STL" else (10, 10)).build()
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == PARAMETER_COUNTS[architecture, backbone]


def test_sparse_layers_of_the_cifar_networks_are_exactly_the_expected_ones() -> None:
    trunk = ["trunk.4", "trunk.8"]
    assert list(Architecture("HPS", "Cifar10Mnist", (10, 10)).build().growl_layers(3)) == trunk
    mdmtn = Architecture("MDMTN", "Cifar10Mnist", (10, 10)).build()
    assert list(mdmtn.growl_layers(3)) == [*trunk, "monitors.0.4", "monitors.1.4"]


@pytest.mark.parametrize("script", EXAMPLES)
def test_demo_of_every_script_runs(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, script, "--demo", "--output-dir", str(tmp_path), *SHORT) == 0
    results = results_in(tmp_path)
    _, architecture, data, kind = script.removesuffix(".py").split("_")
    assert results["architecture"] == architecture
    assert results["dataset"] == {"MM": "MultiDigits", "CM": "ColourDigits"}[data]
    assert (results["k"][0] > 0) == (kind == "withSparsity")
    assert len(results["test_accuracy"]) == (1 if architecture == "STL" else 2)
    assert len(list(tmp_path.glob("src/Sparse_models/*.pth"))) == 1


SPARSE_DEMOS = [name for name in EXAMPLES if "withSparsity" in name]


@pytest.mark.slow
@pytest.mark.parametrize("script", SPARSE_DEMOS)
def test_a_sparse_demonstration_shows_sparsity(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, script, "--demo", "--quiet", "--output-dir", str(tmp_path)) == 0
    results = results_in(tmp_path)
    assert results["sparsity_rate"] > results["parameters"]["min_sparsRate"]
    assert results["sparsity_advice"] is None


@pytest.mark.parametrize(
    "script", [pytest.param(name, marks=[pytest.mark.slow] if "_CM" in name else []) for name in BASELINES]
)
def test_demo_of_every_baseline_runs(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--demo", "--output-dir", str(tmp_path), *SHORT]
    candidates = 2 if "MM" in script else 1
    monkeypatch.setattr(training, "DEMO_CANDIDATES", candidates)
    flags += ["--repetitions", "1"] if "MGDA" in script else ["--jobs", "2", "--max_iter", "2"]
    flags += ["--teacher_max_iter", "1"] if "KDMTL" in script else []
    assert run(monkeypatch, script, *flags) == 0
    found = [
        {**json.loads(path.read_text()), "files_in": str(path.relative_to(tmp_path / "logs"))}
        for path in tmp_path.rglob("results.json")
    ]
    method = "MGDA" if "MGDA" in script else "KDMTL" if "KDMTL" in script else "WeightedSum"
    runs = [content for content in found if content["parameters"]["method"] == method]
    assert len(runs) == (1 if method == "MGDA" else candidates + 1)
    assert len(found) - len(runs) == (2 if method == "KDMTL" else 0)  # the teachers
    if method != "MGDA":
        assert_the_best_of_the_search_is_trained(runs, script.removesuffix(".py"))
    assert "test accuracy" in capsys.readouterr().out


def test_a_demonstration_repeats_twice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, repetitions in (([], 10), (["--demo"], 2)):
        assert run(monkeypatch, "Example_HPS_MGDA_MM.py", *flags, "--help") == 0
        assert f"trainings, each from its own seed [{repetitions}]" in " ".join(capsys.readouterr().out.split())


def assert_the_best_of_the_search_is_trained(runs: list[dict[str, Any]], script: str) -> None:
    """The run in the script's folder has the parameters of the most accurate of the others, but its own length."""
    (final,) = (content for content in runs if content["files_in"].startswith(script))
    tried = [content for content in runs if content is not final]
    most = max(np.mean(content["validation_accuracy"]) for content in tried)
    best = [content["parameters"] for content in tried if np.mean(content["validation_accuracy"]) == most]
    assert {**final["parameters"], "max_iter": 1} in [{**one, "max_iter": 1, "train_share": 1.0} for one in best]
    assert [content["parameters"]["max_iter"] for content in (*tried, final)] == [1] * len(tried) + [2]


@pytest.mark.parametrize("task", [0, 1])
def test_single_task_is_chosen_by_its_number(task: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--demo", "--task", str(task), "--output-dir", str(tmp_path), *SHORT]
    assert run(monkeypatch, "Example_STL_CM_noSparsity.py", *flags) == 0
    results = results_in(tmp_path)
    assert results["task"] == task
    (model,) = tmp_path.glob("src/Sparse_models/*.pth")
    assert load_model(model).architecture.num_outs == ((2,), (10,))[task]


def test_task_out_of_range_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--demo", "--task", "2", "--output-dir", str(tmp_path / "out"), *SHORT]
    assert run(monkeypatch, "Example_STL_MM_noSparsity.py", *flags) == 2
    assert "task is 2; allowed for MultiDigits: 0 to 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_command_trains_and_tests_a_saved_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = ["--architecture", "HPS", "--dataset", "Cifar10Mnist", "--k", "0.01", "0.8", "0.19"]
    assert run(monkeypatch, "Train_and_Test.py", *choice, "--demo", "--output-dir", str(tmp_path), *SHORT) == 0
    trained = capsys.readouterr().out.split("\n")
    (model,) = tmp_path.glob("src/Sparse_models/*.pth")
    assert run(monkeypatch, "Train_and_Test.py", "test", str(model)) == 0
    tested = capsys.readouterr().out.split("\n")
    table = [line for line in tested if line]
    assert len(table) == 7
    assert table == [line for line in trained if line][:7]


def no_data(module: str) -> NoReturn:
    raise AssertionError(f"data are loaded before the flags are checked, by {module}")


def test_a_saved_model_is_compressed_and_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--architecture", "HPS", "--k", "0.1", "0.3", "0.6", "--demo", "--output-dir", str(tmp_path), *SHORT]
    assert run(monkeypatch, "Train_and_Test.py", *flags) == 0
    (model,) = tmp_path.glob("src/Sparse_models/*.pth")
    assert run(monkeypatch, "Train_and_Test.py", "compress", str(model)) == 0
    assert "the same class for every validation image" in capsys.readouterr().out
    small = model.with_name(f"{model.stem}_compressed.pth")
    tables = []
    for path in (model, small):
        assert run(monkeypatch, "Train_and_Test.py", "test", str(path)) == 0
        tables.append([line for line in capsys.readouterr().out.splitlines() if "digit" in line or "mean" in line])
    assert len(tables[0]) == 3
    assert tables[0] == tables[1]
    assert run(monkeypatch, "Train_and_Test.py", "compress", str(small)) == 2
    assert "is compressed already" in capsys.readouterr().err


COMMAND_ERRORS = {
    "no preferences": ([], "give it with --k"),
    "unknown architecture": (["--architecture", "HSP", "--k", "0", "1", "1"], "allowed: MDMTN, HPS, STL"),
    "unknown data": (["--dataset", "MNIST", "--k", "0", "1", "1"], "dataset is 'MNIST'; allowed: MultiMnist"),
    "single task without its number": (["--architecture", "STL", "--k", "0", "1"], "name it with --task"),
    "no such file": (["test", "missing.pth"], "no such file: missing.pth"),
    "no file named": (["test"], "required: model"),
    "a search for another number of tasks": (["search", "--architecture", "STL"], "name it with --task"),
    "a search of a method without sparsity": (
        ["search", "--method", "MGDA"],
        "allowed for method MGDA: 0 for sparsity",
    ),
    "a search without teachers": (
        ["search", "--method", "KDMTL", "--k0", "0", "--distillation", "1", "1"],
        "there are 0 teachers; allowed for method KDMTL: 2, one per task",
    ),
    "further flags for a run that is continued": (["--resume", "run", "--lr", "1"], "not allowed beside it: --lr"),
    "k0 too large": (["search", "--k0", "1.5"], "k0 is '1.5'; allowed: a finite number >= 0 and < 1"),
}


@pytest.mark.parametrize("case", COMMAND_ERRORS)
def test_bad_commands_are_one_line(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, text = COMMAND_ERRORS[case]
    monkeypatch.setattr(registry, "import_module", no_data)
    assert run(monkeypatch, "Train_and_Test.py", *flags) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


def test_search_keeps_the_best_and_skips_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["search", "--architecture", "HPS", "--k0", "0.01", "--resolution", "3", "--jobs", "2", "--demo"]
    flags += ["--output-dir", str(tmp_path), *SHORT[:-1]]
    assert run(monkeypatch, "Train_and_Test.py", *flags) == 0
    first = capsys.readouterr()
    assert first.out.count("k = (0.01") == 2
    assert first.out.count("<- best") == 1
    (model,) = tmp_path.glob("src/Sparse_models/*.pth")
    results = [json.loads(file.read_text()) for file in tmp_path.glob("logs/search_*/*/results.json")]
    best = max(results, key=lambda content: np.mean(content["validation_accuracy"]))
    assert load_model(model).results["k"] == best["k"]
    assert run(monkeypatch, "Train_and_Test.py", *flags) == 0
    second = capsys.readouterr()
    assert second.out.count(" done, ") == 2
    assert second.out.splitlines()[-4:] == first.out.splitlines()[-4:]


def test_repetitions_are_refused_before_any_data_are_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "import_module", no_data)
    assert run(monkeypatch, "Example_HPS_MGDA_MM.py", "--k", "0", "1") == 2
    assert "has 2 numbers [0.0, 1.0]; allowed for MultiMnist: 3" in capsys.readouterr().err


KINDS = {
    "repetitions": ("Example_HPS_MGDA_MM.py", ["--repetitions", "1"]),
    "search": ("Train_and_Test.py", ["search", "--architecture", "HPS", "--k0", "0.01", "--resolution", "2"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_many_runs_are_drawn_anew_from_their_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, flags = KINDS[kind]
    assert run(monkeypatch, script, *flags, "--demo", "--output-dir", str(tmp_path), *SHORT) == 0
    (folder,) = tmp_path.glob("logs/*_????????")
    before = files_in(tmp_path)
    pictures = [path for path in before if path.suffix == ".png"]
    for path in pictures:
        path.unlink()
    capsys.readouterr()
    assert run(monkeypatch, "Train_and_Test.py", "draw", str(folder)) == 0
    shown = capsys.readouterr().out
    after = files_in(tmp_path)
    assert {path: after[path] for path in before} == before
    new = set(after) - set(before)  # a sweep draws nothing of its single runs by itself
    assert {path.name for path in new} == {"training.png"} | ({"rows.png"} if kind == "search" else set())
    assert len(pictures) == 2  # in the folder of the sweep, and the copy
    assert all(str(path) in shown for path in (*pictures, *new))


@pytest.mark.parametrize("kind", ["search", "repetitions", "study", "teachers"])
def test_nothing_is_drawn_before_a_training_is_finished(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"starts": [], "boxes": {"box": 0.1, "box_origin": 0.0}}
    content = {"kind": kind, "picture_copies": str(tmp_path / "p"), "trials": [], "settings": settings, "failures": []}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    assert run(monkeypatch, "Train_and_Test.py", "draw", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert error == f"error: {tmp_path} holds no finished training yet: there is nothing to draw\n"
    assert len(list(tmp_path.iterdir())) == 1


def own_data(num_outs: tuple[int, ...], seed: int = 0) -> Splits:
    """Tasks that can be learned: signs of random projections of 12 numbers, as classes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(900, 12, generator=generator)
    labels = [(x @ torch.randn(12, classes, generator=generator)).argmax(1) for classes in num_outs]
    y = torch.stack(labels, dim=1)
    train, validation, test = (TaskData(x[part], y[part]) for part in (slice(600), slice(600, 750), slice(750, 900)))
    return Splits(train, validation, test)


def own_network(num_outs: tuple[int, ...]) -> HPS:
    trunk = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    return HPS(trunk, [nn.Linear(32, classes) for classes in num_outs])


def test_own_network_and_tensors_are_trained_by_the_same_call(tmp_path: Path) -> None:
    num_outs = (2, 5, 3)
    torch.manual_seed(0)
    parameters = TrainingParameters(
        w=(0.1, 0.3, 0.3, 0.3),
        a=(0.0,) * 4,
        num_tasks=4,
        skip_layer=12,
        batch_size=50,
        num_epochs=6,
        min_sparsRate=5.0,
    )
    network = own_network(num_outs)
    results = train_and_test(network, own_data(num_outs), parameters, name="projections", output_dir=str(tmp_path))
    chance = [100 / classes for classes in num_outs]
    assert all(found > level + 25 for found, level in zip(results.test_accuracy, chance, strict=True))
    assert list(results.layers) == ["trunk.2"]
    assert results.reached_min_sparsRate
    assert results.compression is not None
    assert results.compression["compressed"]["parameters"] < results.compression["dense"]["parameters"]
    (compressed,) = tmp_path.glob("logs/*/*/*_compressed.pth")
    images = own_data(num_outs).test.images
    for wanted, got in zip(network.eval()(images), load_model(compressed).network(images), strict=True):
        torch.testing.assert_close(got, wanted)
    (model,) = tmp_path.glob("src/Sparse_models/*.pth")
    restored = load_model(model, network=own_network(num_outs)).network
    for first, second in zip(network.parameters(), restored.parameters(), strict=True):
        assert torch.equal(first, second)


class Branching(HPS):
    """Whose steps depend on what the images show."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return super().forward(x if x.sum() > 0 else -x)


def test_a_network_that_cannot_be_compressed_is_trained_all_the_same(tmp_path: Path) -> None:
    parameters = TrainingParameters(
        w=(0.3, 0.3, 0.4), skip_layer=12, max_iter_search=1, max_iter_retrain=1, num_epochs=2, min_sparsRate=1.0
    )
    torch.manual_seed(0)
    network, listener = own_network((2, 5)), Messages()
    network.__class__ = Branching
    results = train_and_test(network, OWN, parameters, output_dir=str(tmp_path), observer=listener)
    assert results.sparsity_rate > 0
    assert results.compression is None
    assert results.images is None
    assert any("the network is not compressed: the steps of Branching cannot be followed" in x for x in listener.texts)
    assert not list(tmp_path.rglob("*_compressed.pth"))


def test_own_monitors_work_too(tmp_path: Path) -> None:
    num_outs = (2, 5, 3)
    body = lambda: nn.Sequential(nn.Linear(12, 16), nn.ReLU())  # noqa: E731
    network = MDMTN(body(), [body() for _ in num_outs], [nn.Linear(16, classes) for classes in num_outs])
    parameters = TrainingParameters(w=(0.0, 1.0, 1.0, 1.0), a=(0.0,) * 4, num_tasks=4, max_iter=1, num_epochs=1)
    results = train_and_test(network, own_data(num_outs), parameters, name="projections", output_dir=str(tmp_path))
    assert results.compression is None  # nothing is sparse
    assert len(list(tmp_path.glob("logs/projections/*/diagram.png"))) == 1


def test_labels_and_classes_that_do_not_match_are_refused(tmp_path: Path) -> None:
    parameters = TrainingParameters(w=(0.0, 1.0, 1.0, 1.0), a=(0.0,) * 4, num_tasks=4)
    with pytest.raises(UserError, match=r"labels of task 1 \(task 2\) range from 0 to 4; allowed: 0 to 3"):
        train_and_test(own_network((2, 4, 3)), own_data((2, 5, 3)), parameters, output_dir=str(tmp_path))
    with pytest.raises(UserError, match="the network has 2 outputs; allowed for these data: 3"):
        train_and_test(own_network((2, 5)), own_data((2, 5, 3)), parameters, output_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"has 4 numbers .*; allowed for own: 3, for sparsity and its tasks"):
        train_and_test(own_network((2, 5)), own_data((2, 5)), parameters, output_dir=str(tmp_path))
    assert not any(tmp_path.iterdir())


def with_images(splits: Splits, change: Callable[[torch.Tensor], torch.Tensor]) -> Splits:
    train, validation, test = (
        replace(part, images=change(part.images)) for part in (splits.train, splits.validation, splits.test)
    )
    return Splits(train, validation, test)


OWN = own_data((2, 5))
BAD_DATA: dict[str, tuple[Splits, str]] = {
    "images of another type": (
        replace(OWN, test=replace(OWN.test, images=OWN.test.images.double())),
        "the test images are torch.float64; allowed, as in training: torch.float32",
    ),
    "labels of another type": (
        replace(OWN, test=replace(OWN.test, labels=OWN.test.labels.int())),
        "the test labels are torch.int32; allowed: torch.int64",
    ),
    "no images": (
        replace(OWN, validation=TaskData(OWN.test.images[:0], OWN.test.labels[:0])),
        "the validation data hold no images; allowed: 1 or more",
    ),
    "labels of fewer tasks": (
        replace(OWN, test=replace(OWN.test, labels=OWN.test.labels[:, :1])),
        "the test data have images of shape (12,) and 1 labels each; allowed, as in training: (12,) and 2",
    ),
    "images of another shape": (
        replace(OWN, test=replace(OWN.test, images=OWN.test.images[:, :9])),
        "the test data have images of shape (9,) and 2 labels each",
    ),
    "images for another network": (
        with_images(OWN, lambda images: images[:, :9]),
        "the network cannot read torch.float32 images of shape (9,)",
    ),
    "images of another type everywhere": (
        with_images(OWN, torch.Tensor.double),
        "the network cannot read torch.float64 images of shape (12,)",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_tensors_that_cannot_be_trained_on_are_refused_before_anything_is_written(case: str, tmp_path: Path) -> None:
    splits, message = BAD_DATA[case]
    parameters = TrainingParameters(w=(0.0, 0.5, 0.5))
    with pytest.raises(UserError, match=re.escape(message)):
        train_and_test(own_network((2, 5)), splits, parameters, output_dir=str(tmp_path))
    assert not any(tmp_path.iterdir())


def test_names_and_networks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    parameters, output = TrainingParameters(w=(0.0, 0.5, 0.5)), str(tmp_path / "out")
    with pytest.raises(UserError, match=r"the network has 2 outputs; allowed for these data: 1, one per task"):
        train_and_test(
            own_network((2, 5)), OWN, parameters, tasks=[Task("one", "classification", 2)], output_dir=output
        )
    with pytest.raises(UserError, match=r"script is '../own'; allowed: a name without folders"):
        train_and_test(own_network((2, 5)), OWN, parameters, name="../own", output_dir=output)
    with pytest.raises(UserError, match="network is a Linear; allowed: a MultiTaskNetwork"):
        train_and_test(nn.Linear(12, 2), OWN, parameters, output_dir=output)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_preferences_on_the_command_line_have_the_schedule_of_the_same_script_with_these_preferences() -> None:
    sparse, dense = (Plan(Path("s"), "STL", "MultiMnist", k, 0) for k in ((0.01, 0.99), (0.0, 1.0)))
    schedule = ("base_optimizer", "lr", "max_iter", "num_epochs")
    for one, other, k in ((sparse, dense, ("0", "1")), (dense, sparse, ("0.01", "0.99"))):
        changed, wanted = one.given({"w": k}).parameters(), other.parameters()
        assert [changed.get(name) for name in schedule] == [wanted.get(name) for name in schedule]
    assert sparse.parameters().get("lr") != dense.parameters().get("lr")
    by_flag, by_script = (
        Plan(Path("s"), "HPS", "MultiMnist", (0.0, 0.5, 0.5), defaults=defaults).given(flags).parameters()
        for defaults, flags in (({}, {"method": "MGDA"}), ({"method": "MGDA"}, {}))
    )
    assert [by_flag[name] for name in schedule] == [by_script[name] for name in schedule]


@pytest.mark.parametrize(
    ("architecture", "k"), [("MDMTN", (0.01, 0.5, 0.49)), ("MTAN", (0.0, 0.5, 0.5)), ("STL", (0.0, 1.0))]
)
def test_the_fast_schedule_is_short_for_every_network_and_a_flag_still_counts(architecture: str, k: Any) -> None:
    for dataset in ("MultiMnist", "Cifar10Mnist"):
        plan = Plan(Path("s"), architecture, dataset, k, 0)
        slow, fast = (TrainingParameters(**plan.given(flags).parameters()) for flags in ({}, {"schedule": "fast"}))
        assert (slow.schedule, fast.schedule) == ("reference", "fast")
        assert 3 * fast.epochs <= slow.epochs
        assert (fast.max_layerSRate, fast.sim_preference) == (slow.max_layerSRate, slow.sim_preference)
        by_script = replace(plan, defaults={"schedule": "fast"})
        assert TrainingParameters(**by_script.parameters()) == fast
        teacher = TrainingParameters(**by_script.of_another(architecture="STL", k=(0.0, 1.0)).parameters())
        assert (teacher.schedule, teacher.epochs) == ("fast", fast.epochs)
    flags = ["--schedule", "fast", "--max_iter_retrain", "2", "--lr_sched_coef", "0.5"]
    request = read_flags(Plan(Path("s"), "HPS", "MultiMnist", (0.01, 0.5, 0.49)), flags, None, RunOptions)
    assert (request.parameters.max_iter_retrain, request.parameters.num_epochs) == (2, 1)
    assert request.notes == ("--lr_sched_coef does nothing here: only schedule reference uses it",)


def test_a_new_data_set_needs_a_backbone_and_a_source_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "DATASETS", registry.DATASETS)  # put back, with the others, after the test
    monkeypatch.setitem(BACKBONES, "Small", BACKBONES["MultiMnist"])
    monkeypatch.setattr(Train_and_Test, "__file__", Train_and_Test.__file__)
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = str(script_with(tmp_path, "add_three_tasks()"))
    choice = ("--architecture", "HPS", "--dataset", "Three", "--output-dir", str(tmp_path), *SHORT)
    assert run(monkeypatch, script, *choice, "--k", "0.1", "0.3", "0.3", "0.3") == 0
    assert len(results_in(tmp_path)["test_accuracy"]) == 3
    assert run(monkeypatch, script, "search", *choice, "--k0", "0.1", "--resolution", "3") == 0
    assert len(list(tmp_path.glob("logs/search_HPS_Three_*/*/results.json"))) == 1
