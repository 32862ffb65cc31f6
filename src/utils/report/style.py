"""What all pictures share: colours, an axis for zero rows, and files that are written whole, off screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.utils.files import write_picture

SPARSITY_COLOUR = "#555555"
TASK_COLOURS = ("#1f77b4", "#d95f02", "#2a9d5c", "#8e44ad", "#c0392b", "#0097a7")
FRONT_COLOUR = "#1f77b4"
PALE_COLOUR = "#a8a8a8"
BEST_COLOUR = "#d95f02"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # 7, prime to the 6 colours: 42 pairs before one comes again
DPI = 130


def task_colour(task: int) -> str:
    """Colour of a task, from 0."""
    return TASK_COLOURS[task % len(TASK_COLOURS)]


def draw_zero_rows(axis: Axes, places: Sequence[int], rates: Sequence[float]) -> None:
    """The share of zero rows, percent, against an axis of its own on the right."""
    right = axis.twinx()
    right.plot(places, rates, ":", color=SPARSITY_COLOUR)
    right.set_ylabel("zero rows (%), dotted", color=SPARSITY_COLOUR)
    right.set_ylim(0, 100)


def save(figure: Figure, path: Path) -> None:
    """Write a picture."""
    write_picture(path, lambda file: figure.savefig(file, format="png", dpi=DPI))
