"""Pictures of one run, from its files alone: training curves, rows, samples, the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from src.models.registry import read_model_file
from src.utils.errors import UserError
from src.utils.report.diagram import draw_diagram, kind_of
from src.utils.report.style import SPARSITY_COLOUR, draw_zero_rows, keep_copies, save, task_colour, text_colour
from src.utils.runs.config import HISTORY, MODEL, RESULTS, SAMPLES, Run
from src.utils.runs.history import read_history
from src.utils.runs.results import Results, read_results
from src.utils.runs.samples import Samples, read_samples
from src.utils.sparsity.metrics import RowCounts
from src.utils.training.records import EpochRecord

_RESIDUALS = "residuals of optimality"


@dataclass(frozen=True)
class Detail:
    """How a number of a method is drawn.

    Attributes:
        panel: name of its axis: that of another panel, or of one of its own.
        label: in the legend.
        style: of the curve; never a task's colour.
    """

    panel: str
    label: str
    style: Mapping[str, Any]


DETAILS: Mapping[str, Detail] = {
    "t": Detail("weighted objectives c", "t", {"color": "black", "ls": ":"}),
    "multiplier_sum": Detail(_RESIDUALS, "$|1 - \\sum_i \\lambda_i|$", {"color": "black", "ls": "-", "marker": "o"}),
    "complementarity": Detail(
        _RESIDUALS, "$\\max_i |\\lambda_i g_i|$", {"color": "#8c510a", "ls": "--", "marker": "s"}
    ),
    "feasibility": Detail(_RESIDUALS, "$\\max(0, \\max_i g_i)$", {"color": "#35338a", "ls": "-.", "marker": "^"}),
    "chebyshev_gap": Detail(_RESIDUALS, "Chebyshev gap", {"color": "#9a9a9a", "ls": ":", "marker": "D"}),
    "direction_norm": Detail(
        "norm of the common direction", "$\\|\\sum_i w_i g_i\\|$", {"color": "black", "marker": "."}
    ),
    "distillation": Detail("distillation loss", "sum over the tasks", {"color": "black", "marker": "."}),
}
"""The numbers of the methods that are drawn; others, such as mu, are in the history alone."""


def draw_run(folder: Path) -> list[Path]:
    """Draw the pictures of the finished run into its folder, with the copies beside those of other runs; returns all.

    Raises:
        UserError: if there is none, or its files are damaged.
    """
    run, results = Run.read(folder), read_results(folder)
    history = read_history(folder / HISTORY)
    if len(history[0].validation_losses) != len(results.task_names):
        raise UserError(f"{folder / HISTORY} is of other tasks than {folder / RESULTS}: one of them is damaged")
    samples = read_samples(folder / SAMPLES) if (folder / SAMPLES).exists() else None
    if run.picture_copies is None:
        return draw_course(results, history, run.picture, samples)
    state = read_model_file(folder / MODEL).state_dict
    pictures = draw_course(results, history, run.picture, samples, state)
    return [*pictures, *keep_copies(pictures, run.picture_copies)]


def draw_course(
    results: Results,
    history: Sequence[EpochRecord],
    picture: Callable[[str], Path],
    samples: Samples | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> list[Path]:
    """Training curves, of a training for sparsity rows per layer, and what else is given.

    Args:
        results, history: of a run.
        picture: the file of a picture, by its kind.
        samples: of the data.
        state: state dict of the network, for its diagram, if it is of a kind that has one.
    """
    title, names = _title(results), results.task_names
    pictures = draw_history(picture("training"), history, names, title, results.score_name)
    if results.k[0] > 0:
        pictures += draw_rows(picture("rows"), results.layers, f"{title}: rows of the sparse layers")
    if samples:
        pictures += draw_samples(picture("samples"), samples, f"{results.dataset}: {', '.join(names)}")
    if state and kind_of(state, len(names)):
        pictures += draw_diagram(picture("diagram"), state, names, results.layers, title)
    return pictures


def _title(results: Results) -> str:
    """Of the pictures of a run: the network, its data and the preference vector."""
    return f"{results.architecture} on {results.dataset}, k = ({', '.join(f'{value:g}' for value in results.k)})"


def draw_samples(path: Path, samples: Samples, title: str) -> list[Path]:
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
    return save(figure, path)


def draw_history(
    path: Path, history: Sequence[EpochRecord], task_names: Sequence[str], title: str, what: str = "accuracy"
) -> list[Path]:
    """Accuracy (or score), objectives, their weights, and what else the method tells, over the epochs.

    A zero has no place on a logarithmic axis: it is a gap, and the axis says so.
    """
    accuracy, loss, objective, term, weight = (
        *(f"validation {what} (%)", "validation losses", "objectives f (training)"),
        *("weighted objectives c", "weights of the objectives $\\lambda$"),
    )
    courses: dict[str, list[_Course]] = {name: [] for name in (accuracy, loss, objective, term, weight)}
    for task, name in enumerate(task_names):
        style = {"color": task_colour(task), "label": name, "marker": "."}
        courses[accuracy].append(([record.validation_accuracy[task] for record in history], style))
        courses[loss].append(([record.validation_losses[task] for record in history], style))
    for number, name in enumerate(["sparsity", *task_names]):
        style = {"color": task_colour(number - 1) if number else SPARSITY_COLOUR, "label": name}
        courses[objective].append(([record.objectives[number] for record in history], {**style, "marker": "."}))
        courses[term].append(([record.weighted_objectives[number] for record in history], {**style, "marker": "."}))
        weights = [record.lam[number] for record in history]
        if number or any(weights):  # sparsity may be out of play
            courses[weight].append((weights, {**style, "drawstyle": "steps-post", "marker": "."}))
    for name, detail in DETAILS.items():
        if any(record.details.get(name, 0) > 0 for record in history):
            look = {**detail.style, "markersize": 4, "label": detail.label}
            courses.setdefault(detail.panel, []).append(([record.details.get(name, 0) for record in history], look))
    figure = Figure(figsize=(5 * -(-len(courses) // 2), 7.2), layout="constrained")
    axes = figure.subplots(2, -(-len(courses) // 2)).flatten()
    shared: dict[str, Artist] = {}
    for place, (axis, (name, drawn)) in enumerate(zip(axes, courses.items(), strict=False)):
        lines = _draw_courses(axis, history, name, drawn, log=name not in (accuracy, weight))
        if place < 5:
            shared |= lines
        else:
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=9)
    for axis in axes[len(courses) :]:
        axis.remove()
    axes[4].set_ylim(-0.03, 1.03 * max(1.0, *(max(record.lam) for record in history)))  # rounding is no change
    rates = [record.sparsity_rate for record in history]
    if any(rates):
        draw_zero_rows(axes[0], [record.epoch for record in history], rates)
    figure.suptitle(title, fontsize=11)
    figure.legend(shared.values(), shared.keys(), loc="outside lower center", ncols=len(shared), fontsize=9)
    return save(figure, path)


def draw_rows(path: Path, layers: Mapping[str, RowCounts], title: str) -> list[Path]:
    """Zero, shared and free rows of each sparse layer."""
    figure = Figure(figsize=(8, 1.6 + 0.5 * len(layers)), layout="constrained")
    axis = figure.subplots()
    left = np.zeros(len(layers))
    parts = {
        "zero": ([counts.rows - counts.nonzero for counts in layers.values()], "#d0d0d0"),
        "shared": ([counts.nonzero - counts.free for counts in layers.values()], "#e69f00"),
        "free": ([counts.free for counts in layers.values()], "#0072b2"),
    }
    sizes = np.array([counts.rows for counts in layers.values()])
    for name, (values, colour) in parts.items():
        shares = 100 * np.array(values) / sizes
        bars = axis.barh(list(layers), shares, left=left, color=colour, label=name)
        room = [
            str(value) if share > 1.3 * len(str(value)) + 1 else "" for value, share in zip(values, shares, strict=True)
        ]
        axis.bar_label(bars, room, label_type="center", fontsize=8, color=text_colour(colour))
        left += shares
    axis.set_yticks(range(len(layers)), [f"{name} ({counts.rows})" for name, counts in layers.items()])
    axis.invert_yaxis()
    axis.set_xlabel("rows (%), with their numbers where there is room")
    axis.set_xlim(0, 100)
    axis.set_title(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=3)
    return save(figure, path)


_Course = tuple[Sequence[float], Mapping[str, Any]]


def _draw_courses(
    axis: Axes, history: Sequence[EpochRecord], name: str, courses: Sequence[_Course], *, log: bool
) -> dict[str, Artist]:
    """Curves over the epochs, without those that have no point; returns them by their labels."""
    gaps = False
    lines: dict[str, Artist] = {}
    for values, style in courses:
        shown = np.array([value if value > 0 or not log else np.nan for value in values])
        if not np.isnan(shown).all():
            gaps |= bool(np.isnan(shown).any())
            (lines[style["label"]],) = axis.plot([record.epoch for record in history], shown, **style)
    if log:
        axis.set_yscale("log")
    for before, after in pairwise(history):
        if before.phase != after.phase:
            axis.axvline(before.epoch + 0.5, color="#999999", lw=1, ls="--")
    axis.set_ylabel(f"{name} (0: no point)" if gaps else name)
    axis.set_xlabel("epoch")
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return lines
