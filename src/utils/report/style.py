"""What all pictures share: colours, an axis for zero rows, and files that are written whole, off screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from src.utils.files import copy_file, write_picture

SPARSITY_COLOUR = "#555555"
TASK_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Told apart by colour-blind readers, too: Okabe and Ito, Color universal design (2008)."""
FRONT_COLOUR = "#0072b2"
PALE_COLOUR = "#a8a8a8"
BEST_COLOUR = "#d55e00"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # 7, prime to the 6 colours: 42 pairs before one comes again
DPI = 130
_FORMATS: ContextVar[tuple[str, ...]] = ContextVar("formats", default=("png",))


@contextmanager
def pictures_as(figure_format: str) -> Iterator[None]:
    """Within it every picture is written in this format beside PNG."""
    before = _FORMATS.set(tuple(dict.fromkeys(("png", figure_format))))
    try:
        yield
    finally:
        _FORMATS.reset(before)


def task_colour(task: int) -> str:
    """Colour of a task, from 0."""
    return TASK_COLOURS[task % len(TASK_COLOURS)]


def contrast(first: str, second: str) -> float:
    """Contrast of two colours, 1 to 21; text needs 4.5 (Web Content Accessibility Guidelines 2.2)."""
    colours = np.array([to_rgb(first), to_rgb(second)])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return float((light + 0.05) / (dark + 0.05))


def text_colour(background: str) -> str:
    """Black or white, whichever is easier to read."""
    return max("black", "white", key=lambda colour: contrast(colour, background))


def draw_zero_rows(axis: Axes, places: Sequence[int], rates: Sequence[float]) -> None:
    """The share of zero rows, percent, against an axis of its own on the right."""
    right = axis.twinx()
    right.plot(places, rates, ":", color=SPARSITY_COLOUR)
    right.set_ylabel("zero rows (%), dotted", color=SPARSITY_COLOUR)
    right.set_ylim(0, 100)


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a picture in the formats of :func:`pictures_as`; returns its files."""
    files = [path.with_suffix(f".{kind}") for kind in _FORMATS.get()]
    with rc_context({"pdf.fonttype": 42}):  # whole fonts are in the file, not drawings of letters
        for file in files:
            write_picture(file, partial(figure.savefig, format=file.suffix[1:], dpi=DPI))
    return files


def keep_copies(pictures: Iterable[Path], beginning: Path) -> list[Path]:
    """Copy pictures beside those of others, under names that begin with that of ``beginning``; returns the copies."""
    copies = {picture: beginning.with_name(f"{beginning.name}_{picture.name}") for picture in pictures}
    for picture, copy in copies.items():
        copy_file(picture, copy)
    return list(copies.values())
