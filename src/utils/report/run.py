"""Pictures of one run, from its files alone: training curves, rows, samples, the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.utils.files import read_torch
from src.utils.report.diagram import draw_diagram
from src.utils.report.style import SPARSITY_COLOUR, draw_zero_rows, save, task_colour
from src.utils.runs.config import HISTORY, MODEL, SAMPLES, Run
from src.utils.runs.results import Samples, read_history, read_results, read_samples
from src.utils.sparsity.metrics import RowCounts
from src.utils.training.engine import EpochRecord

DETAILS = {
    "multiplier_sum": "$|1 - \\sum_i \\lambda_i|$",
    "complementarity": "$\\max_i |\\lambda_i g_i|$",
    "feasibility": "$\\max(0, \\max_i g_i)$",
    "chebyshev_gap": "Chebyshev gap",
    "direction_norm": "$\\|\\sum_i w_i g_i\\|$",
    "distillation": "distillation loss",
}
"""Numbers of the methods that are drawn: residuals of the KKT conditions, distance to stationarity."""


def draw_run(folder: Path) -> list[Path]:
    """Draw the pictures of the finished run in a folder; returns their files.

    Raises:
        UserError: if there is none, or its files are damaged.
    """
    run, results = Run.read(folder), read_results(folder)
    title = f"{results.architecture} on {results.dataset}, k = ({', '.join(f'{value:g}' for value in results.k)})"
    pictures = [run.picture("training")]
    draw_history(pictures[0], read_history(folder / HISTORY), results.task_names, title)
    if results.k[0] > 0:
        pictures.append(run.picture("rows"))
        draw_rows(pictures[-1], results.layers, f"{title}: rows of the sparse layers")
    samples = folder / SAMPLES
    if samples.exists():
        pictures.append(run.pictures.with_name("samples.png"))
        draw_samples(pictures[-1], read_samples(samples), f"{results.dataset}: {', '.join(results.task_names)}")
    if run.model_copy:
        model = read_torch(folder / MODEL)
        if "alphas" in model["state_dict"]:
            pictures.append(run.pictures.with_name("MDMTN_diagram.png"))
            draw_diagram(pictures[-1], model["architecture"]["num_outs"], results.task_names)
    return pictures


def draw_samples(path: Path, samples: Samples, title: str) -> None:
    """Images with their labels."""
    columns, count = 5, len(samples.images)
    figure = Figure(figsize=(columns * 1.7, 2.1 * -(-count // columns)), layout="constrained")
    axes = figure.subplots(-(-count // columns), columns).flatten()
    for axis, image, names in zip(axes, samples.images, samples.labels, strict=False):
        axis.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
        axis.set_title(", ".join(names), fontsize=10)
    for axis in axes:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=11)
    save(figure, path)


def draw_history(path: Path, history: Sequence[EpochRecord], task_names: Sequence[str], title: str) -> None:
    """Accuracy, objectives, their weights, and how well the scalarized problem is solved, over the epochs."""
    figure = Figure(figsize=(15, 7), layout="constrained")
    (accuracy, losses, objectives), (weighted, multipliers, details) = figure.subplots(2, 3)
    epochs = [record.epoch for record in history]
    for task, name in enumerate(task_names):
        style = {"color": task_colour(task), "label": name}
        accuracy.plot(epochs, [record.validation_accuracy[task] for record in history], ".-", **style)
        losses.plot(epochs, [record.validation_losses[task] for record in history], ".-", **style)
    for number, name in enumerate(["sparsity", *task_names]):
        colour = task_colour(number - 1) if number else SPARSITY_COLOUR
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
        draw_zero_rows(accuracy, epochs, rates)
    figure.suptitle(title, fontsize=11)
    save(figure, path)


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
    save(figure, path)


def _mark_phases(axis: Axes, history: Sequence[EpochRecord]) -> None:
    for before, after in pairwise(history):
        if before.phase != after.phase:
            axis.axvline(before.epoch + 0.5, color="#999999", lw=1, ls="--")
