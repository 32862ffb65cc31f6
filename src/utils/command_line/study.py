"""Study the Pareto front of a sparse network."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.utils.command_line.flags import Plan, Request, add_worker_flags, number, read_flags, whole
from src.utils.command_line.search import leave_if_failed, load_data, workers_of
from src.utils.command_line.train import add_resume_flags, go_on_if_asked
from src.utils.errors import UserError
from src.utils.study.preference_vectors import preference_family
from src.utils.training.defaults import STUDY
from src.utils.training.parameters import TrainingParameters

if TYPE_CHECKING:
    from src.utils.report.console import ConsoleSweepObserver
    from src.utils.study.start_models import StartModel

DEMO_ITERATIONS, DEMO_K0 = 3, 1e-2

# What a study sets itself, or does not use: it trains the tasks from a sparse model.
_NOT_IN_A_STUDY = (
    *("w", "num_tasks", "skip_layer", "is_search", "Sparsity_study", "max_iter_search", "max_iter_retrain"),
    *("min_sparsRate", "max_layerSRate", "sim_preference", "growl_type", "beta1", "beta2", "num_model"),
)


def study(plan: Plan, arguments: Sequence[str], description: str | None) -> None:
    """Read the flags, train from a sparse model for every preference vector, analyse and report."""

    def add(group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--k0", type=number, nargs="+", metavar="NUMBER", help="study the best models of each of these k0 together"
        )
        group.add_argument(
            "--resolution", type=whole, metavar="N", help="a lattice of this resolution over the tasks as vectors"
        )
        group.add_argument(
            "--box",
            type=number,
            default=1e-2,
            metavar="NUMBER",
            help="epsilon-dominance: side of the boxes, loss [0.01]",
        )
        group.add_argument(
            "--box_origin",
            type=number,
            default=0.0,
            metavar="NUMBER",
            help="epsilon-dominance: a corner of the boxes [0]",
        )
        add_resume_flags(group)
        add_worker_flags(group)

    plan = replace(plan, defaults={"Sparsity_study": False, **STUDY, **plan.defaults})
    request = read_flags(plan, arguments, description, add=add, without=_NOT_IN_A_STUDY, adapt=_short_in_a_demo)
    if go_on_if_asked(request):
        return
    from src.utils.report.console import ConsoleSweepObserver, show_study
    from src.utils.report.study_report import report_study
    from src.utils.runs.problem import check_run
    from src.utils.study.pareto_study import Boxes, pareto_study

    options, workers, observer = request.options, workers_of(request), ConsoleSweepObserver(quiet=request.quiet)
    check_run(replace(request.config, model=request.config.model or "to be found"), request.parameters)
    boxes = Boxes(options.box, options.box_origin)
    for k0 in (DEMO_K0, *(options.k0 or ())):
        preference_family(k0, request.plan.tasks, options.resolution)
    starts = _start_models(request, observer)
    found = pareto_study(
        replace(request.config, model=None),
        request.parameters,
        starts,
        load_data(request),
        workers,
        observer,
        resolution=options.resolution,
        boxes=boxes,
    )
    show_study(found, report_study(found))
    leave_if_failed(found.outcome)


def _short_in_a_demo(plan: Plan, given: Mapping[str, Any]) -> Plan:
    return replace(plan, defaults={**plan.defaults, "max_iter": DEMO_ITERATIONS}) if plan.demo else plan


def _start_models(request: Request, observer: ConsoleSweepObserver) -> list[StartModel]:
    """The file that is named, or the best model; with several k0 the best of each. A demonstration makes its own."""
    from src.utils.study.start_models import find_start_model, read_start_model

    config, k0s = request.config, request.options.k0
    if config.model is not None:
        if k0s:
            raise UserError(f"k0 is {k0s}; allowed with --model: none, the model has its own")
        return [read_start_model(Path(config.model), config)]
    maker = config.script.replace("Pareto_front_study", "Example") + "_withSparsity.py"
    chosen: Sequence[float | None] = list(dict.fromkeys(k0s)) if k0s else [None]
    starts = []
    for k0 in chosen:
        try:
            starts.append(find_start_model(config, maker, k0, observer))
        except UserError:
            if not request.plan.demo:
                raise
            _make_demo_model(request, DEMO_K0 if k0 is None else k0)
            starts.append(find_start_model(config, maker, k0, observer))
    return starts


def _make_demo_model(request: Request, k0: float) -> None:
    """Train the sparse network that a demonstration of the study starts from."""
    from src.utils.report.console import ConsoleObserver
    from src.utils.runs.run import start_or_go_on

    k = (k0, round(0.2 * (1 - k0), 6), round(0.8 * (1 - k0), 6))
    parameters = TrainingParameters(**replace(request.plan, k=k, defaults={}).parameters())
    start_or_go_on(request.config, parameters, ConsoleObserver(quiet=request.quiet))
