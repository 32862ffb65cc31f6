"""Draw anew whatever is in a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from src.utils.errors import UserError
from src.utils.report.run import draw_run
from src.utils.report.sizes import draw_sizes
from src.utils.report.study_report import report_study
from src.utils.report.sweeps import draw_repetitions, draw_search
from src.utils.study.pareto_study import study_of
from src.utils.study.record import RECORD
from src.utils.study.sweep import Outcome, read_outcome

_KINDS: Mapping[str, Callable[[Outcome], list[Path]]] = {
    "search": draw_search,
    "repetitions": draw_repetitions,
    "sparsity_study": draw_sizes,
    "study": lambda outcome: report_study(study_of(outcome)),
}


def draw(folder: Path) -> list[Path]:
    """Draw the pictures of a finished run, search, study or repetitions with their runs'; returns the files.

    Raises:
        UserError: if the folder holds none of them, or their files are damaged.
    """
    if not (folder / RECORD).exists():
        return draw_run(folder)
    outcome = read_outcome(folder)
    if not outcome.points:
        raise UserError(f"{folder} holds no finished training yet: there is nothing to draw")
    own = _KINDS[outcome.kind](outcome) if outcome.kind in _KINDS else []
    return [*own, *(path for point in outcome.points for path in draw_run(point.results.folder))]
