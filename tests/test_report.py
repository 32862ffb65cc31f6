"""Pictures, reports and tables: all are made from files alone, are readable, and show what the files say."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from Data_loaders.datasets import MultiTaskDataset
from src.models.registry import Architecture, save_model
from src.utils import report
from src.utils.checked import to_plain
from src.utils.errors import UserError
from src.utils.files import write_csv, write_json, write_text
from src.utils.report import console, diagram, fronts, sweeps
from src.utils.report import run as run_pictures
from src.utils.report.choice import draw_models
from src.utils.report.diagram import draw_diagram
from src.utils.report.draw import draw
from src.utils.report.fronts import draw_comparison, draw_curves, draw_front, draw_front_3d, draw_fronts
from src.utils.report.run import draw_course, draw_history, draw_rows, draw_run, draw_samples
from src.utils.report.sizes import draw_sizes
from src.utils.report.study_report import draw_study_fronts, report_study
from src.utils.report.sweeps import draw_repetitions, draw_search
from src.utils.runs.config import HISTORY, MODEL, RESULTS, SAMPLES, START, Run, RunConfig
from src.utils.runs.history import read_history, write_history
from src.utils.runs.results import RATES, Results, read_results, write_results
from src.utils.runs.run import train_run
from src.utils.runs.samples import Samples, read_samples, samples_of, write_samples
from src.utils.sparsity.metrics import RowCounts, total
from src.utils.study.compare import Comparison, compare, write_comparison
from src.utils.study.pareto import hypervolume, non_dominated, reference_point
from src.utils.study.pareto_study import Boxes, Study, study_of
from src.utils.study.record import RECORD
from src.utils.study.repeat import statistics_of
from src.utils.study.sparsity_study import TABLE, Size
from src.utils.study.start_models import StartModel
from src.utils.study.sweep import Outcome, read_outcome
from src.utils.study.trials import shown_value
from src.utils.training.method import MethodState
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import EpochRecord, Observer
from tests.conftest import one_line, short
from tests.test_models_command import ENTRIES

TASKS = ("left digit", "right digit")
KKT = {"t": 0.3, "mu": 2.0, "multiplier_sum": 0.0, "complementarity": 0.01, "feasibility": 0.02, "chebyshev_gap": 0.1}
LAYERS = {
    "trunk.3": RowCounts(rows=10, nonzero=7, unique=5, free=4),
    "trunk.6": RowCounts(rows=320, nonzero=0, unique=0, free=0),
    "monitors.0.3": RowCounts(rows=2880, nonzero=2880, unique=2880, free=2880),
}


# Files of runs and sweeps that were never trained


def shares_of(count: int, tasks: int = 2) -> list[tuple[float, ...]]:
    """Random shares of a preference among tasks, always the same for the same arguments."""
    return [tuple(shares.tolist()) for shares in np.random.default_rng(count).dirichlet(np.ones(tasks), count)]


def epochs_of(tasks: int, details: dict[str, float], *, sparse: bool, count: int = 4) -> list[EpochRecord]:
    """Half of them of a search, half of a retraining; the sparsity objective out of play in the latter."""
    epochs = []
    for epoch in range(1, count + 1):
        search = sparse and epoch <= count / 2
        epochs.append(
            EpochRecord(
                phase="search" if search else "retrain" if sparse else "train",
                iteration=1,
                epoch=epoch,
                lr=1e-2,
                objectives=[40.0 + epoch, *[1.0 / (epoch + task) for task in range(tasks)]],
                weighted_objectives=[0.4 * search, *[0.5 / (epoch + task) for task in range(tasks)]],
                lam=[0.1 * search, *[1 / tasks] * tasks],
                details=details,
                validation_accuracy=[50.0 + 5 * epoch + task for task in range(tasks)],
                validation_losses=[1.2 / (epoch + task) for task in range(tasks)],
                sparsity_rate=10.0 * epoch * sparse,
                seconds=0.5,
            )
        )
    return epochs


def made_up(
    folder: Path,
    k: tuple[float, ...] = (0.1, 0.4, 0.5),
    *,
    architecture: str = "HPS",
    losses: Sequence[float] | None = None,
    details: dict[str, float] | None = None,
    samples: Samples | None = None,
    alone: bool = False,
    seed: int = 0,
) -> Results:
    """The files of a finished run, as :func:`train_run` leaves them; the losses of a task grow with the others' k.

    Args:
        folder: of the run, or with ``alone`` the output folder.
        alone: a run in a folder of its own, with its model; else one among many.
    """
    tasks, details = len(k) - 1, KKT if details is None else details
    parameters = TrainingParameters(w=k)
    config = RunConfig(
        script="made_up", architecture=architecture, dataset="MultiDigits", seed=seed, device="cpu",
        output_dir=str(folder), task=0 if tasks == 1 else None,
    )  # fmt: skip
    run = Run.new(config, parameters) if alone else Run.among_many(config, parameters, folder)
    run.save()
    shares = np.array(k[1:]) / sum(k[1:])
    chosen = np.array(losses) if losses else 0.05 + 0.5 * (1 - shares) ** 2 + 0.2 * (shares[0] < 0.3)
    errors = 3 + 20 * chosen + 6 * (shares[0] > 0.6)  # other points are dominated in errors than in losses
    results = Results(
        folder=run.folder,
        script=config.script,
        architecture=architecture,
        dataset=config.dataset,
        task=config.task,
        task_names=TASKS[:tasks] + tuple(f"task {task}" for task in range(3, tasks + 1)),
        k=k,
        test_accuracy=tuple((100 - errors).tolist()),
        validation_accuracy=tuple((96 - errors).tolist()),
        validation_losses=tuple(chosen.tolist()),
        objectives=(40 * k[1], *chosen.tolist()),
        state=MethodState([0.1] * len(k), [1 / len(k)] * len(k), details),
        layers=LAYERS,
        all_layers={name: getattr(total(LAYERS.values()), name) for name in RATES},
        sparsity_binds=None,
        sparsity_advice="raise k_0" if k[0] else None,
        reached_min_sparsRate=False if k[0] else None,
        found_in_search=None,
        best_epoch=3,
        parameter_count={"all": 1000, "nonzero": 700},
        seconds={"total": 12.5, "phases": {"train": 12.0}, "epoch": 3.0},
        compression=None,
        images=None,
        parameters=to_plain(parameters),
        seed=seed,
        data_seed=0,
        device="cpu",
        versions={"torch": "2"},
    )
    write_history(run.folder / HISTORY, epochs_of(tasks, details, sparse=k[0] > 0))
    if samples:
        write_samples(run.folder / SAMPLES, samples)
    if alone:
        built = Architecture(architecture, "MultiMnist", (10,) * tasks)
        save_model(run.folder / MODEL, built.build(), built, results.parameters, results.as_plain())
    write_results(results)
    return read_results(run.folder)


def made_up_sweep(folder: Path, kind: str, candidates: Sequence[dict[str, Any]], **settings: Any) -> Outcome:
    """The files of a sweep over values of ``k`` or of the seed, as :func:`run_sweep` leaves them; one trial failed."""
    trials = []
    for candidate in candidates:
        name = "_".join(f"{key}{shown_value(value)}" for key, value in candidate.items()).replace(", ", "_")
        made_up(folder / name, candidate.get("w", (0.0, 0.4, 0.6)), seed=candidate.get("seed", 0))
        trials.append({"name": name, "candidate": candidate})
    trials.insert(1, {"name": "seed99", "candidate": {"seed": 99}})
    record = {
        "kind": kind,
        "picture_copies": str(folder.parent / "pictures" / folder.name),
        "trials": trials,
        "settings": settings,
        "failures": [{"name": "seed99", "reason": "training diverged"}],
    }
    write_json(folder / RECORD, record)
    return read_outcome(folder)


def vectors(count: int, k0s: Sequence[float] = (0.1,), tasks: int = 2) -> list[dict[str, Any]]:
    """Candidates, preference vectors with each k0 in turn."""
    chosen = [k0s[number % len(k0s)] for number in range(count)]
    return [
        {"w": (k0, *((1 - k0) * share for share in shares))}
        for k0, shares in zip(chosen, shares_of(count, tasks), strict=True)
    ]


def made_up_search(folder: Path) -> Outcome:
    return made_up_sweep(folder / "search", "search", vectors(3))


def made_up_sizes(folder: Path) -> Outcome:
    outcome = made_up_sweep(folder / "sizes", "sparsity_study", vectors(3))
    dense, sparse = Size(0.0, 0.0, 96.0, 95.0, 0.0, 100, 4.0, 90), Size(0.1, 0.5, 95.0, 94.0, 50.0, 20, 1.0, 30)
    write_csv(outcome.folder / TABLE, [asdict(size) for size in (dense, sparse, replace(sparse, cap=0.9))])
    return outcome


def made_up_repetitions(folder: Path, count: int = 3) -> Outcome:
    outcome = made_up_sweep(folder / "repetitions", "repetitions", [{"seed": seed} for seed in range(count)])
    for place, results in enumerate(outcome.results):
        write_results(replace(results, test_accuracy=(95.0 + place, 94.0 - place)))
    return read_outcome(outcome.folder)


def made_up_study(folder: Path, k0s: Sequence[float] = (0.1,), count: int = 7, tasks: int = 2) -> Study:
    starts = [StartModel(Path(f"start{k0}.pth"), k0, {"skip_layer": 1}, 91.0, 42.0, True) for k0 in k0s]
    plain = [{**asdict(start), "path": start.path.name} for start in starts]
    boxes = asdict(Boxes(box=0.05))
    outcome = made_up_sweep(folder / "study", "study", vectors(count, k0s, tasks), starts=plain, boxes=boxes)
    return study_of(outcome)


def made_up_comparison(folder: Path) -> Comparison:
    study = made_up_study(folder).outcome.folder
    single = made_up(folder / "single", (0.1, 0.1, 0.8), architecture="MDMTN").folder
    return compare([study, single])


def made_up_samples(colour: bool, count: int = 10) -> Samples:
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28, *[3] * colour), dtype=np.uint8)
    return Samples(images, np.array([["one", str(number)] for number in range(count)]))


def results_of(folder: Path, count: int, tasks: int = 2, k0s: Sequence[float] = (0.0, 0.001, 0.1)) -> list[Results]:
    """Points near a front, some of them dominated."""
    points = []
    for number, candidate in enumerate(vectors(count, k0s, tasks)):
        k = candidate["w"]
        worse = 0.1 * (number % 3 == 1)
        losses = [worse + 0.05 + 0.5 * (1 - share / (1 - k[0])) ** 2 for share in k[1:]]
        points.append(made_up(folder / f"run{number}", k, losses=losses))
    return points


def losses_of(points: Sequence[Results]) -> np.ndarray:
    return np.array([point.validation_losses for point in points])


def assert_picture(path: Path) -> None:
    assert path.suffix == ".png"
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 150
    assert pixels[..., :3].std() > 0.01


# Every function that draws


def drawn_front(folder: Path) -> list[Path]:
    points = results_of(folder, 6)
    draw_front(folder / "a.png", points, losses_of(points), non_dominated(losses_of(points)), 2, TASKS, "title")
    return [folder / "a.png"]


def drawn_front_3d(folder: Path) -> list[Path]:
    points = results_of(folder, 6)
    draw_front_3d(folder / "a.png", points, non_dominated(losses_of(points)), TASKS, "title")
    return [folder / "a.png"]


def drawn_curves(folder: Path) -> list[Path]:
    history = read_history(made_up(folder / "run").folder / HISTORY)
    courses = [np.array([record.validation_accuracy for record in history])] * 3
    draw_curves(folder / "a.png", courses, ["one", "two", "three"], TASKS, "title")
    return [folder / "a.png"]


def drawn_fronts(folder: Path) -> list[Path]:
    points = losses_of(results_of(folder, 6))
    draw_fronts(folder / "a.png", {"some": points, "one": points[:1]}, TASKS, {"some": 0.5}, "title")
    return [folder / "a.png"]


def drawn_course(folder: Path) -> list[Path]:
    results = made_up(folder / "run")
    return draw_course(results, read_history(results.folder / HISTORY), lambda kind: folder / f"{kind}.png")


def drawn_history(folder: Path) -> list[Path]:
    draw_history(folder / "a.png", read_history(made_up(folder / "run").folder / HISTORY), TASKS, "title")
    return [folder / "a.png"]


def drawn_rows(folder: Path) -> list[Path]:
    draw_rows(folder / "a.png", made_up(folder / "run").layers, "title")
    return [folder / "a.png"]


def drawn_samples(folder: Path) -> list[Path]:
    results = made_up(folder / "run", samples=made_up_samples(colour=True))
    draw_samples(folder / "a.png", read_samples(results.folder / SAMPLES), "title")
    return [folder / "a.png"]


def drawn_diagram(folder: Path) -> list[Path]:
    state = Architecture("MDMTN", "MultiMnist", (10, 2)).build().state_dict()
    return draw_diagram(folder / "a.png", state, TASKS, {}, "title")


PICTURES: dict[str, Callable[[Path], list[Path]]] = {
    "draw": lambda folder: draw(made_up_search(folder).folder),
    "draw_comparison": lambda folder: draw_comparison(folder / "a", made_up_comparison(folder)),
    "draw_curves": drawn_curves,
    "draw_diagram": drawn_diagram,
    "draw_front": drawn_front,
    "draw_front_3d": drawn_front_3d,
    "draw_fronts": drawn_fronts,
    "draw_course": drawn_course,
    "draw_history": drawn_history,
    "draw_models": lambda folder: draw_models(folder / "a.png", ENTRIES, ENTRIES[0]),
    "draw_repetitions": lambda folder: draw_repetitions(made_up_repetitions(folder)),
    "draw_rows": drawn_rows,
    "draw_run": lambda folder: draw_run(made_up(folder / "run").folder),
    "draw_samples": drawn_samples,
    "draw_search": lambda folder: draw_search(made_up_search(folder)),
    "draw_study_fronts": lambda folder: draw_study_fronts(made_up_study(folder), lambda kind: folder / f"{kind}.png"),
    "draw_sizes": lambda folder: draw_sizes(made_up_sizes(folder)),
    "report_study": lambda folder: report_study(made_up_study(folder))[1:],  # the first is in words
}
PARTS = {"draw_table", "draw_zero_rows"}
"""Draws into a picture of another."""


@pytest.mark.parametrize("name", PICTURES)
def test_every_drawing_function_writes_readable_pictures_from_files_alone(name: str, tmp_path: Path) -> None:
    pictures = PICTURES[name](tmp_path)
    assert pictures
    assert len(set(pictures)) == len(pictures)
    for path in pictures:
        assert_picture(path)


def test_no_drawing_function_is_left_out_above() -> None:
    names = [item.name for item in pkgutil.iter_modules(report.__path__)]
    modules = [importlib.import_module(f"{report.__name__}.{name}") for name in names]
    found = {
        name
        for module in modules
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and name.startswith(("draw", "report"))
    }
    assert found == set(PICTURES) | PARTS


# What pictures show

Figures = list[Figure]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Figures:
    """What is drawn, kept in the place of being written; the files are empty."""
    drawn: Figures = []

    def keep(figure: Figure, path: Path) -> list[Path]:
        drawn.append(figure)
        write_text(path, "")
        return [path]

    modules: tuple[ModuleType, ...] = (diagram, fronts, run_pictures, sweeps)
    for module in modules:
        monkeypatch.setattr(module, "save", keep)
    return drawn


def lines_of(axis: Axes) -> dict[str, list[float]]:
    """The heights of an axis' lines, by label."""
    return {str(line.get_label()): np.asarray(line.get_ydata(), dtype=float).tolist() for line in axis.lines}


def texts_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for axis in figure.axes for text in axis.texts)


def test_training_curves_show_the_history(figures: Figures, tmp_path: Path) -> None:
    history = epochs_of(2, KKT, sparse=True)
    draw_history(tmp_path / "a.png", history, TASKS, "title")
    (figure,) = figures
    accuracy, losses, objectives, weighted, multipliers, details, zero_rows = figure.axes
    for task, name in enumerate(TASKS):
        assert lines_of(accuracy)[name] == [record.validation_accuracy[task] for record in history]
        assert lines_of(losses)[name] == [record.validation_losses[task] for record in history]
    for number, name in enumerate(("sparsity", *TASKS)):
        assert lines_of(objectives)[name] == [record.objectives[number] for record in history]
        assert lines_of(multipliers)[name] == [record.lam[number] for record in history]
        shown = [np.nan if value == 0 else value for value in (r.weighted_objectives[number] for r in history)]
        np.testing.assert_equal(lines_of(weighted)[name], shown)
    assert lines_of(details)["Chebyshev gap"] == [0.1] * 4
    (rates,) = lines_of(zero_rows).values()
    assert rates == [10, 20, 30, 40]
    marks = [line.get_xdata()[0] for line in accuracy.lines if line.get_linestyle() == "--"]  # type: ignore[index]
    assert marks == [2.5]  # between search and retraining


@pytest.mark.parametrize(
    ("details", "k"),
    [
        (KKT, (0.1, 0.9)),
        ({"direction_norm": 0.1}, (0.0, 0.5, 0.5)),
        ({"distillation": 1.5}, (0.0, 0.5, 0.5)),
        ({}, (0.1, 0.3, 0.3, 0.3)),
    ],
    ids=str,
)
def test_training_curves_of_every_method_and_number_of_tasks_are_drawn(
    details: dict[str, float], k: tuple[float, ...], tmp_path: Path
) -> None:
    training, *rest = draw_run(made_up(tmp_path / "run", k, details=details).folder)
    assert_picture(training)
    assert [path.name for path in rest] == (["rows.png"] if k[0] > 0 else [])


def test_bars_show_zero_shared_and_free_rows(figures: Figures, tmp_path: Path) -> None:
    draw_rows(tmp_path / "a.png", LAYERS, "title")
    axis = figures[0].axes[0]
    shares = [[float(bar.get_width()) for bar in container] for container in axis.containers]  # type: ignore[attr-defined]
    assert np.array(shares) == pytest.approx(np.array([[30, 100, 0], [30, 0, 0], [40, 0, 100]]))
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["trunk.3 (10)", "trunk.6 (320)", "monitors.0.3 (2880)"]


@pytest.mark.parametrize("count", [1, 5, 7])
@pytest.mark.parametrize("colour", [False, True])
def test_samples_are_drawn_with_their_labels(colour: bool, count: int, figures: Figures, tmp_path: Path) -> None:
    samples = made_up_samples(colour, count)
    draw_samples(tmp_path / "a.png", samples, "title")
    shown = [axis for axis in figures[0].axes if axis.images]
    assert [axis.get_title() for axis in shown] == [f"one, {number}" for number in range(count)]
    for axis, image in zip(shown, samples.images, strict=True):
        assert np.array_equal(np.asarray(axis.images[0].get_array()), image)


def test_samples_are_the_first_training_images_with_the_names_of_their_classes(digits: MultiTaskDataset) -> None:
    images = np.zeros((12, 4, 4), np.uint8)
    images[:] = np.arange(12)[:, None, None]
    labels = np.stack([np.arange(12) % 2, np.arange(12) % 3], axis=1)
    names = (("cat", "dog"), ("red", "green", "blue"))
    data = replace(digits, class_names=names, x_train=images, y_train=labels, x_test=images[:1], y_test=labels[:1])
    samples = samples_of(data, 5)
    assert np.array_equal(samples.images, images[:5])
    assert samples.labels.tolist() == [
        ["cat", "red"], ["dog", "green"], ["cat", "blue"], ["dog", "red"], ["cat", "green"]
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 3])
def test_repetitions_show_every_one_with_mean_and_deviation(count: int, figures: Figures, tmp_path: Path) -> None:
    outcome = made_up_repetitions(tmp_path, count)
    draw_repetitions(outcome)
    text = texts_of(figures[0])
    for values in ([95.0, 96.0, 97.0][:count], [94.0, 93.0, 92.0][:count], [94.5] * count):
        deviation = np.std(values, ddof=1) if count > 1 else 0.0
        assert f"{np.mean(values):.2f} ± {deviation:.2f}" in text
    dots = [lines for axis in figures[0].axes for line in axis.lines if len(lines := line.get_ydata()) == count]  # type: ignore[arg-type]
    assert len(dots) >= 3


@pytest.mark.parametrize("better", ["smaller", "larger"])
@pytest.mark.parametrize(("count", "tasks", "times"), [(1, 2, 1), (2, 2, 1), (18, 2, 1), (3, 3, 1), (1, 2, 4)])
def test_front_is_drawn(tmp_path: Path, count: int, tasks: int, times: int, better: str) -> None:
    points, larger = results_of(tmp_path, count, tasks) * times, better == "larger"
    values = np.array([point.test_accuracy for point in points]) if larger else losses_of(points)
    front = non_dominated(-values if larger else values)
    path = tmp_path / "front.png"
    draw_front(path, points, values, front, len(points) - 1, TASKS, "title", larger_is_better=larger)
    assert_picture(path)


@pytest.mark.parametrize("larger", [False, True])
def test_front_shows_the_points_the_best_one_and_the_edge_of_what_they_dominate(
    larger: bool, tmp_path: Path, figures: Figures
) -> None:
    points, sign = results_of(tmp_path, 5), -1 if larger else 1
    values = sign * np.array([[1, 4], [2, 2], [4, 1], [3, 3], [5, 5]], dtype=float)
    front = np.array([True, True, True, False, False])
    draw_front(tmp_path / "front.png", points, values, front, 1, TASKS, "title", larger_is_better=larger)
    axis, table = figures[0].axes
    pale, dark, ring = (np.asarray(collection.get_offsets()) for collection in axis.collections[:3])
    np.testing.assert_allclose(pale, values[~front])
    np.testing.assert_allclose(dark, values[front])
    np.testing.assert_allclose(ring, values[1:2])
    assert (axis.get_xlabel(), axis.get_ylabel()) == TASKS
    corners = np.asarray(axis.lines[0].get_path().interpolated(1).vertices)
    assert all((sign * (point - values[front]) >= 0).all(axis=1).any() for point in corners)
    assert {(1, 4), (2, 4), (2, 2), (4, 2), (4, 1)} <= {tuple(corner) for corner in np.abs(corners).tolist()}
    assert sorted(text.get_text() for text in axis.texts) == ["1", "2", "3", "4", "5"]
    rows = [text.get_text().split() for text in table.texts][1:]
    assert [row[-3:] for row in rows] == [
        [f"{point.mean_accuracy:.2f}", f"{point.mean_test_accuracy:.2f}", f"{point.sparsity_rate:.1f}"]
        for point in points
    ]


@pytest.mark.parametrize(("count", "tasks", "times"), [(1, 2, 1), (2, 2, 1), (18, 2, 1), (18, 3, 1), (1, 2, 4)])
def test_front_of_three_objectives_is_drawn(tmp_path: Path, count: int, tasks: int, times: int) -> None:
    points = results_of(tmp_path, count, tasks) * times
    values = np.array([(*point.validation_losses, point.omega) for point in points])
    front = non_dominated(values)
    draw_front_3d(tmp_path / "front_3d.png", points, front, TASKS, "title")
    draw_front(tmp_path / "pair.png", points, values, front, 0, TASKS, "title")
    assert_picture(tmp_path / "front_3d.png")
    assert_picture(tmp_path / "pair.png")


@pytest.mark.parametrize("count", [1, 2, 7, 18])
def test_curves_are_drawn(tmp_path: Path, count: int) -> None:
    accuracies = np.array([[51.0, 60.0], [52.0, 60.0], [53.0, 60.0]])  # (epochs, tasks)
    labels = [f"k = (0.001, {number / 20:g}, {0.999 - number / 20:g})" for number in range(count)]
    draw_curves(tmp_path / "curves.png", [accuracies] * count, labels, TASKS, "title")
    assert_picture(tmp_path / "curves.png")


@pytest.mark.parametrize("larger", [False, True])
def test_fronts_of_several_studies_are_drawn(tmp_path: Path, larger: bool) -> None:
    many = losses_of(results_of(tmp_path, 18))
    minimised = {"all": many, "few": many[:2], "one": many[:1], "equal": many[[0, 0, 0]]}
    drawn = {name: values * (-1 if larger else 1) for name, values in minimised.items()}
    corner = reference_point(minimised.values())
    volumes = {name: hypervolume(values, corner) for name, values in minimised.items()}
    draw_fronts(tmp_path / "fronts.png", drawn, TASKS, volumes, "title", larger_is_better=larger)
    assert_picture(tmp_path / "fronts.png")


def test_single_tasks_are_compared_without_pictures(tmp_path: Path) -> None:
    folders = [made_up(tmp_path / str(seed), (0.0, 1.0), architecture="STL", seed=seed).folder for seed in (0, 1)]
    comparison = compare(folders)
    assert draw_comparison(tmp_path / "a", comparison) == []
    assert write_comparison(comparison, tmp_path, "comparison").exists()


# A finished run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short training of an MDMTN, with sparsity, from data to files."""
    folder = str(tmp_path_factory.mktemp("finished"))
    config = RunConfig(script="mine", architecture="MDMTN", dataset="MultiDigits", device="cpu", output_dir=folder)
    run = Run.new(config, short(num_batchEpoch=2, max_iter_search=1, max_iter_retrain=1, num_epochs=1))
    train_run(run, Observer())
    return run


def test_a_finished_run_is_drawn_from_its_folder_and_again(finished: Run, digits: MultiTaskDataset) -> None:
    names = ("training", "rows", "samples", "diagram")
    wanted = {finished.picture(name) for name in names}
    wanted |= {finished.config.images / f"mine_{finished.fingerprint}_{name}.png" for name in names}
    assert not any(path.exists() for path in wanted)  # training draws nothing
    for _ in range(2):
        assert set(draw(finished.folder)) == wanted
        for path in wanted:
            assert_picture(path)
            path.unlink()
    samples, first = read_samples(finished.folder / SAMPLES), samples_of(digits)
    assert np.array_equal(samples.images, first.images)
    assert np.array_equal(samples.labels, first.labels)


@pytest.mark.parametrize("architecture", ["HPS", "MDMTN", "MTAN"])
@pytest.mark.parametrize("alone", [True, False])
def test_samples_and_diagram_are_drawn_only_where_there_is_something_to_draw(
    architecture: str, alone: bool, figures: Figures, tmp_path: Path
) -> None:
    samples = made_up_samples(colour=False) if alone else None
    results = made_up(tmp_path, (0.0, 0.5, 0.5), architecture=architecture, samples=samples, alone=alone)
    wanted = {"training.png", *(("samples.png", "diagram.png") if alone else ())}
    drawn = draw_run(results.folder)
    assert {path.name for path in drawn if path.parent == results.folder} == wanted
    assert len(drawn) == len(wanted) * (1 + alone)
    assert len(figures) == len(wanted)


@pytest.mark.parametrize("name", [START, HISTORY, RESULTS, SAMPLES])
@pytest.mark.parametrize("content", ["", "half a file", "{}", "a,b\n1,2\n", "\x00\x01"])
def test_a_damaged_run_is_refused(name: str, content: str, figures: Figures, tmp_path: Path) -> None:
    results = made_up(tmp_path / "run", samples=made_up_samples(colour=False))
    (results.folder / name).write_text(content)
    with pytest.raises(UserError) as error:
        draw(results.folder)
    assert name in one_line(error)


def test_a_run_of_another_version_is_named(tmp_path: Path) -> None:
    folder = made_up(tmp_path / "run").folder
    started = json.loads((folder / START).read_text())
    for part in ("config", "parameters"):
        write_json(folder / START, {**started, part: {**started[part], "colour": "red"}})
        with pytest.raises(UserError) as error:
            draw(folder)
        assert str(folder) in one_line(error)


def test_a_folder_with_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="holds no run of this version") as error:
            draw(folder)
        one_line(error)


@pytest.mark.parametrize("kind", ["search", "repetitions", "study"])
def test_a_sweep_without_a_finished_training_is_refused(kind: str, tmp_path: Path) -> None:
    settings = {"starts": [], "boxes": asdict(Boxes())}
    outcome = made_up_sweep(tmp_path / kind, kind, [], **settings)
    assert outcome.points == ()
    with pytest.raises(UserError, match="no finished") as error:
        draw(outcome.folder)
    assert str(outcome.folder) in one_line(error)


# Sweeps


@pytest.mark.parametrize("kind", ["search", "repetitions", "study"])
def test_a_sweep_is_drawn_with_its_runs(kind: str, figures: Figures, tmp_path: Path) -> None:
    made: dict[str, Callable[[Path], Outcome]] = {
        "search": made_up_search,
        "repetitions": made_up_repetitions,
        "study": lambda folder: made_up_study(folder).outcome,
    }
    outcome = made[kind](tmp_path)
    names = {"search": ["accuracies"], "repetitions": ["repetitions"], "study": ["losses", "accuracies", "curves"]}
    own = {outcome.picture(name) for name in names[kind]}
    own |= {tmp_path / "pictures" / f"{outcome.folder.name}_{name}.png" for name in names[kind]}
    own |= {outcome.folder / "report.md"} if kind == "study" else set()
    rows = kind != "repetitions"  # those are without sparsity
    runs = {
        results.folder / f"{what}.png"
        for results in outcome.results
        for what in ("training", *(["rows"] if rows else []))
    }
    drawn = draw(outcome.folder)
    assert set(drawn) == own | runs
    assert len(figures) == len(names[kind]) + len(runs)
    assert all(path.exists() for path in own | runs)


@pytest.mark.parametrize(("count", "tasks"), [(1, 2), (7, 2), (5, 3)])
@pytest.mark.parametrize("k0s", [(0.1,), (0.0, 0.01)])
def test_a_study_is_reported_in_pictures_and_words(
    count: int, tasks: int, k0s: tuple[float, ...], tmp_path: Path
) -> None:
    study = made_up_study(tmp_path, k0s, count, tasks)
    text, *pictures = report_study(study)
    names = ["losses", "accuracies", "curves", *(["3d"] if len(k0s) > 1 else [])]
    copies = [f"{study.outcome.folder.name}_{name}" for name in names]
    assert [path.stem for path in pictures] == [*names, *copies]
    for path in pictures:
        assert_picture(path)
    words = text.read_text()
    for part in (
        f"{count} vectors trained, 1 failed",
        f"{study.losses.count} of them are not dominated",
        f"{study.best.label}, test accuracy",
        f"validation losses: {study.losses.volume:.5g}",
        f"accuracies choose: {study.errors.volume:.5g}",
        "seed99: training diverged",
        *(f"start{k0}.pth" for k0 in k0s),
    ):
        assert part in words
    assert ("With Omega as another objective" in words) == (len(k0s) > 1)
    table = [line for line in words.splitlines() if line.startswith("| 0")]
    assert len(table) == count
    marks = {
        "L": study.losses.mask,
        "E": study.on_epsilon_front,
        "A": study.errors.mask,
        "O": study.with_omega.mask,
    }
    assert count < 7 or len({tuple(mask) for letter, mask in marks.items() if letter != "E"}) == 3
    for place, (line, results) in enumerate(zip(table, study.outcome.results, strict=True)):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1 : tasks + 1] == [f"{loss:.4f}" for loss in results.validation_losses]
        assert cells[tasks + 1 : 2 * tasks + 1] == [f"{accuracy:.2f}" for accuracy in results.test_accuracy]
        assert cells[-1].split() == [letter for letter, mask in marks.items() if mask[place]]


# What is printed


def test_the_table_of_a_run_has_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = made_up(tmp_path / "run")
    console.show_run(results, [tmp_path / "a_file.png"])
    screen = capsys.readouterr().out
    for name, test, validation in zip(
        results.task_names, results.test_accuracy, results.validation_accuracy, strict=True
    ):
        (line,) = (line for line in screen.splitlines() if line.startswith(name))
        assert line.removeprefix(name).split() == [f"{test:.2f}", "%", f"{validation:.2f}", "%"]
    counts = results.rows
    for part in (
        f"{results.mean_test_accuracy:.2f} %",
        f"({counts.rows - counts.nonzero} of {counts.rows} rows)",
        f"{results.sparsity_rate:.2f} %",
        f"{counts.compression_rate:.2f}",
        "NOT as sparse as asked for: raise k_0",
        "12.5 s in all",
        "a_file.png",
    ):
        assert part in screen


def test_the_tables_of_sweeps_have_their_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = made_up_search(tmp_path)
    console.show_search(search, [])
    screen = capsys.readouterr().out
    (best,) = (line for line in screen.splitlines() if "<- best" in line)
    assert best.startswith(search.points[search.best].label)
    assert "FAILED seed99: training diverged" in screen

    repetitions = made_up_repetitions(tmp_path)
    console.show_repetitions(repetitions, [])
    screen, found = capsys.readouterr().out, statistics_of(repetitions)
    for name, mean, deviation in zip(found.names, found.mean, found.std, strict=True):
        assert f"{name:<17}  {mean:6.2f} ± {deviation:.2f} %" in screen

    study = made_up_study(tmp_path)
    console.show_study(study, [])
    screen = capsys.readouterr().out
    assert screen.count("  front") == study.losses.count
    assert f"{study.losses.count} of 7 points are not dominated" in screen
    assert f"hypervolume of the losses {study.losses.volume:.5g}" in screen

    comparison = made_up_comparison(tmp_path / "other")
    console.show_comparison(comparison, [])
    screen = capsys.readouterr().out
    for item in comparison.compared:
        (line,) = (line for line in screen.splitlines() if line.startswith(item.label))
        assert f"{item.losses.volume:8.4g}" in line
        assert f"{item.accuracy:.2f} %" in line


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_a_line_per_epoch_without_a_terminal_and_nothing_when_quiet(
    quiet: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    observer, history = console.ConsoleObserver(quiet=quiet), epochs_of(2, KKT, sparse=True)
    observer.phase_starts("search", 3, 1)
    observer.batch_ends(0.5)
    for record in history[:2]:
        observer.epoch_ends(record)
    sweep = console.ConsoleSweepObserver(quiet=quiet)
    sweep.progress(3, 10)
    sweep.trial_ends(1, 2, "k0.1", made_up(tmp_path / "run"))
    sweep.ends()
    screen = capsys.readouterr()
    lines = screen.out.splitlines()
    assert len(lines) == (0 if quiet else 4)
    assert quiet or lines[0] == "phase search: 3 epochs, 1 done before"
    assert quiet or lines[2] == "  search epoch 2: validation 60.00 / 61.00 %, zero rows 20.0 %, 0.5 s"
    assert quiet or lines[3].startswith("1 of 2 done, k0.1: validation")
    observer.message("the user should know")
    sweep.message("this, too")
    assert capsys.readouterr().err.splitlines() == ["note: the user should know", "note: this, too"]


def test_written_files_are_json_that_any_reader_takes(tmp_path: Path) -> None:
    """Numbers that JSON has not, such as the compression rate of a network without rows, are null."""
    results = replace(made_up(tmp_path / "run"), layers={"trunk.3": RowCounts(3, 0, 0, 0)})
    write_results(results)
    content = json.loads((results.folder / RESULTS).read_text(), parse_constant=lambda text: pytest.fail(text))
    assert content["compression_rate"] is None
    assert read_results(results.folder) == results
