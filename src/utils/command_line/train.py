"""Train one network and test it, or go on with an interrupted run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.utils.command_line.flags import Plan, Request, read_flags, refuse_beside_resume
from src.utils.errors import UserError


def train(plan: Plan, arguments: Sequence[str], description: str | None) -> None:
    """Read the flags, train, show and save.

    Raises:
        UserError: for bad flags, or what cannot be trained.
    """
    request = read_flags(plan, arguments, description, add=add_resume_flags)
    if not go_on_if_asked(request):
        if request.plan.k is None:
            raise UserError("the preference vector is missing; give it with --k")
        train_and_show(request)


def add_resume_flags(group: argparse._ArgumentGroup) -> None:
    """Flags to go on with a run; the second is for the processes of a sweep."""
    group.add_argument("--resume", type=Path, metavar="RUN", help="go on with the interrupted run in this folder")
    group.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)


def go_on_if_asked(request: Request) -> bool:
    """Go on with the run that ``--resume`` names; returns whether there was one."""
    folder = request.options.resume
    if folder is None:
        return False
    refuse_beside_resume(request.given)
    if request.options.worker:
        _work_on(folder)
    else:
        from src.utils.report.console import ConsoleObserver
        from src.utils.runs.run import resume

        observer = ConsoleObserver(quiet=request.quiet)
        _show(resume(folder).train(observer))
    return True


def train_and_show(request: Request, **changed: Any) -> None:
    """Train with the parameters that were asked for, some of them changed, and show the results."""
    from src.utils.report.console import ConsoleObserver
    from src.utils.runs.run import Run

    observer = ConsoleObserver(quiet=request.quiet)
    _show(Run.new(request.config, request.parameters.changed(**changed)).train(observer))


def _work_on(folder: Path) -> None:
    """In a process of a sweep: train to the end, unless the starter ends first."""
    import torch

    from src.utils.runs.problem import torch_device
    from src.utils.runs.run import Run
    from src.utils.study.worker import end_with_starter
    from src.utils.training.engine import Observer

    end_with_starter()
    run = Run.read(folder)
    if torch_device(run.config).type == "cpu":
        torch.set_num_threads(1)  # the same sums, and so the same figures, whoever else is at work
    run.train(Observer(), among_many=True)


def _show(finished: Any) -> None:
    from src.utils.report.console import show_run
    from src.utils.report.run import draw_run

    show_run(finished, draw_run(finished.folder))
