"""All pictures. They are drawn off screen and written whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from math import ceil, sqrt
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from Data_loaders.datasets import MultiTaskDataset
from src.utils.files import write_picture
from src.utils.sparsity.metrics import RowCounts
from src.utils.study.pareto import non_dominated
from src.utils.training.engine import EpochRecord

SPARSITY_COLOUR = "#555555"
TASK_COLOURS = ("#1f77b4", "#d95f02", "#2a9d5c", "#8e44ad", "#c0392b", "#0097a7")
FRONT_COLOUR = "#1f77b4"
PALE_COLOUR = "#a8a8a8"
BEST_COLOUR = "#d95f02"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # 7, prime to the 6 colours: 42 pairs before one comes again
DPI = 130
DETAILS = {
    "multiplier_sum": "$|1 - \\sum_i \\lambda_i|$",
    "complementarity": "$\\max_i |\\lambda_i g_i|$",
    "feasibility": "$\\max(0, \\max_i g_i)$",
    "chebyshev_gap": "Chebyshev gap",
    "direction_norm": "$\\|\\sum_i w_i g_i\\|$",
    "distillation": "distillation loss",
}
"""Numbers of the methods that are drawn: residuals of the KKT conditions, distance to stationarity."""


def draw_samples(path: Path, dataset: MultiTaskDataset, count: int = 10) -> None:
    """The first training images with their labels."""
    columns = 5
    figure = Figure(figsize=(columns * 1.7, 2.1 * -(-count // columns)), layout="constrained")
    axes = figure.subplots(-(-count // columns), columns).flatten()
    for axis, image, labels in zip(axes, dataset.x_train, dataset.y_train, strict=False):
        names = [dataset.class_names[task][label] for task, label in enumerate(labels)]
        axis.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
        axis.set_title(", ".join(names), fontsize=10)
    for axis in axes:
        axis.set_axis_off()
    figure.suptitle(f"{dataset.name}: {', '.join(dataset.task_names)}", fontsize=11)
    _save(figure, path)


def draw_history(path: Path, history: Sequence[EpochRecord], task_names: Sequence[str], title: str) -> None:
    """Accuracy, objectives, their weights, and how well the scalarized problem is solved, over the epochs."""
    figure = Figure(figsize=(15, 7), layout="constrained")
    (accuracy, losses, objectives), (weighted, multipliers, details) = figure.subplots(2, 3)
    epochs = [record.epoch for record in history]
    for task, name in enumerate(task_names):
        style = {"color": TASK_COLOURS[task % len(TASK_COLOURS)], "label": name}
        accuracy.plot(epochs, [record.validation_accuracy[task] for record in history], ".-", **style)
        losses.plot(epochs, [record.validation_losses[task] for record in history], ".-", **style)
    for number, name in enumerate(["sparsity", *task_names]):
        colour = TASK_COLOURS[(number - 1) % len(TASK_COLOURS)] if number else SPARSITY_COLOUR
        style = {"color": colour, "label": name}
        objectives.plot(epochs, [record.objectives[number] for record in history], ".-", **style)
        terms = [record.weighted_objectives[number] or np.nan for record in history]  # 0: out of play, no point
        weighted.plot(epochs, terms, ".-", **style)
        multipliers.plot(epochs, [record.lam[number] for record in history], drawstyle="steps-post", **style)
    for name, label in DETAILS.items():
        if name in history[0].details:
            values = [max(record.details[name], 1e-8) for record in history]  # below: rounding
            details.plot(epochs, values, ".-", label=label)
    for axis, label in (
        (accuracy, "validation accuracy (%)"),
        (losses, "validation losses"),
        (objectives, "objectives f (training)"),
        (weighted, "weighted objectives c"),
        (multipliers, "weights of the objectives $\\lambda$"),
        (details, "optimality"),
    ):
        _mark_phases(axis, history)
        axis.set_ylabel(label)
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    for axis in (losses, objectives, weighted, details):
        axis.set_yscale("log")
    rates = [record.sparsity_rate for record in history]
    if any(rates):
        _draw_zero_rows(accuracy, epochs, rates)
    figure.suptitle(title, fontsize=11)
    _save(figure, path)


def draw_rows(path: Path, layers: Mapping[str, RowCounts], title: str) -> None:
    """Zero, shared and free rows of each sparse layer."""
    figure = Figure(figsize=(8, 1.6 + 0.5 * len(layers)), layout="constrained")
    axis = figure.subplots()
    left = np.zeros(len(layers))
    parts = {
        "zero": ([counts.rows - counts.nonzero for counts in layers.values()], "#d0d0d0"),
        "shared": ([counts.nonzero - counts.free for counts in layers.values()], "#d95f02"),
        "free": ([counts.free for counts in layers.values()], "#1f77b4"),
    }
    sizes = np.array([counts.rows for counts in layers.values()])
    for name, (values, colour) in parts.items():
        shares = 100 * np.array(values) / sizes
        bars = axis.barh(list(layers), shares, left=left, color=colour, label=name)
        axis.bar_label(bars, [str(value) if share > 4 else "" for value, share in zip(values, shares, strict=True)],
                       label_type="center", fontsize=8)  # fmt: skip
        left += shares
    axis.set_yticks(range(len(layers)), [f"{name} ({counts.rows})" for name, counts in layers.items()])
    axis.invert_yaxis()
    axis.set_xlabel("rows (%)")
    axis.set_xlim(0, 100)
    axis.set_title(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=3)
    _save(figure, path)


class Trained(Protocol):
    """What a trained network reached, percent."""

    @property
    def validation_accuracy(self) -> tuple[float, ...]: ...
    @property
    def sparsity_rate(self) -> float: ...


def draw_search(
    path: Path, points: Sequence[Trained], labels: Sequence[str], best: int, task_names: Sequence[str]
) -> None:
    """Validation accuracy per task and zero rows over the candidates, the best one marked."""
    figure = Figure(figsize=(max(7.0, 0.5 * len(points) + 3), 5.5), layout="constrained")
    axis = figure.subplots()
    places = range(len(points))
    for task, name in enumerate(task_names):
        values = [point.validation_accuracy[task] for point in points]
        axis.plot(places, values, "o-", color=TASK_COLOURS[task % len(TASK_COLOURS)], label=name)
    axis.plot(places, [float(np.mean(point.validation_accuracy)) for point in points], "k--", label="mean")
    axis.axvline(best, color="#bbbbbb", lw=8, alpha=0.5, zorder=0, label="best")
    axis.set_ylabel("validation accuracy (%)")
    axis.set_xticks(places, labels, rotation=60, ha="right")
    axis.grid(alpha=0.3)
    rates = [point.sparsity_rate for point in points]
    if any(rates):
        _draw_zero_rows(axis, places, rates)
    figure.legend(loc="outside upper center", ncols=len(task_names) + 3, fontsize=9)
    _save(figure, path)


def draw_repetitions(path: Path, accuracies: np.ndarray, names: Sequence[str], title: str) -> None:
    """Test accuracies (repetitions, tasks and their mean), each a dot, with mean and standard deviation."""
    figure = Figure(figsize=(1.5 * len(names) + 2.5, 4.5), layout="constrained")
    axis = figure.subplots()
    for place, name in enumerate(names):
        values = accuracies[:, place]
        colour = "black" if name == "mean" else TASK_COLOURS[place % len(TASK_COLOURS)]
        axis.plot(np.full(len(values), place), values, "o", color=colour, alpha=0.4)
        deviation = values.std(ddof=min(1, len(values) - 1))
        axis.errorbar(place + 0.15, values.mean(), deviation, fmt="s", color=colour, capsize=5)
        axis.annotate(f"{values.mean():.2f} ± {deviation:.2f}", (place + 0.22, values.mean()), va="center", fontsize=9)
    axis.set_xticks(range(len(names)), names)
    axis.set_xlim(-0.4, len(names) - 0.2)
    axis.set_ylabel("test accuracy (%)")
    axis.grid(alpha=0.3, axis="y")
    axis.set_title(title, fontsize=10)
    _save(figure, path)


class StudyPointLike(Trained, Protocol):
    """A preference vector with all that its network reached: losses and accuracies per task, accuracies in percent."""

    @property
    def k(self) -> tuple[float, ...]: ...
    @property
    def validation_losses(self) -> tuple[float, ...]: ...
    @property
    def test_accuracy(self) -> tuple[float, ...]: ...
    @property
    def omega(self) -> float:
        """Value of the sparsity objective."""


def draw_front(
    path: Path,
    points: Sequence[StudyPointLike],
    values: ArrayLike,
    front: ArrayLike,
    best: StudyPointLike,
    axis_names: Sequence[str],
    title: str,
    *,
    larger_is_better: bool = False,
) -> None:
    """Two objectives of all points, numbered, beside a table of the numbers' k, accuracies and zero rows.

    Args:
        path: of the picture.
        points: in the order of their numbers, from 1.
        values: what is drawn, (n, 2 or more), finite, of which the first two columns are taken: for more than two
            tasks choose the pair. Losses, or accuracies with ``larger_is_better``.
        front: mask (n,) of the points drawn as non-dominated. The staircase joins those that no other one of them
            dominates in the two columns: all, unless the front is one of more objectives.
        best: the point that is ringed.
        axis_names: of the two columns.
        title: of the picture.
        larger_is_better: for both columns.
    """
    drawn, on_front = np.asarray(values, dtype=np.float64)[:, :2], np.asarray(front, dtype=np.bool_)
    rows = _table_rows(points)
    width = 0.067 * len(rows[0]) + 0.1  # inches: a letter of the table takes 0.602 of 8 points
    figure = Figure(figsize=(7.2 + width, max(5.5, 0.2 * len(points) + 1.5)), layout="constrained")
    axis, table = figure.subplots(1, 2, width_ratios=(7, width))
    axis.scatter(*drawn[~on_front].T, s=26, color=PALE_COLOUR, label="dominated", zorder=2)
    axis.scatter(*drawn[on_front].T, s=34, color=FRONT_COLOUR, label="non-dominated", zorder=3)
    _draw_staircase(axis, drawn[on_front], larger_is_better, color=FRONT_COLOUR, lw=1.2, zorder=1)
    x, y = drawn[points.index(best)]
    ring = {"s": 130, "facecolors": "none", "edgecolors": BEST_COLOUR, "linewidths": 1.8}
    axis.scatter(x, y, **ring, label="best mean validation accuracy", zorder=3)
    axis.set_xlabel(axis_names[0])
    axis.set_ylabel(axis_names[1])
    axis.margins(0.08)
    axis.grid(alpha=0.3)
    colours = np.where(on_front, FRONT_COLOUR, "#707070")
    colours[points.index(best)] = BEST_COLOUR
    _draw_table(table, rows, colours)
    figure.suptitle(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    figure.draw_without_rendering()  # the numbers are placed on the final layout
    ahead = non_dominated(-drawn if larger_is_better else drawn)
    _number_points(axis, drawn, np.where(ahead == larger_is_better, 45, 225))  # each on its side of the staircase
    _save(figure, path)


def draw_front_3d(
    path: Path, points: Sequence[StudyPointLike], front: ArrayLike, task_names: Sequence[str], title: str
) -> None:
    """Validation losses of the first two tasks and the sparsity objective, coloured by k_0, dominated points pale.

    Args:
        path: of the picture.
        points: of two tasks or more.
        front: mask (n,) of the points that are not pale.
        task_names: one per task.
        title: of the picture.
    """
    places = np.array([(*point.validation_losses[:2], point.omega) for point in points])
    on_front = np.asarray(front, dtype=np.bool_)
    choices = sorted({point.k[0] for point in points})
    shades = colormaps["viridis"](np.linspace(0, 0.9, len(choices)))
    colours = np.array([shades[choices.index(point.k[0])] for point in points])
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axis = figure.add_subplot(projection="3d")
    floor = float(places[:, 2].min() - 0.05 * np.ptp(places[:, 2]))
    for (x, y, z), colour, shown in zip(places, colours, on_front, strict=True):
        alpha = 1.0 if shown else 0.25
        axis.plot([x, x], [y, y], [floor, z], color=colour, lw=0.8, alpha=0.5 * alpha)
        axis.scatter([x], [y], [z], s=36 if shown else 26, color=colour, alpha=alpha, depthshade=False)
    axis.set_xlabel(f"{task_names[0]}: validation loss")
    axis.set_ylabel(f"{task_names[1]}: validation loss")
    axis.set_zlabel("$\\Omega$ (sparsity objective)")
    scale = ScalarMappable(BoundaryNorm(np.arange(len(choices) + 1) - 0.5, len(choices)), ListedColormap(shades))
    bar = figure.colorbar(scale, ax=axis, label="$k_0$", shrink=0.6, pad=0.1)
    bar.minorticks_off()
    bar.set_ticks(range(len(choices)), labels=[f"{choice:g}" for choice in choices])
    figure.suptitle(title, fontsize=11)
    _save(figure, path)


def draw_curves(
    path: Path,
    accuracies: Sequence[NDArray[np.float64]],
    labels: Sequence[str],
    task_names: Sequence[str],
    title: str,
) -> None:
    """Validation accuracy per task over the epochs, a small axis per run, all with the same scales.

    Args:
        path: of the picture.
        accuracies: validation accuracies (epochs, tasks), percent, one array per run.
        labels: one per run, such as its k.
        task_names: one per task.
        title: of the picture.
    """
    count = len(accuracies)
    columns = min(6, ceil(count / max(1, round(sqrt(count / 2)))))  # about twice as many columns as rows
    rows = -(-count // columns)
    figure = Figure(figsize=(max(6.0, 2.1 * columns), 1.3 + 1.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axis, run, label in zip(axes, accuracies, labels, strict=False):
        epochs = range(1, len(run) + 1)
        for task, name in enumerate(task_names):
            axis.plot(epochs, run[:, task], lw=1.2, color=TASK_COLOURS[task % len(TASK_COLOURS)], label=name)
        axis.set_title(label, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    for axis in axes[max(0, count - columns) : count]:  # nothing below it
        axis.set_xlabel("epoch", fontsize=8)
        axis.tick_params(labelbottom=True)
    for axis in axes[count:]:
        axis.set_axis_off()
    figure.supylabel("validation accuracy (%)", fontsize=10)
    figure.suptitle(title, fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(task_names), fontsize=9)
    _save(figure, path)


def draw_fronts(
    path: Path,
    fronts: Mapping[str, NDArray[np.float64]],
    axis_names: Sequence[str],
    hypervolumes: Mapping[str, float],
    title: str,
    *,
    larger_is_better: bool = False,
) -> None:
    """Two objectives of several studies, each with its staircase; dominated points pale, hypervolumes in the legend.

    Args:
        path: of the picture.
        fronts: points (n, 2 or more) by the study's name, finite, the first two columns are drawn.
        axis_names: of the two columns.
        hypervolumes: by the study's name, all for one reference point; a study may lack one.
        title: of the picture.
        larger_is_better: for both columns.
    """
    figure = Figure(figsize=(8, 6), layout="constrained")
    axis = figure.subplots()
    for number, (name, values) in enumerate(fronts.items()):
        drawn, colour = values[:, :2], TASK_COLOURS[number % len(TASK_COLOURS)]
        marker = MARKERS[number % len(MARKERS)]
        on_front = non_dominated(-drawn if larger_is_better else drawn)
        x, y = drawn[~on_front].T
        axis.scatter(x, y, s=20, marker=marker, color=to_rgba(colour, 0.25), linewidths=0)
        label = f"{name}: hypervolume {hypervolumes[name]:.4g}" if name in hypervolumes else name
        _draw_staircase(axis, drawn, larger_is_better, color=colour, marker=marker, ms=6, lw=1.2, label=label)
    axis.set_xlabel(axis_names[0])
    axis.set_ylabel(axis_names[1])
    axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=min(2, len(fronts)), fontsize=9)
    _save(figure, path)


def draw_diagram(path: Path, num_outs: Sequence[int], task_names: Sequence[str]) -> None:
    """The Monitored Deep Multi-Task Network: how data flow from the image to the tasks."""
    tasks = len(num_outs)
    figure = Figure(figsize=(10, 1.9 * (tasks + 1)), layout="constrained")
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_xlim(0, 10)
    axis.set_ylim(-0.6, tasks + 0.6)
    middle = tasks / 2
    heights = [tasks - 0.0 - task * (tasks / max(tasks - 1, 1)) if tasks > 1 else 0.3 for task in range(tasks)]
    _box(axis, 0.8, middle, "image", "#eeeeee")
    _box(axis, 3.3, middle, "trunk (shared)", "#ffe5b4")
    _arrow(axis, (1.45, middle), (2.35, middle))
    for task, (height, name) in enumerate(zip(heights, task_names, strict=True)):
        colour = TASK_COLOURS[task % len(TASK_COLOURS)]
        _box(axis, 3.3, height, f"monitor {task + 1}", colour, alpha=0.25)
        _box(axis, 6.1, height, "+", "#ffffff", width=0.7)
        _box(axis, 8.1, height, f"head {task + 1}: {name}\n{num_outs[task]} classes", colour, alpha=0.25, width=2.5)
        _arrow(axis, (1.45, middle), (2.35, height))
        _arrow(axis, (4.25, height), (5.75, height), f"$\\alpha_{{{task + 1},1}}$")
        _arrow(axis, (4.25, middle), (5.75, height), f"$\\alpha_{{{task + 1},0}}$")
        _arrow(axis, (6.45, height), (6.85, height))
    axis.set_title("Monitored Deep Multi-Task Network (MDMTN)", fontsize=12)
    _save(figure, path)


def _box(axis: Axes, x: float, y: float, text: str, colour: str, *, alpha: float = 1.0, width: float = 1.9) -> None:
    width = 1.3 if text == "image" else width
    box = FancyBboxPatch(
        (x - width / 2, y - 0.22), width, 0.44, boxstyle="round,pad=0.02,rounding_size=0.08", fc=colour, ec="none"
    )
    box.set_alpha(alpha)
    axis.add_patch(box)
    outline = FancyBboxPatch(
        (x - width / 2, y - 0.22), width, 0.44, boxstyle="round,pad=0.02,rounding_size=0.08", fc="none", ec="#333333"
    )
    axis.add_patch(outline)
    axis.text(x, y, text, ha="center", va="center", fontsize=10)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color="#333333", lw=1))
    if text:
        x, y = 0.45 * start[0] + 0.55 * end[0], 0.45 * start[1] + 0.55 * end[1]
        axis.text(x, y, text, ha="center", va="center", fontsize=11, bbox={"fc": "white", "ec": "none", "pad": 1})


def _draw_staircase(axis: Axes, values: NDArray[np.float64], larger_is_better: bool, **style: Any) -> None:
    """The border of what the non-dominated ones of ``values`` (n, 2) dominate, between the first and the last."""
    ahead = values[non_dominated(-values if larger_is_better else values)]
    x, y = ahead[np.argsort(ahead[:, 0])].T
    axis.plot(x, y, drawstyle="steps-pre" if larger_is_better else "steps-post", **style)


def _table_rows(points: Sequence[StudyPointLike]) -> list[str]:
    """A head and a row per point, all of the same length."""
    shown = [", ".join(f"{value:.4g}" for value in point.k) for point in points]
    width = max(len(text) for text in shown)
    rows = [f"    {'k':<{width}} {'valid.':>6} {'test':>6} {'zero':>5}"]
    for number, (point, text) in enumerate(zip(points, shown, strict=True), start=1):
        means = f"{np.mean(point.validation_accuracy):6.2f} {np.mean(point.test_accuracy):6.2f}"
        rows.append(f"{number:>3} {text:<{width}} {means} {point.sparsity_rate:5.1f}")
    return rows


def _draw_table(axis: Axes, rows: Sequence[str], colours: NDArray[np.str_]) -> None:
    axis.set_axis_off()
    axis.set_xlim(0, 1)
    axis.set_ylim(max(len(rows), 21), -1)  # few points: rows from the top, not stretched
    style: dict[str, Any] = {"family": "monospace", "fontsize": 8, "va": "center"}
    axis.text(0, -0.3, rows[0], fontweight="bold", **style)
    for place, (row, colour) in enumerate(zip(rows[1:], colours, strict=True), start=1):
        axis.text(0, place, row, color=colour, **style)
    axis.set_title("mean accuracies, zero rows (%)", fontsize=9, loc="right")


def _number_points(axis: Axes, values: NDArray[np.float64], angles: NDArray[np.int_]) -> None:
    """Numbers from 1 beside the points (n, 2), each at the nearest free place, from its angle (n,), degrees, on."""
    scale = 72 / axis.figure.dpi
    places = axis.transData.transform(values) * scale
    low, high = np.array(axis.bbox.min) * scale, np.array(axis.bbox.max) * scale
    halo = withStroke(linewidth=2.5, foreground="white")
    turns = np.array([0, 30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180])
    taken = [(place, np.array([4.0, 4.0])) for place in places]  # centre and half the size, in points
    for number, (place, first) in enumerate(zip(places, angles, strict=True), start=1):
        half = np.array([2.6 * len(str(number)), 4.0])
        for radius, angle in product((11, 17, 24, 32, 41, 51), np.radians(first + turns)):
            centre = place + radius * np.array([np.cos(angle), np.sin(angle)])
            inside = (centre - half > low).all() and (centre + half < high).all()
            if inside and all((abs(centre - other) > half + size).any() for other, size in taken):
                break
        else:  # nowhere: above the point
            radius, centre = 11, place + np.array([0, 11])
        taken.append((centre, half))
        line = {"arrowstyle": "-", "lw": 0.5, "color": "#777777", "shrinkA": 0, "shrinkB": 2} if radius > 11 else None
        axis.annotate(
            str(number), values[number - 1], centre - place, textcoords="offset points", arrowprops=line,
            ha="center", va="center", fontsize=8, zorder=4, path_effects=[halo],
        )  # fmt: skip


def _draw_zero_rows(axis: Axes, places: Sequence[int], rates: Sequence[float]) -> None:
    """The share of zero rows, percent, against an axis of its own on the right."""
    right = axis.twinx()
    right.plot(places, rates, ":", color=SPARSITY_COLOUR)
    right.set_ylabel("zero rows (%), dotted", color=SPARSITY_COLOUR)
    right.set_ylim(0, 100)


def _mark_phases(axis: Axes, history: Sequence[EpochRecord]) -> None:
    for before, after in pairwise(history):
        if before.phase != after.phase:
            axis.axvline(before.epoch + 0.5, color="#999999", lw=1, ls="--")


def _save(figure: Figure, path: Path) -> None:
    write_picture(path, lambda file: figure.savefig(file, format="png", dpi=DPI))
