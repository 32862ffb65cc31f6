"""Draw the fronts of several studies, searches, repetitions or runs in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from src.utils.command_line.flags import add_config_flags
from src.utils.command_line.parser import Parser
from src.utils.runs.config import ROOT


def compare_folders(arguments: Sequence[str]) -> None:
    """Read the flags, compare, draw and show."""
    parser = Parser(prog="Train_and_Test.py compare", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="+", help="folder under logs/ of what is compared")
    parser.add_argument("--name", default="comparison", help="of the pictures and the table [comparison]")
    add_config_flags(parser, "output_dir")
    flags = parser.parse_args(arguments)
    from src.utils.report.console import show_comparison
    from src.utils.report.fronts import draw_comparison
    from src.utils.study.compare import compare

    root = Path(flags.output_dir).resolve() if "output_dir" in flags else ROOT
    comparison = compare(flags.folder, root, flags.name)
    show_comparison(comparison, draw_comparison(comparison))
