"""Search over preference vectors, or over parameters before a training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from src.utils.command_line.flags import (
    Plan,
    Request,
    add_worker_flags,
    number,
    read_flags,
    whole,
)
from src.utils.command_line.train import add_resume_flags, go_on_if_asked
from src.utils.errors import FAILED
from src.utils.study.preference_vectors import preference_family
from src.utils.training.defaults import SEARCH_BEFORE, WITH_TEACHERS
from src.utils.training.parameters import TrainingParameters

if TYPE_CHECKING:
    from Data_loaders.datasets import MultiTaskDataset
    from src.utils.study.sweep import Outcome
    from src.utils.study.workers import Workers

DEMO_CANDIDATES = 3


def search_preferences(plan: Plan, arguments: Sequence[str]) -> None:
    """Train a network for each of a family of preference vectors and keep the best."""

    def add(group: argparse._ArgumentGroup) -> None:
        group.add_argument("--k0", type=number, default=1e-3, help="preference of the sparsity objective [0.001]")
        group.add_argument(
            "--resolution", type=whole, metavar="N", help="train a lattice of this resolution over the tasks instead"
        )
        add_worker_flags(group)

    def first_vector(plan: Plan, flags: Mapping[str, Any]) -> Plan:
        return replace(plan, k=_family(plan, flags["k0"], flags["resolution"])[0])

    request = read_flags(
        plan,
        arguments,
        search_preferences.__doc__,
        command="search",
        add=add,
        without=("w", "num_tasks"),
        adapt=first_vector,
    )
    vectors = _family(request.plan, request.options.k0, request.options.resolution)
    from src.utils.report.console import ConsoleSweepObserver, show_search
    from src.utils.report.sweeps import draw_search
    from src.utils.study.search import keep_best, search

    candidates = [{"w": k} for k in vectors]
    observer, workers = ConsoleSweepObserver(quiet=request.quiet), workers_of(request)
    outcome = search(request.config, request.parameters, candidates, load_data(request), workers, observer)
    model = keep_best(request.config, request.parameters, outcome)
    show_search(outcome, [*draw_search(outcome), model])
    leave_if_failed(outcome)


def search_and_train(
    plan: Plan, candidates: Sequence[Mapping[str, Any]], arguments: Sequence[str], description: str | None
) -> None:
    """Search over candidates with short trainings, then train with the best; teachers, where needed, come first."""
    searched = {name for candidate in candidates for name in candidate}
    short = SEARCH_BEFORE[plan.architecture if plan.architecture in SEARCH_BEFORE else plan.method]
    teaching = plan.method in WITH_TEACHERS

    def add(group: argparse._ArgumentGroup) -> None:
        add_resume_flags(group)
        add_worker_flags(group)
        iterations, share = short["max_iter"], short["train_share"]
        group.add_argument(
            "--search_max_iter",
            type=whole,
            metavar="N",
            help=f"iterations of a search training [{iterations}; demo: 1]",
        )
        group.add_argument(
            "--search_train_share",
            type=number,
            metavar="NUMBER",
            help=f"share of the images in it [{share:g}; demo: 1]",
        )
        if teaching:
            group.add_argument("--teacher_max_iter", type=whole, metavar="N", help="iterations of the teachers")

    request = read_flags(plan, arguments, description, add=add, without=("method", *searched))
    if go_on_if_asked(request):
        return
    demo, options = request.plan.demo, request.options
    short, candidates = (
        ({"max_iter": 1, "train_share": 1.0}, candidates[:DEMO_CANDIDATES]) if demo else (short, candidates)
    )
    trial = request.parameters.changed(
        max_iter=options.search_max_iter or short["max_iter"],
        train_share=options.search_train_share or short["train_share"],
    )
    _train_with_best(request, trial, candidates, teaching)


def _train_with_best(
    request: Request, trial: TrainingParameters, candidates: Sequence[Mapping[str, Any]], teaching: bool
) -> None:
    from src.utils.report.console import ConsoleObserver, ConsoleSweepObserver, show_failures, show_run, show_search
    from src.utils.report.run import draw_run
    from src.utils.report.sweeps import draw_search
    from src.utils.runs.problem import check_run
    from src.utils.runs.run import start_or_go_on
    from src.utils.study.search import search
    from src.utils.study.teachers import train_teachers
    from src.utils.study.trials import trials_of

    config, workers, observer = request.config, workers_of(request), ConsoleSweepObserver(quiet=request.quiet)
    to_be_trained = ("teacher",) * trial.tasks if teaching and not config.teachers else config.teachers
    for wanted in trials_of(replace(config, teachers=to_be_trained), trial, candidates):
        check_run(wanted.config, wanted.parameters)  # before teachers are trained
    data = load_data(request)
    if teaching and not config.teachers:
        config = replace(config, teachers=train_teachers(config, _teacher(request), data, workers, observer))
    outcome = search(config, trial, candidates, data, workers, observer)
    if request.quiet:
        show_failures(outcome)
    else:
        show_search(outcome, draw_search(outcome))
    best = outcome.points[outcome.best].candidate
    finished = start_or_go_on(config, request.parameters.changed(**best), ConsoleObserver(quiet=request.quiet))
    show_run(finished, draw_run(finished.folder))
    leave_if_failed(outcome)


def _teacher(request: Request) -> TrainingParameters:
    """Defaults of a single task without sparsity."""
    single = replace(request.plan, architecture="STL", k=(0.0, 1.0), defaults={})
    iterations = request.options.teacher_max_iter
    return TrainingParameters(**single.parameters() | ({} if iterations is None else {"max_iter": iterations}))


def workers_of(request: Request) -> Workers:
    """Who trains, as the flags say; each process goes on with a run by the script that was started."""
    from src.utils.study.workers import Workers

    return Workers(request.options.jobs, request.options.dask, request.plan.script)


def load_data(request: Request) -> MultiTaskDataset:
    """The data; they are read, and if need be made, before any worker wants them."""
    from src.utils.report.console import ConsoleObserver
    from src.utils.runs.problem import load_dataset

    return load_dataset(request.config, ConsoleObserver(quiet=False))


def leave_if_failed(outcome: Outcome) -> None:
    """Leave with the exit code of failed work where trainings failed."""
    if outcome.failures:
        sys.exit(FAILED)


def _family(plan: Plan, k0: float, resolution: int | None) -> list[tuple[float, ...]]:
    return preference_family(k0, plan.tasks, 1 if plan.tasks == 1 and resolution is None else resolution)
