"""Pictures of fronts: points beside a table, several fronts in one, three objectives, curves of many trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from src.utils.report.style import BEST_COLOUR, FRONT_COLOUR, MARKERS, PALE_COLOUR, save, task_colour
from src.utils.runs.results import Results
from src.utils.study.compare import Comparison
from src.utils.study.pareto import non_dominated


def draw_comparison(comparison: Comparison) -> list[Path]:
    """Losses and accuracies of all compared folders; nothing for a single task."""
    if len(comparison.task_names) < 2:
        return []
    base, dataset = comparison.table.with_suffix(""), comparison.dataset
    losses, accuracies = (base.with_name(f"{base.name}_{kind}.png") for kind in ("losses", "accuracies"))
    draw_fronts(
        losses,
        {item.label: item.losses.values for item in comparison.compared},
        [f"validation loss, {task}" for task in comparison.task_names],
        {item.label: item.losses.volume for item in comparison.compared},
        f"{dataset}: losses",
    )
    draw_fronts(
        accuracies,
        {item.label: 100 - item.errors.values for item in comparison.compared},
        [f"test accuracy, {task} (%)" for task in comparison.task_names],
        {item.label: item.errors.volume for item in comparison.compared},
        f"{dataset}: accuracies",
        larger_is_better=True,
    )
    return [losses, accuracies]


def draw_front(
    path: Path,
    points: Sequence[Results],
    values: ArrayLike,
    front: ArrayLike,
    best: int,
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
        best: place of the point that is ringed.
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
    x, y = drawn[best]
    ring = {"s": 130, "facecolors": "none", "edgecolors": BEST_COLOUR, "linewidths": 1.8}
    axis.scatter(x, y, **ring, label="best mean validation accuracy", zorder=3)
    axis.set_xlabel(axis_names[0])
    axis.set_ylabel(axis_names[1])
    axis.margins(0.08)
    axis.grid(alpha=0.3)
    colours = np.where(on_front, FRONT_COLOUR, "#707070")
    colours[best] = BEST_COLOUR
    _draw_table(table, rows, colours)
    figure.suptitle(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    figure.draw_without_rendering()  # the numbers are placed on the final layout
    ahead = non_dominated(-drawn if larger_is_better else drawn)
    _number_points(axis, drawn, np.where(ahead == larger_is_better, 45, 225))  # each on its side of the staircase
    save(figure, path)


def draw_front_3d(
    path: Path, points: Sequence[Results], front: ArrayLike, task_names: Sequence[str], title: str
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
    save(figure, path)


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
            axis.plot(epochs, run[:, task], lw=1.2, color=task_colour(task), label=name)
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
    save(figure, path)


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
        drawn, colour = values[:, :2], task_colour(number)
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
    save(figure, path)


def _draw_staircase(axis: Axes, values: NDArray[np.float64], larger_is_better: bool, **style: Any) -> None:
    """The border of what the non-dominated ones of ``values`` (n, 2) dominate, between the first and the last."""
    ahead = values[non_dominated(-values if larger_is_better else values)]
    x, y = ahead[np.argsort(ahead[:, 0])].T
    axis.plot(x, y, drawstyle="steps-pre" if larger_is_better else "steps-post", **style)


def _table_rows(points: Sequence[Results]) -> list[str]:
    """A head and a row per point, all of the same length."""
    shown = [", ".join(f"{value:.4g}" for value in point.k) for point in points]
    width = max(len(text) for text in shown)
    rows = [f"    {'k':<{width}} {'valid.':>6} {'test':>6} {'zero':>5}"]
    for number, (point, text) in enumerate(zip(points, shown, strict=True), start=1):
        means = f"{point.mean_accuracy:6.2f} {point.mean_test_accuracy:6.2f}"
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
