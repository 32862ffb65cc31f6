"""The picture of a sparsity study, from its files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.utils.report.style import MARKERS, keep_copies, save, task_colour
from src.utils.study.sparsity_study import Size, read_sizes
from src.utils.study.sweep import Outcome

_AGAINST = (
    ("sparsity_rate", 1.0, "zero rows (%)"),
    ("kilobytes", 1.0, "compressed network (kB)"),
    ("multiply_adds", 1e6, "million multiply-adds for an image"),
)


def draw_sizes(outcome: Outcome) -> list[Path]:
    """Mean test accuracy against zero rows, bytes and multiply-adds: a line per k_0, the caps beside its marks."""
    sizes, name = read_sizes(outcome.folder), outcome.results[0].score_name
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    panels = figure.subplots(1, len(_AGAINST), sharey=True)
    for panel, (what, unit, label) in zip(panels, _AGAINST, strict=True):
        _draw(panel, sizes, what, unit)
        panel.set_xlabel(label)
        panel.grid(alpha=0.3)
        panel.margins(0.08, 0.1)
    panels[0].set_ylabel(f"mean test {name} (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9)
    pictures = save(figure, outcome.picture("sizes"))
    return [*pictures, *keep_copies(pictures, outcome.picture_copies)]


def _draw(panel: Axes, sizes: list[Size], what: str, unit: float) -> None:
    for number, k0 in enumerate(sorted({size.k0 for size in sizes})):
        chosen = sorted((size for size in sizes if size.k0 == k0), key=lambda size: size.cap)
        x, y = [getattr(size, what) / unit for size in chosen], [size.test_accuracy for size in chosen]
        style: dict[str, Any] = {
            "color": task_colour(number - 1) if k0 else "black",
            "marker": MARKERS[number % len(MARKERS)],
        }
        panel.plot(x, y, lw=1, label=f"$k_0$ = {k0:g}" if k0 else "dense", **style)
        for size, place in zip(chosen, zip(x, y, strict=True), strict=True):
            if size.cap:
                panel.annotate(f"{size.cap:g}", place, (0, 6), textcoords="offset points", fontsize=7, ha="center")
