"""The picture of accuracy against size, from the lines in ``results/`` alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.cases import CASES, Case
from benchmarks.tables import Rows, read_cases
from src.utils.report.style import save

PICTURES = "Images/readme"
DATA = {"MultiMnist": "MultiMNIST", "Cifar10Mnist": "Cifar10Mnist"}
KINDS = {  # colour and marker
    "dense": ("#444444", "s"),
    "rows of neurons": ("#1f77b4", "o"),
    "rows of channels": ("#d95f02", "^"),
}


def draw(folder: Path, results: Path) -> list[Path]:
    """Draw mean test accuracy against kilobytes and multiply-adds, of dense networks and of compressed sparse ones."""
    found = read_cases(results)
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
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=3)
    path = folder / "from_sparse_to_small.png"
    save(figure, path)
    return [path]


def size_of(lines: Rows) -> Mapping[str, float]:
    """Means over the seeds: of compressed networks, of dense ones as they were trained."""
    which = "compressed" if any(line["sparsity_rate"] for line in lines) else "dense"
    return {
        what: float(np.mean([line["compression"][which][what] for line in lines]))
        for what in ("bytes", "multiply_adds")
    }


def _is_drawn(name: str) -> bool:
    """Single-task networks are no networks for all tasks, a method and a schedule are no size."""
    case = CASES[name]
    return case.architecture != "STL" and case.method == "Chebyshev" and case.values.get("schedule") != "fast"


def _kind(case: Case, lines: Rows) -> str:
    if not any(line["sparsity_rate"] for line in lines):
        return "dense"
    return "rows of channels" if case.values.get("row_groups") == "channel" else "rows of neurons"


def _point(axis: Axes, name: str, lines: Rows, what: str, unit: float) -> None:
    accuracies = [float(np.mean(line["test_accuracy"])) for line in lines]
    mean, spread = float(np.mean(accuracies)), float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
    zeros = float(np.mean([line["sparsity_rate"] for line in lines]))
    kind = _kind(CASES[name], lines)
    colour, marker = KINDS[kind]
    x = size_of(lines)[what] / unit
    axis.errorbar(x, mean, yerr=spread, color=colour, marker=marker, ls="", capsize=3, label=kind)
    text = CASES[name].architecture + (f", {zeros:.0f} % zero rows" if zeros else "")
    axis.annotate(text, (x, mean + spread), (0, 6), textcoords="offset points", fontsize=8, ha="center")
