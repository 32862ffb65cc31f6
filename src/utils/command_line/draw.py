"""Draw anew what a run, search, study or repetitions draw at their end, from their files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from src.utils.command_line.parser import Parser


def draw_folder(arguments: Sequence[str]) -> None:
    """Read the flags, draw and name the files."""
    parser = Parser(prog="Train_and_Test.py draw", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder under logs/")
    flags = parser.parse_args(arguments)
    from src.utils.report.console import show_files
    from src.utils.report.draw import draw

    show_files(draw(flags.folder))
