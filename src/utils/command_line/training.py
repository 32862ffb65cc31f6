"""The commands that train: one network, the same from several seeds, with the best of some parameters."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from src.models.names import OWN
from src.utils.command_line.flags import Request
from src.utils.command_line.options import (
    RepeatOptions,
    RunOptions,
    SearchedOptions,
    SearchOptions,
    SizesOptions,
    SweepOptions,
    TaughtOptions,
    TrainOptions,
)
from src.utils.errors import FAILED, UserError
from src.utils.report.console import (
    ConsoleObserver,
    ConsoleSweepObserver,
    show_failures,
    show_repetitions,
    show_run,
    show_search,
    show_sizes,
)
from src.utils.report.run import draw_run
from src.utils.report.sizes import draw_sizes
from src.utils.report.sweeps import draw_repetitions, draw_search
from src.utils.runs.config import Run, RunConfig
from src.utils.runs.precision import faster_precision
from src.utils.runs.problem import Problem, check_run, load_dataset, torch_device
from src.utils.runs.results import Results
from src.utils.runs.run import resume, start_or_go_on, train_run
from src.utils.runs.together import train_runs_together
from src.utils.study.preference_vectors import preference_family
from src.utils.study.record import RECORD
from src.utils.study.repeat import repeat
from src.utils.study.search import keep_best, search
from src.utils.study.sparsity_study import read_sizes, sparsity_candidates, sparsity_study
from src.utils.study.sweep import Basis, Outcome, started_runs
from src.utils.study.teachers import ideal_point, payoff_table, train_teachers
from src.utils.study.worker import end_with_starter
from src.utils.study.workers import Workers
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Observer

DEMO_CANDIDATES = 3


def check_training(request: Request[TrainOptions]) -> None:
    """Refuse what cannot be trained, before any work.

    Raises:
        UserError: naming what is missing or does not fit.
    """
    if request.plan.k is None:
        raise UserError("the preference vector is missing; give it with --k")
    check_run(request.config, request.parameters)


def train(request: Request[TrainOptions]) -> None:
    """Train one network and test it, from the last epoch of an interrupted run of the same where there is one."""
    config, parameters, observer = request.config, request.parameters, ConsoleObserver(quiet=request.quiet)
    if request.options.fresh or config.architecture == OWN:  # data of one's own may be others by now
        show(train_run(Run.new(config, parameters), observer, own_of(request, config)))
    else:
        show(start_or_go_on(config, parameters, observer))


def go_on(request: Request[RunOptions]) -> None:
    """Go on with an interrupted run; refuses further flags, as it has its own."""
    folder = Path(request.options.resume or "")
    others = [
        f"--{'k' if name == 'w' else name}"
        for name in request.given
        if name not in ("resume", "worker", "quiet", "figure_format")
    ]
    if others:
        raise UserError(f"--resume goes on with a run as it was started; not allowed beside it: {', '.join(others)}")
    if not request.options.worker:
        unfinished = resume(folder)
        show(train_run(unfinished, ConsoleObserver(quiet=request.quiet), own_of(request, unfinished.config)))
        return
    end_with_starter()
    runs = started_runs(folder) if (folder / RECORD).exists() else [Run.read(folder)]
    if torch_device(runs[0].config).type == "cpu":
        torch.set_num_threads(1)  # the same sums, and so the same figures, whoever else is at work
    if (folder / RECORD).exists():
        train_runs_together(folder, runs, lambda run: own_of(request, run.config), PrintingObserver())
    else:
        train_run(runs[0], Observer(), own_of(request, runs[0].config), among_many=True)


class PrintingObserver(Observer):
    """Of a process that trains for another one: what it should know is in its output."""

    def message(self, text: str) -> None:
        print(text, flush=True)


def own_of(request: Request[Any], config: RunConfig) -> Problem | None:
    """The problem of a user's own script for a run; None where the configuration names all of it.

    Raises:
        UserError: if the run is of another script.
    """
    own, name = request.plan.own, request.plan.dataset
    if (own is None) != (config.architecture != OWN) or (own is not None and config.dataset != name):
        raise UserError(
            f"this is a run of {config.architecture} on {config.dataset}: go on with the script {config.script}"
        )
    return own().problem(config) if own else None


def repeat_training(request: Request[RepeatOptions]) -> None:
    """Train the same from several seeds; show mean and standard deviation."""
    check_run(request.config, request.parameters)  # before data are loaded
    outcome = repeat(basis_of(request), request.options.repetitions)
    show_repetitions(outcome, draw_repetitions(outcome))
    leave_if_failed(outcome)


def search_preferences(request: Request[SearchOptions]) -> None:
    """Train a network for each of a family of preference vectors and keep the best."""
    check_run(request.config, request.parameters)  # before data are loaded
    tasks, resolution = request.parameters.tasks, request.options.resolution
    vectors = preference_family(request.options.k0, tasks, 1 if tasks == 1 and resolution is None else resolution)
    basis = basis_of(request)
    outcome = search(basis, [{"w": k} for k in vectors])
    show_search(outcome, [*draw_search(outcome), keep_best(basis, outcome)])
    leave_if_failed(outcome)


def study_sizes(request: Request[SizesOptions]) -> None:
    """Train networks from dense to nearly empty and show what each reaches and costs."""
    candidates = sparsity_candidates(request.parameters.w, request.options.k0s, request.options.caps)
    check_run(request.config, request.parameters)  # before data are loaded
    outcome = sparsity_study(basis_of(request), candidates)
    show_sizes(outcome, read_sizes(outcome.folder), draw_sizes(outcome))
    leave_if_failed(outcome)


def search_and_train(request: Request[SearchedOptions], candidates: Sequence[Mapping[str, Any]]) -> None:
    """Search over candidates with short trainings, then train with the best; teachers, where needed, come first."""
    options, config = request.options, request.config
    candidates = candidates[:DEMO_CANDIDATES] if request.plan.demo else candidates
    short = request.parameters.changed(max_iter=options.search_max_iter, train_share=options.search_train_share)
    teaching = isinstance(options, TaughtOptions) and not config.teachers
    teachers = ("to be trained",) * short.tasks if teaching else config.teachers
    for candidate in candidates:
        check_run(replace(config, teachers=teachers), short.changed(**candidate))
    basis = replace(basis_of(request), parameters=short)
    if teaching:
        config = replace(config, teachers=train_teachers(replace(basis, parameters=_teacher(request))))
    outcome = search(replace(basis, config=config), candidates)
    if request.quiet:
        show_failures(outcome)
    else:
        show_search(outcome, draw_search(outcome))
    parameters = request.parameters.changed(**outcome.points[outcome.best].candidate)
    show(start_or_go_on(config, parameters, ConsoleObserver(quiet=request.quiet)))
    leave_if_failed(outcome)


def with_what_is_found(request: Request[Any]) -> Request[Any]:
    """The request with what it asks to be found first: the faster precision, and a reference point."""
    return _with_reference_point(_with_precision(request))


def _check_so_far(request: Request[Any]) -> None:
    """Refuse what does not fit, before anything is found for it; models may be yet to come."""
    config, parameters = request.config, request.parameters
    if parameters.mode.from_model:
        config = replace(config, model="to be found")
    if isinstance(request.options, TaughtOptions) and not config.teachers:
        config = replace(config, teachers=("to be trained",) * parameters.tasks)
    check_run(config, parameters)


def _with_precision(request: Request[Any]) -> Request[Any]:
    if not request.precision_auto:
        return request
    _check_so_far(request)
    config, threads = replace(request.config, model=None, teachers=()), torch.get_num_threads()
    say = ConsoleObserver(quiet=request.quiet).message
    if isinstance(request.options, SweepOptions) and torch_device(config).type == "cpu":
        torch.set_num_threads(1)  # as many as each of its processes will have
    try:
        found = faster_precision(config, request.parameters, own_of(request, config), say)
    finally:
        torch.set_num_threads(threads)
    return replace(request, parameters=request.parameters.changed(precision=found))


def _with_reference_point(request: Request[Any]) -> Request[Any]:
    parameters = request.parameters
    ranged = parameters.uses_reference and parameters.normalisation == "range" and not parameters.nadir
    if not request.ideal and not ranged:
        return request
    _check_so_far(request)
    if ranged:
        return replace(request, parameters=_with_range(request))
    basis = basis_of(request)
    a = payoff_table(basis).ideal if request.plan.own else ideal_point(basis)
    if not request.quiet:
        print(f"reference point a = ({', '.join(f'{value:.4g}' for value in a)}), of single-task networks")
    return replace(request, parameters=parameters.changed(a=a))


def _with_range(request: Request[Any]) -> TrainingParameters:
    """The parameters with ideal and nadir of trainings with one task each; an a that was given stays."""
    found = payoff_table(basis_of(request))
    a = request.parameters.a if "a" in request.given and not request.ideal else found.ideal
    if not request.quiet:
        shown = (", ".join(f"{value:.4g}" for value in point) for point in (a, found.nadir))
        print("ideal a = ({}), nadir = ({}), of trainings with one task each".format(*shown))
    return request.parameters.changed(a=a, nadir=found.nadir)


def _teacher(request: Request[SearchedOptions]) -> TrainingParameters:
    """Defaults of a single task without sparsity."""
    single = request.plan.of_another(architecture="STL", k=(0.0, 1.0))
    iterations = getattr(request.options, "teacher_max_iter", None)
    return TrainingParameters(**single.parameters() | ({} if iterations is None else {"max_iter": iterations}))


def show(results: Results) -> None:
    """Draw and show a finished run."""
    show_run(results, [*Run.read(results.folder).written, *draw_run(results.folder)])


def workers_of(request: Request[Any]) -> Workers:
    """Who trains, as the flags say; a process goes on with a training by the script that was started."""
    options: RunOptions = request.options
    if not isinstance(options, SweepOptions):
        return Workers(script=request.plan.script)
    return Workers(options.jobs, options.dask, request.plan.script)


def basis_of(request: Request[Any]) -> Basis:
    """What all trainings of a sweep share; the data are read, and if need be made, before any worker wants them."""
    workers, observer = workers_of(request), ConsoleSweepObserver(quiet=request.quiet)
    data = request.plan.own() if request.plan.own else load_dataset(request.config, observer)
    return Basis(request.config, request.parameters, data, workers, observer)


def leave_if_failed(outcome: Outcome) -> None:
    """Leave with the exit code of failed work where trainings failed."""
    if outcome.failures:
        sys.exit(FAILED)
