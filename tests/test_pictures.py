"""What pictures show: curves and their legends, dots, numbers, colours, formats, the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from benchmarks import preference_ratios
from src.models.mdmtn import MDMTN
from src.models.registry import Architecture
from src.utils.command_line import commands
from src.utils.errors import UserError
from src.utils.report import diagram, fronts, run, style, sweeps
from src.utils.runs.results import Results, write_results
from src.utils.sparsity.metrics import RowCounts
from src.utils.study.compare import compare
from src.utils.study.pareto import hypervolume, non_dominated
from src.utils.study.sweep import Outcome, Point
from src.utils.training.method import MethodState
from src.utils.training.records import EpochRecord
from tests.conftest import one_line

TASKS = ("left", "right")
RESIDUALS = {"multiplier_sum": 1e-7, "complementarity": 0.1, "feasibility": 0.2, "chebyshev_gap": 0.3}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that are saved."""
    figures: list[Figure] = []

    def keep(figure: Figure, path: Path) -> list[Path]:
        figure.draw_without_rendering()
        figures.append(figure)
        return [path]

    for module in (diagram, fronts, run, sweeps, preference_ratios):
        monkeypatch.setattr(module, "save", keep)
    monkeypatch.setattr(sweeps, "keep_copies", lambda pictures, beginning: [])
    yield figures


def results_of(losses: tuple[float, ...], k: tuple[float, ...] = (0.0, 0.5, 0.5), **changed: Any) -> Results:
    accuracies = tuple(100 - 20 * loss for loss in losses)
    made = Results(
        folder=Path(), script="script", architecture="HPS", dataset="data", task=None, task_names=TASKS, k=k,
        test_accuracy=accuracies, validation_accuracy=accuracies, validation_losses=losses, objectives=(3.0, *losses),
        state=MethodState([0.0, 0.1, 0.2], [0.0, 0.5, 0.5], {}), layers={"trunk.2": RowCounts(10, 6, 6, 6)},
        all_layers={"sparsity_rate": 0.0, "compression_rate": 1.0, "parameter_sharing": 1.0},
        reached_min_sparsRate=None, sparsity_binds=None, sparsity_advice=None, found_in_search=None, best_epoch=1,
        parameter_count={"all": 1, "nonzero": 1},
        seconds={"total": 1.0, "phases": {}, "epoch": 1.0}, compression=None, images=None,
        parameters={"method": "Chebyshev"}, seed=0, data_seed=0, device="cpu", versions={},
    )  # fmt: skip
    return replace(made, **changed)


def history_of(details: dict[str, list[float]], epochs: int = 3) -> list[EpochRecord]:
    return [
        EpochRecord(
            phase="train", iteration=1, epoch=epoch + 1, lr=0.1, objectives=[9.0, 0.5, 0.4],
            weighted_objectives=[0.0, 0.25, 0.2], lam=[0.0, 0.5, 0.5],
            details={name: values[epoch] for name, values in details.items()}, validation_accuracy=[80.0, 90.0],
            validation_losses=[0.5, 0.3], sparsity_rate=0.0, seconds=1.0,
        )
        for epoch in range(epochs)
    ]  # fmt: skip


def panel(figure: Figure, name: str) -> Axes:
    return next(axis for axis in figure.axes if axis.get_ylabel().startswith(name))


def texts(owner: Any) -> list[str]:
    return [text.get_text() for text in owner.get_texts()]


def test_a_legend_lists_the_curves_that_are_drawn_and_stands_outside(drawn: list[Figure], tmp_path: Path) -> None:
    details = {name: [value] * 3 for name, value in RESIDUALS.items()} | {"chebyshev_gap": [0.0] * 3, "mu": [1.0] * 3}
    run.draw_history(tmp_path / "a.png", history_of({**details, "new": [1.0] * 3}), TASKS, "title")
    axis = panel(drawn[0], "residuals")
    legend = axis.get_legend()
    assert legend is not None
    labels = [line.get_label() for line in axis.lines]
    assert texts(legend) == labels == [run.DETAILS[name].label for name in list(RESIDUALS)[:3]]
    assert legend.get_window_extent().y1 < axis.get_window_extent().y0
    assert texts(drawn[0].legends[0]) == ["left", "right", "sparsity"]
    assert [line.get_label() for line in panel(drawn[0], "weights").lines] == ["left", "right"]


def test_zeros_are_gaps_and_the_axis_says_so(drawn: list[Figure], tmp_path: Path) -> None:
    run.draw_history(tmp_path / "a.png", history_of({"multiplier_sum": [1e-7, 0.0, 1e-6]}), TASKS, "title")
    axis = panel(drawn[0], "residuals")
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), [1e-7, np.nan, 1e-6])
    assert "0: no point" in axis.get_ylabel()
    assert panel(drawn[0], "validation losses").get_ylabel() == "validation losses"


@pytest.mark.parametrize(
    ("details", "name", "panels"),
    [({"distillation": [1.0] * 3}, "distillation loss", 6), ({"direction_norm": [1.0] * 3}, "norm of the", 6),
     ({}, "weights", 5), ({"distillation": [0.0] * 3}, "weights", 5),
     ({"t": [0.3] * 3, "mu": [1.0] * 3, "lambda_change": [0.1] * 3}, "weighted", 5)],
)  # fmt: skip
def test_numbers_of_a_method_have_a_panel_of_their_name(
    details: dict[str, list[float]], name: str, panels: int, drawn: list[Figure], tmp_path: Path
) -> None:
    run.draw_history(tmp_path / "a.png", history_of(details), TASKS, "title")
    assert len(drawn[0].axes) == panels
    assert all(axis.lines for axis in drawn[0].axes)
    assert panel(drawn[0], name).lines
    assert not any(axis.get_ylabel().startswith("residuals") for axis in drawn[0].axes)


def test_residuals_have_no_colour_of_a_task_and_differ_in_line_and_marker() -> None:
    looks = [run.DETAILS[name].style for name in RESIDUALS]
    assert not {look["color"] for look in looks} & set(style.TASK_COLOURS)
    assert len({(look["ls"], look["marker"]) for look in looks}) == len(looks)


def search_of(candidates: list[dict[str, Any]], **changed: Any) -> Outcome:
    points = [
        Point(candidate, results_of((0.5 - 0.1 * place, 0.3 + 0.05 * place), **changed))
        for place, candidate in enumerate(candidates)
    ]
    return Outcome("search", Path(), Path("search"), tuple(points), (), {})


def test_candidates_are_dots_on_lines_of_their_own(drawn: list[Figure]) -> None:
    outcome = search_of([{"lr": 0.1}, {"lr": 0.2, "distillation": (0.1, 0.2)}, {"lr": 0.3}])
    sweeps.draw_search(outcome)
    assert len(drawn[0].axes) == 2  # the second: zero rows
    assert not [line for axis in drawn[0].axes for line in axis.lines]
    labels = drawn[0].axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [point.label for point in outcome.points]
    assert {label.get_rotation() for label in labels} == {0.0}
    assert labels[outcome.best].get_fontweight() == "bold"
    assert drawn[0].axes[0].get_ylabel() == ""
    assert texts(drawn[0].legends[0]) == [*TASKS, "mean", "best"]


def test_preferences_of_one_k0_are_in_order_and_dense_networks_have_one_panel(drawn: list[Figure]) -> None:
    vectors = [(0.1, 0.6, 0.3), (0.1, 0.2, 0.7)]
    sweeps.draw_search(search_of([{"w": k} for k in vectors], layers={}))
    (axis,) = drawn[0].axes
    assert "ordered by" in axis.get_ylabel()
    assert [label.get_text() for label in axis.get_yticklabels()] == ["k = (0.1, 0.2, 0.7)", "k = (0.1, 0.6, 0.3)"]


def many(count: int, k0s: tuple[float, ...] = (0.001, 0.1)) -> list[Results]:
    shares = np.repeat(np.linspace(0.05, 0.95, -(-count // 2)), 2)[:count]  # pairs that end next to each other
    return [
        results_of((0.1 + (1 - share) ** 2 / 5 + 1e-3 * (place % 2), 0.1 + share**2 / 5), (k0, share, 1 - share))
        for place, (share, k0) in enumerate(zip(shares.tolist(), k0s * count, strict=False))
    ]


@pytest.mark.parametrize(("count", "panels"), [(18, 2), (36, 3), (80, 1)])
def test_numbers_of_many_points_do_not_overlap(count: int, panels: int, drawn: list[Figure], tmp_path: Path) -> None:
    points = many(count)
    values = np.array([point.validation_losses for point in points])
    fronts.draw_front(tmp_path / "f.png", points, values, non_dominated(values), 0, TASKS, "title")
    figure = drawn[0]
    assert len(figure.axes) == panels
    numbers = [text for text in figure.axes[0].texts if isinstance(text, Annotation)]
    boxes = [Text.get_window_extent(text) for text in numbers]
    assert len(numbers) >= count / 3
    assert len({text.get_text() for text in numbers}) == len(numbers)
    assert not [1 for place, box in enumerate(boxes) for other in boxes[:place] if box.overlaps(other)]
    assert ("front.csv" in figure.get_suptitle()) == (panels == 1)
    assert {"$k_0$ = 0.001", "$k_0$ = 0.1"} <= set(texts(figure.legends[0]))
    assert figure.legends[0].get_window_extent().width < figure.bbox.width
    markers = {
        np.asarray(path.vertices).tobytes() for dots in figure.axes[0].collections[:2] for path in dots.get_paths()
    }
    assert len(markers) == 2


def test_points_of_one_k0_need_no_legend_for_it(drawn: list[Figure], tmp_path: Path) -> None:
    points = many(3, (0.1,))[:1]
    fronts.draw_front(tmp_path / "f.png", points, [points[0].validation_losses], [True], 0, TASKS, "title")
    assert texts(drawn[0].legends[0]) == ["non-dominated", "best mean validation accuracy"]


def test_a_poor_point_does_not_squeeze_the_others(drawn: list[Figure], tmp_path: Path) -> None:
    good = np.array([[0.10, 0.14], [0.11, 0.12], [0.12, 0.11], [0.13, 0.10]])
    fronts.draw_fronts(tmp_path / "a.png", {"good": good, "poor": np.array([[2.3, 2.2]])}, TASKS, {}, "title")
    fronts.draw_fronts(tmp_path / "b.png", {"good": good}, TASKS, {}, "title")
    accuracies = {"good": 100 - good, "poor": np.array([[10.0, 12.0]])}
    fronts.draw_fronts(tmp_path / "c.png", accuracies, TASKS, {}, "title", larger_is_better=True)
    assert [[axis.get_xscale() for axis in figure.axes] for figure in drawn] == [
        ["log", "linear"], ["linear"], ["linear", "linear"]
    ]  # fmt: skip
    low, high = drawn[0].axes[1].get_xlim()
    assert 0.05 < low < 0.1
    assert 0.13 < high < 0.2
    low, high = drawn[2].axes[1].get_xlim()
    assert 99 < low < high < 101


def test_long_names_fit_into_the_picture(drawn: list[Figure], tmp_path: Path) -> None:
    places = {f"HPS, Chebyshev, k0.001_0.2_0.799_seed{seed}_20260101-101010": np.ones((1, 2)) for seed in range(2)}
    fronts.draw_fronts(tmp_path / "a.png", places, TASKS, dict.fromkeys(places, 0.123456), "title", reference=(2, 2))
    assert drawn[0].legends[0].get_window_extent().width < drawn[0].bbox.width


def test_text_can_be_read_on_every_colour(drawn: list[Figure], tmp_path: Path) -> None:
    layers = {"first": RowCounts(3000, 2000, 1500, 1000), "second": RowCounts(3000, 2980, 1500, 1000)}
    run.draw_rows(tmp_path / "rows.png", layers, "title")
    bars = drawn[0].axes[0].containers
    numbers = iter(drawn[0].axes[0].texts)
    for bar in (bar for container in bars for bar in container):
        text = next(numbers)
        assert style.contrast(str(text.get_color()), bar.get_facecolor()) >= 4.5
        if text.get_text():
            assert text.get_window_extent().width < bar.get_window_extent().width
    shown = [text.get_text() for text in drawn[0].axes[0].texts]
    assert shown == ["1000", "", "1000", "1980", "1000", "1000"]
    assert style.contrast("black", "white") == pytest.approx(21)
    assert style.text_colour("#0072b2") == "white"


def test_labels_of_the_preference_ratios_stay_inside(drawn: list[Figure], tmp_path: Path) -> None:
    losses = [(0.5793, 0.081), (0.2996, 0.0859), (0.207, 0.0911), (0.1447, 0.0975), (0.1099, 0.1105), (0.0797, 0.1202),
              (0.0664, 0.1576), (0.0555, 0.2244), (0.0472, 0.3917)]  # fmt: skip
    rows = [
        preference_ratios.Row(0, k1, round(1 - k1, 1), f1, f2, 0.0, 0.5, 0.5, 90.0, 90.0)
        for k1, (f1, f2) in zip(preference_ratios.SHARES, losses, strict=True)
    ]
    preference_ratios.draw_ratios(tmp_path / "a.png", rows, "title")
    axis = drawn[0].axes[1]
    frame, boxes = axis.get_window_extent(), [text.get_window_extent() for text in axis.texts]
    assert len(boxes) == len(rows)
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
    assert not [1 for place, box in enumerate(boxes) for other in boxes[:place] if box.overlaps(other)]


def diagram_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("name", ["MDMTN", "HPS", "STL", "MTAN"])
@pytest.mark.parametrize("tasks", [1, 2, 3, 6])
def test_the_diagram_is_that_of_the_network(name: str, tasks: int, drawn: list[Figure], tmp_path: Path) -> None:
    tasks = 1 if name == "STL" else tasks
    network = Architecture(name, "MultiMnist", (10, 7, 5, 4, 3, 2)[:tasks]).build()
    layer = "stages.1.0" if name == "MTAN" else "trunk.3"
    names, counts = [f"task {task}" for task in range(tasks)], {layer: RowCounts(10, 7, 7, 7)}
    assert diagram.kind_of(network.state_dict(), tasks) == ("STL" if name == "HPS" and tasks == 1 else name)
    diagram.draw_diagram(tmp_path / "d.png", network.state_dict(), names, counts, "what")
    shown = diagram_texts(drawn[0])
    assert {"convolution 1 × 10, 5×5", "convolution 10 × 20, 5×5", "linear 50 × 10"} <= set(shown)
    assert shown.count("zero rows: 3 of 10 (30.0 %)") == 1
    assert sum(text.startswith("head ") for text in shown) == tasks
    assert sum(text.startswith("$\\alpha") for text in shown) == (2 * tasks if name == "MDMTN" else 0)
    assert drawn[0].get_suptitle().endswith("what")
    boxes = [text.get_window_extent() for text in drawn[0].axes[0].texts if text.get_text()]
    assert not [1 for place, box in enumerate(boxes) for other in boxes[:place] if box.overlaps(other)]


def test_the_diagram_of_ones_own_network_shows_its_alphas(drawn: list[Figure], tmp_path: Path) -> None:
    def part() -> torch.nn.Sequential:
        return torch.nn.Sequential(torch.nn.Linear(12, 8), *(torch.nn.Linear(8, 8) for _ in range(11)))

    network = MDMTN(part(), [part()], [torch.nn.Linear(8, 3)])
    network.alphas.data[0] = torch.tensor([0.75, -0.25])
    diagram.draw_diagram(tmp_path / "d.png", network.state_dict(), ["only"], {}, "own on mine")
    shown = diagram_texts(drawn[0])
    assert {"12 numbers", "linear 12 × 8", "... 5 more layers ..."} <= set(shown)
    assert [text.rpartition("= ")[2] for text in shown if "alpha" in text] == ["0.75", "-0.25"]
    assert "MDMTN" in drawn[0].get_suptitle()
    assert diagram.kind_of({"body.0.weight": torch.zeros(2, 2)}, 1) is None
    assert diagram.kind_of({**network.state_dict(), "alphas": torch.zeros(2, 2)}, 1) is None


def test_pictures_are_written_as_pdf_too(tmp_path: Path) -> None:
    layers = {"trunk.3": RowCounts(10, 7, 7, 7)}
    with style.pictures_as("pdf"):
        files = run.draw_rows(tmp_path / "k0.1_rows.png", layers, "title")
    assert files == [tmp_path / "k0.1_rows.png", tmp_path / "k0.1_rows.pdf"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    content = files[1].read_bytes()
    assert content.startswith(b"%PDF")
    assert b"FontFile2" in content
    assert run.draw_rows(tmp_path / "rows.png", layers, "title") == [tmp_path / "rows.png"]
    assert not (tmp_path / "rows.pdf").exists()


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """Folder of a finished search of two points."""
    for name, losses in {"a": (0.2, 0.4), "b": (0.4, 0.2)}.items():
        (tmp_path / "logs" / name).mkdir(parents=True)
        write_results(results_of(losses, folder=tmp_path / "logs" / name))
    return tmp_path / "logs"


def test_the_reference_point_is_that_of_the_hypervolume(finished: Path) -> None:
    points = np.array([[0.2, 0.4], [0.4, 0.2]])
    volumes = {}
    for reference in ((1.0, 1.0), (0.3, 1.0)):
        (item,) = compare([finished], reference).compared
        volumes[reference] = item.losses.volume
        assert item.losses.volume == pytest.approx(hypervolume(points, reference))
    assert volumes == {(1.0, 1.0): pytest.approx(0.8 * 0.6 + 0.6 * 0.2), (0.3, 1.0): pytest.approx(0.1 * 0.6)}
    assert item.losses.outside == 1
    assert compare([finished]).compared[0].losses.reference == pytest.approx([0.42, 0.42])


@pytest.mark.parametrize(
    ("reference", "said"), [((1.0,), "2 numbers"), ((1.0, 1.0, 1.0), "2 numbers"), ((0.2, 0.2), "larger losses")]
)
def test_a_reference_point_without_volume_is_refused(reference: tuple[float, ...], said: str, finished: Path) -> None:
    with pytest.raises(UserError) as error:
        compare([finished], reference)
    assert said in one_line(error)


def test_the_flags_of_a_comparison(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [str(finished), "--output-dir", str(tmp_path)]
    commands.compare([*places, "--reference", "0.3", "1", "--figure_format", "pdf"])
    output = capsys.readouterr().out
    assert "losses of 1 of 2 points are beyond the reference point" in output
    for kind in ("losses", "accuracies"):
        for suffix in ("png", "pdf"):
            path = tmp_path / "Images" / "data" / f"comparison_{kind}.{suffix}"
            assert path.is_file()
            assert str(path) in output
    for wrong in (["--reference", "x", "1"], ["--figure_format", "svg"]):
        with pytest.raises(UserError) as error:
            commands.compare([*places, *wrong])
        assert wrong[0][2:] in one_line(error)
