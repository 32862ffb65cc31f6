"""What tells the points of a front apart: markers, a table, and numbers beside the points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from src.utils.report.style import MARKERS
from src.utils.runs.results import Results

LINES = 24
"""Of a column of the table."""


def markers_of(k0: Sequence[float]) -> tuple[list[Path], list[Line2D]]:
    """A marker for each point, one for each k_0, and their legend where there are several."""
    choices = sorted(set(k0))
    styles = [MarkerStyle(MARKERS[number % len(MARKERS)]) for number in range(len(choices))]
    paths = [style.get_path().transformed(style.get_transform()) for style in styles]
    shown: dict[str, Any] = {"ls": "", "color": "#606060", "ms": 6}
    legend = [
        Line2D([], [], marker=style, label=f"$k_0$ = {value:g}", **shown)
        for style, value in zip(styles, choices, strict=True)
    ]
    return [paths[choices.index(value)] for value in k0], legend if len(choices) > 1 else []


def table_rows(points: Sequence[Results]) -> list[str]:
    """A head and a row per point, all of the same length."""
    shown = [", ".join(f"{value:.4g}" for value in point.k) for point in points]
    width = max(len(text) for text in shown)
    rows = [f"    {'k':<{width}} {'valid.':>6} {'test':>6} {'zero':>5}"]
    for number, (point, text) in enumerate(zip(points, shown, strict=True), start=1):
        means = f"{point.mean_accuracy:6.2f} {point.mean_test_accuracy:6.2f}"
        rows.append(f"{number:>3} {text:<{width}} {means} {point.sparsity_rate:5.1f}")
    return rows


def draw_table(axis: Axes, rows: Sequence[str], colours: NDArray[np.str_]) -> None:
    axis.set_axis_off()
    axis.set_xlim(0, 1)
    axis.set_ylim(LINES + 0.5, -1)  # few points: rows from the top, not stretched
    style: dict[str, Any] = {"family": "monospace", "fontsize": 8, "va": "center"}
    axis.text(0, -0.3, rows[0], fontweight="bold", **style)
    for place, (row, colour) in enumerate(zip(rows[1:], colours, strict=True), start=1):
        axis.text(0, place, row, color=colour, **style)
    axis.set_title("mean accuracies, zero rows (%)", fontsize=9, loc="right")


def number_points(axis: Axes, values: NDArray[np.float64], angles: NDArray[np.int_], first: NDArray[np.bool_]) -> None:
    """Numbers from 1 beside the points (n, 2), each at the nearest free place, from its angle (n,), degrees, on.

    Those in the mask ``first`` (n,) choose first; where no place is free, a point has no number.
    """
    scale = 72 / axis.figure.dpi
    places = axis.transData.transform(values) * scale
    low, high = np.array(axis.bbox.min) * scale, np.array(axis.bbox.max) * scale
    halo = withStroke(linewidth=2.5, foreground="white")
    turns = np.array([0, 30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180])
    taken = [(place, np.array([4.0, 4.0])) for place in places]  # centre and half the size, in points
    for number in np.argsort(~first, kind="stable"):
        place, text = places[number], str(number + 1)
        half = np.array([2.7 * len(text), 4.6])
        for radius, angle in product((11, 17, 24, 32), np.radians(angles[number] + turns)):
            centre = place + radius * np.array([np.cos(angle), np.sin(angle)])
            inside = (centre - half > low).all() and (centre + half < high).all()
            if inside and all((abs(centre - other) > half + size).any() for other, size in taken):
                break
        else:
            continue
        taken.append((centre, half))
        line = {"arrowstyle": "-", "lw": 0.5, "color": "#777777", "shrinkA": 0, "shrinkB": 2} if radius > 11 else None
        axis.annotate(
            text, values[number], centre - place, textcoords="offset points", arrowprops=line,
            ha="center", va="center", fontsize=8, zorder=4, path_effects=[halo],
        )  # fmt: skip
