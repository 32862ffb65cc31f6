"""Train the same from several seeds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from src.utils.command_line.flags import Plan, add_worker_flags, read_flags, whole
from src.utils.command_line.search import leave_if_failed, load_data, workers_of
from src.utils.command_line.train import add_resume_flags, go_on_if_asked

DEMO_REPETITIONS = 2


def repeat_training(plan: Plan, repetitions: int, arguments: Sequence[str], description: str | None) -> None:
    """Read the flags, train, show mean and standard deviation."""

    def add(group: argparse._ArgumentGroup) -> None:
        text = f"trainings, each from its own seed [{repetitions}; demo: {DEMO_REPETITIONS}]"
        group.add_argument("--repetitions", type=whole, metavar="N", help=text)
        add_resume_flags(group)
        add_worker_flags(group)

    request = read_flags(plan, arguments, description, add=add)
    if go_on_if_asked(request):
        return
    from src.utils.report.console import ConsoleSweepObserver, show_repetitions
    from src.utils.report.sweeps import draw_repetitions
    from src.utils.study.repeat import repeat

    usual = DEMO_REPETITIONS if request.plan.demo else repetitions
    count = usual if request.options.repetitions is None else request.options.repetitions
    observer, workers = ConsoleSweepObserver(quiet=request.quiet), workers_of(request)
    outcome = repeat(request.config, request.parameters, count, load_data(request), workers, observer)
    show_repetitions(outcome, draw_repetitions(outcome))
    leave_if_failed(outcome)
