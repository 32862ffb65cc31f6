"""All pictures. They are drawn off screen and written whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from Data_loaders.datasets import MultiTaskDataset
from src.utils.files import write_picture
from src.utils.sparsity.metrics import RowCounts
from src.utils.training.engine import EpochRecord

SPARSITY_COLOUR = "#555555"
TASK_COLOURS = ("#1f77b4", "#d95f02", "#2a9d5c", "#8e44ad", "#c0392b", "#0097a7")
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
        if axis.lines:
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
