"""The pictures of the experiments, from what is in ``results/`` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from benchmarks import preference_ratios, sparsity_control
from benchmarks.cases import CAPPED, CASES, Case, is_usual
from benchmarks.experiments import read_rows
from benchmarks.scalarizations import NAMES, WITHOUT_PREFERENCE, WORST_ERROR, Training, read_trainings
from benchmarks.shown import draw_shown
from benchmarks.tables import REFERENCE, Rows, accuracies_of, mean_and_spread, read_cases, size_of
from src.utils.report.style import save

PICTURES = "Images/readme"
DATA = {"MultiMnist": "MultiMNIST", "Cifar10Mnist": "Cifar10Mnist"}
KINDS = {  # colour and marker
    "dense": ("#444444", "s"),
    "rows of neurons": ("#1f77b4", "o"),
    "rows of channels": ("#d95f02", "^"),
}


COLOURS = ("#1f77b4", "#d95f02", "#2a9d5c", "#888888", "#7b4fa3")
MARKERS = ("o", "^", "s", "x", "D")


def draw(folder: Path, results: Path) -> list[Path]:
    """Draw what there is."""
    found, trainings = read_cases(results), read_trainings(results)
    capped = [name for cases in CAPPED.values() for name in cases.values() if name in found]
    files = [_draw_sizes(folder, found)]
    files += [_draw_caps(folder, found)] if capped else []
    files += [_draw_scalarizations(folder, trainings)] if trainings else []
    files += draw_shown(folder, results)
    ratios = read_rows(results / preference_ratios.FILE, preference_ratios.Row)
    control = read_rows(results / sparsity_control.FILE, sparsity_control.Row)
    for architecture, rows in ratios.items():
        files.append(folder / f"preference_ratios_{architecture}.png")
        preference_ratios.draw_ratios(files[-1], rows, f"{architecture} on MultiMNIST")
    if control:
        files.append(folder / "sparsity_control.png")
        sparsity_control.draw_control(files[-1], control)
    return files


def _draw_sizes(folder: Path, found: Mapping[str, Rows]) -> Path:
    """Mean test accuracy against kilobytes and multiply-adds, of dense networks and of compressed sparse ones."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    for row, (dataset, title) in zip(axes, DATA.items(), strict=True):
        chosen = {name: lines for name, lines in found.items() if CASES[name].dataset == dataset and _is_drawn(name)}
        for axis, (what, unit, label) in zip(
            row, (("bytes", 1e3, "kB"), ("multiply_adds", 1e6, "million multiply-adds for an image")), strict=True
        ):
            for name, lines in chosen.items():
                _point(axis, name, lines, what, unit)
            axis.set_xlabel(label)
            axis.set_ylabel("mean test accuracy (%)")
            axis.set_title(title, fontsize=10)
            axis.grid(alpha=0.3)
            axis.margins(0.3, 0.15)
    marks = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=3, title="percent: zero rows")
    path = folder / "from_sparse_to_small.png"
    save(figure, path)
    return path


def _draw_caps(folder: Path, found: Mapping[str, Rows]) -> Path:
    """Mean test accuracy against zero rows, kilobytes and multiply-adds, from dense to nearly empty networks."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for (architecture, cases), colour, marker in zip(CAPPED.items(), COLOURS, MARKERS, strict=False):
        lines = [found[cases[cap]] for cap in sorted(cases) if cases[cap] in found]
        means, spreads = (
            zip(*(mean_and_spread(accuracies_of(part)) for part in lines), strict=True) if lines else ((), ())
        )
        zeros = [np.mean([line["sparsity_rate"] for line in part]) for part in lines]
        sizes = [size_of(part) for part in lines]
        style: dict[str, Any] = {"color": colour, "marker": marker, "capsize": 3, "label": architecture}
        for axis, x in zip(
            axes, (zeros, [s["bytes"] / 1e3 for s in sizes], [s["multiply_adds"] / 1e6 for s in sizes]), strict=True
        ):
            axis.errorbar(x, means, yerr=spreads, **style)
    (_, accuracy, zero_rows) = REFERENCE["MDMTN_MM_sparse"]
    axes[0].plot(zero_rows, accuracy, "*", color="#444444", ms=10, label="MDMTN, the authors' code")
    labels = ("zero rows (%)", "kB, compressed", "million multiply-adds for an image, compressed")
    for axis, label, logarithmic in zip(axes, labels, (False, True, True), strict=True):
        axis.set_xlabel(label)
        axis.grid(alpha=0.3, which="both")
        if logarithmic:
            axis.set_xscale("log")
    axes[0].set_ylabel("mean test accuracy (%)")
    axes[0].legend(fontsize=9, loc="lower left")
    path = folder / "accuracy_of_sizes.png"
    save(figure, path)
    return path


def _draw_scalarizations(folder: Path, trainings: Sequence[Training]) -> Path:
    """Test errors of all trainings, and their ratios of losses against those asked for; a colour per method."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    errors, ratios = figure.subplots(1, 2)
    for (method, name), colour, marker in zip(NAMES.items(), COLOURS, MARKERS, strict=True):
        chosen = [training for training in trainings if training.method == method]
        style: dict[str, Any] = {"color": colour, "marker": marker, "ls": "", "ms": 4, "alpha": 0.7}
        errors.plot(*zip(*(training.test_errors for training in chosen), strict=True), label=name, **style)
        if method != WITHOUT_PREFERENCE:
            asked = [training.k[1] / training.k[0] for training in chosen]
            ratios.plot(asked, [training.losses[0] / training.losses[1] for training in chosen], **style)
    ends = [training.k[1] / training.k[0] for training in trainings]
    ratios.plot([min(ends), max(ends)], [min(ends), max(ends)], color="#bbbbbb", lw=1, zorder=0)
    errors.set_xlim(2.5, WORST_ERROR)
    errors.set_ylim(3.5, WORST_ERROR)
    errors.set_xlabel("test error of the first task (%)")
    errors.set_ylabel("of the second (%)")
    for axis in (errors, ratios):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.grid(alpha=0.3, which="both")
    for side in (errors.xaxis, errors.yaxis):
        side.set_major_formatter(ScalarFormatter())
        side.set_minor_formatter(ScalarFormatter())
    ratios.set_xlabel("$k_2 / k_1$")
    ratios.set_ylabel("$f_1 / f_2$ of the training losses; line: as $k$ asks")
    figure.legend(*errors.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    path = folder / "scalarizations.png"
    save(figure, path)
    return path


def _is_drawn(name: str) -> bool:
    """Single-task networks are no networks for all tasks; a method, a schedule and another k are no size."""
    case = CASES[name]
    return is_usual(name) and case.architecture != "STL" and case.method == "Chebyshev"


def _kind(case: Case, lines: Rows) -> str:
    if not any(line["sparsity_rate"] for line in lines):
        return "dense"
    return "rows of channels" if case.values.get("row_groups") == "channel" else "rows of neurons"


def _point(axis: Axes, name: str, lines: Rows, what: str, unit: float) -> None:
    mean, spread = mean_and_spread(accuracies_of(lines))
    zeros = float(np.mean([line["sparsity_rate"] for line in lines]))
    kind = _kind(CASES[name], lines)
    colour, marker = KINDS[kind]
    x = size_of(lines)[what] / unit
    axis.errorbar(x, mean, yerr=spread, color=colour, marker=marker, ls="", capsize=3, label=kind)
    text = CASES[name].architecture + (f", {zeros:.0f} %" if zeros else "")
    above = kind == "rows of neurons"  # those of channels are often near them
    place: dict[str, Any] = {"va": "bottom" if above else "top", "ha": "center", "fontsize": 8}
    y, shift = (mean + spread, (0, 4)) if above else (mean - spread, (0, -5))
    axis.annotate(text, (x, y), shift, textcoords="offset points", **place)
