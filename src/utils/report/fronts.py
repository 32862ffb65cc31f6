"""Pictures of fronts: points beside a table, several fronts in one, three objectives, curves of many trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from src.utils.report.points import LINES, draw_table, markers_of, number_points, table_rows
from src.utils.report.style import BEST_COLOUR, FRONT_COLOUR, MARKERS, PALE_COLOUR, PLURAL, save, task_colour
from src.utils.runs.results import Results
from src.utils.study.compare import Comparison
from src.utils.study.pareto import non_dominated


def draw_comparison(base: Path, comparison: Comparison) -> list[Path]:
    """Losses and accuracies of all compared folders; nothing for a single task.

    Args:
        base: what the files' names begin with.
        comparison: what was measured.
    """
    if len(comparison.task_names) < 2:
        return []
    dataset, first = comparison.dataset, comparison.compared[0]
    losses = draw_fronts(
        base.with_name(f"{base.name}_losses.png"),
        {item.label: item.losses.values for item in comparison.compared},
        [f"validation loss, {task}" for task in comparison.task_names],
        {item.label: item.losses.volume for item in comparison.compared},
        f"{dataset}: losses",
        reference=first.losses.reference,
    )
    accuracies = draw_fronts(
        base.with_name(f"{base.name}_accuracies.png"),
        {item.label: 100 - item.errors.values[item.errors.mask] for item in comparison.compared},
        [f"test {comparison.score_name}, {task} (%)" for task in comparison.task_names],
        {item.label: item.errors.volume for item in comparison.compared},
        f"{dataset}: {PLURAL[comparison.score_name]} of the points that the validation data choose",
        larger_is_better=True,
        reference=100 - first.errors.reference,
    )
    return [*losses, *accuracies]


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
) -> list[Path]:
    """Two objectives of all points, numbered where there is room, beside a table of k, accuracies and zero rows.

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
    rows, columns = table_rows(points), ceil(len(points) / LINES) if len(points) <= 3 * LINES else 0
    width = 0.067 * len(rows[0]) + 0.1  # inches: a letter of the table takes 0.602 of 8 points
    figure = Figure(figsize=(7.2 + columns * width, 6.5), layout="constrained")
    axis, *tables = figure.subplots(1, 1 + columns, width_ratios=(7, *(width,) * columns), squeeze=False)[0]
    paths, legend = markers_of([point.k[0] for point in points])
    shades = []
    for chosen, size, colour, name in (
        (~on_front, 26, PALE_COLOUR, "dominated"),
        (on_front, 34, FRONT_COLOUR, "non-dominated"),
    ):
        dots = axis.scatter(*drawn[chosen].T, s=size, color=colour, zorder=3)
        dots.set_paths([path for path, drawn_here in zip(paths, chosen, strict=True) if drawn_here])
        shades += [Patch(color=colour, label=name)] * bool(chosen.any())
    _draw_staircase(axis, drawn[on_front], larger_is_better, color=FRONT_COLOUR, lw=1.2, zorder=1)
    x, y = drawn[best]
    ring = {"s": 130, "facecolors": "none", "edgecolors": BEST_COLOUR, "linewidths": 1.8}
    axis.scatter(x, y, **ring, label="best mean validation accuracy", zorder=3)
    axis.set_xlabel(axis_names[0])
    axis.set_ylabel(axis_names[1])
    axis.margins(0.08)
    axis.grid(alpha=0.3)
    _scale(axis, drawn, larger_is_better)
    colours = np.where(on_front, FRONT_COLOUR, "#606060")
    colours[best] = BEST_COLOUR
    for number, table in enumerate(tables):
        part = slice(number * LINES, (number + 1) * LINES)
        draw_table(table, [rows[0], *rows[1:][part]], colours[part])
    note = "" if columns else "\nk, accuracies and zero rows of the points: front.csv"
    figure.suptitle(f"{title}{note}", fontsize=11)
    handles = [*shades, *axis.get_legend_handles_labels()[0], *legend]
    figure.legend(handles=handles, loc="outside lower center", ncols=6 if columns else 3, fontsize=9)
    figure.draw_without_rendering()  # the numbers are placed on the final layout
    ahead = non_dominated(-drawn if larger_is_better else drawn)
    number_points(axis, drawn, np.where(ahead == larger_is_better, 45, 225), on_front)  # beside the staircase
    return save(figure, path)


def draw_front_3d(
    path: Path, points: Sequence[Results], front: ArrayLike, task_names: Sequence[str], title: str
) -> list[Path]:
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
    return save(figure, path)


def draw_curves(
    path: Path,
    accuracies: Sequence[NDArray[np.float64]],
    labels: Sequence[str],
    task_names: Sequence[str],
    title: str,
    what: str = "accuracy",
) -> list[Path]:
    """Validation accuracy (or score) per task over the epochs, a small axis per run, all with the same scales.

    Args:
        path: of the picture.
        accuracies: validation accuracies (epochs, tasks), percent, one array per run.
        labels: one per run, such as its k.
        task_names: one per task.
        title: of the picture.
        what: is drawn, accuracy or score.
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
    figure.supylabel(f"validation {what} (%)", fontsize=10)
    figure.suptitle(title, fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(task_names), fontsize=9)
    return save(figure, path)


def draw_fronts(
    path: Path,
    fronts: Mapping[str, NDArray[np.float64]],
    axis_names: Sequence[str],
    hypervolumes: Mapping[str, float],
    title: str,
    *,
    larger_is_better: bool = False,
    reference: Sequence[float] | NDArray[np.float64] | None = None,
) -> list[Path]:
    """Two objectives of several studies, each with its staircase; dominated points pale, hypervolumes in the legend.

    Where poor points take most of an axis, the region of the others is drawn again beside it.

    Args:
        path: of the picture.
        fronts: points (n, 2 or more) by the study's name, finite, the first two columns are drawn.
        axis_names: of the two columns.
        hypervolumes: by the study's name, all for one reference point; a study may lack one.
        title: of the picture.
        larger_is_better: for both columns.
        reference: point that the hypervolumes are measured from, in the units of the fronts.
    """
    together = np.vstack([values[:, :2] for values in fronts.values()])
    zoom = _without_outliers(together, larger_is_better)
    figure = Figure(figsize=(8 if zoom is None else 13, 6), layout="constrained")
    for place, axis in enumerate(figure.subplots(1, 1 if zoom is None else 2, squeeze=False)[0]):
        for number, (name, values) in enumerate(fronts.items()):
            drawn, colour, marker = values[:, :2], task_colour(number), MARKERS[number % len(MARKERS)]
            on_front = non_dominated(-drawn if larger_is_better else drawn)
            axis.scatter(*drawn[~on_front].T, s=20, marker=marker, color=to_rgba(colour, 0.25), linewidths=0)
            label = f"{name}: hypervolume {hypervolumes[name]:.4g}" if name in hypervolumes else name
            style = {"color": colour, "marker": marker, "ms": 6, "lw": 1.2, "label": "" if place else label}
            _draw_staircase(axis, drawn, larger_is_better, **style)
        axis.set_xlabel(axis_names[0])
        axis.set_ylabel(axis_names[1])
        axis.grid(alpha=0.3)
        if zoom is not None and place:
            axis.set(xlim=zoom[:, 0], ylim=zoom[:, 1], title="the dashed region")
            continue
        _scale(axis, together, larger_is_better)
        if zoom is not None:
            corner, sides = zoom[0], zoom[1] - zoom[0]
            axis.add_patch(Rectangle((corner[0], corner[1]), *sides, fill=False, ls="--", ec="#666666"))
    figure.suptitle(title, fontsize=11)
    note = None if reference is None else f"hypervolumes from ({', '.join(f'{value:.4g}' for value in reference)})"
    figure.legend(loc="outside lower center", ncols=2 if max(map(len, fronts)) < 24 else 1, fontsize=9, title=note)
    return save(figure, path)


def _scale(axis: Axes, values: NDArray[np.float64], larger_is_better: bool) -> None:
    """A logarithmic axis for losses (n, 2) of more than a power of ten."""
    for name, wide in zip("xy", _wide(values, larger_is_better), strict=True):
        if wide:
            axis.set(**{f"{name}scale": "log"})


def _wide(values: NDArray[np.float64], larger_is_better: bool) -> NDArray[np.bool_]:
    low, high = values.min(axis=0), values.max(axis=0)
    wide: NDArray[np.bool_] = np.full(2, not larger_is_better) & (low > 0) & (high > 10 * low)
    return wide


def _without_outliers(values: NDArray[np.float64], larger_is_better: bool) -> NDArray[np.float64] | None:
    """Corners of the region of all points (n, 2) but poor ones, where these take more than half of an axis.

    Poor is what is worse than the third quartile by 1.5 times the distance of the quartiles (Tukey's fences).
    """
    wide, sign = _wide(values, larger_is_better), -1 if larger_is_better else 1
    costs = sign * np.where(wide, np.log(np.where(wide, values, 1.0)), values)
    first, third = np.quantile(costs, (0.25, 0.75), axis=0)
    kept = costs[(costs <= third + 1.5 * (third - first)).all(axis=1)]
    if len(kept) < 2 or not (np.ptp(kept, axis=0) < 0.5 * np.ptp(costs, axis=0)).any():
        return None
    border = 0.06 * np.ptp(kept, axis=0) + 0.002 * np.ptp(costs, axis=0) + 1e-12
    corners = sign * np.array([kept.min(axis=0) - border, kept.max(axis=0) + border])
    corners = np.sort(np.where(wide, np.exp(np.where(wide, corners, 0.0)), corners), axis=0)
    return np.asarray(corners, dtype=np.float64)


def _draw_staircase(axis: Axes, values: NDArray[np.float64], larger_is_better: bool, **style: Any) -> None:
    """The border of what the non-dominated ones of ``values`` (n, 2) dominate, between the first and the last."""
    ahead = values[non_dominated(-values if larger_is_better else values)]
    x, y = ahead[np.argsort(ahead[:, 0])].T
    axis.plot(x, y, drawstyle="steps-pre" if larger_is_better else "steps-post", **style)
