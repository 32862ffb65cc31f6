"""The command that studies the Pareto front of a sparse network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from src.models.names import OWN
from src.utils.checked import from_plain
from src.utils.command_line.flags import Request
from src.utils.command_line.options import StudyOptions
from src.utils.command_line.training import basis_of, leave_if_failed, workers_of
from src.utils.errors import UserError
from src.utils.report.console import ConsoleObserver, ConsoleSweepObserver, show_study
from src.utils.report.study_report import report_study
from src.utils.runs.config import Run, RunConfig
from src.utils.runs.problem import check_reference_point, check_run, load_dataset
from src.utils.runs.run import start_or_go_on, train_run
from src.utils.study.pareto_study import Boxes, pareto_study
from src.utils.study.preference_vectors import preference_family
from src.utils.study.start_models import StartModel, find_start_model, read_start_model
from src.utils.study.sweep import SweepObserver
from src.utils.training.defaults import STUDY
from src.utils.training.parameters import TrainingParameters
from src.utils.training.stackable import check_stackable_method, check_stackable_network

DEMO_K0 = 1e-2


def study(request: Request[StudyOptions]) -> None:
    """Train from a sparse model for every preference vector, analyse and report."""
    options, config = request.options, request.config
    check_run(replace(config, model=config.model or "to be found"), request.parameters)
    for k0 in (DEMO_K0, *options.k0):
        preference_family(k0, request.parameters.tasks, options.resolution)
    workers_of(request)  # refused, as all else, before a demonstration trains a model to start from
    observer = ConsoleSweepObserver(quiet=request.quiet)
    starts = _start_models(request, observer)  # before data are asked for
    for start in starts:
        if not start.sparsity_rate:
            observer.message(
                f"{start.path.name}, trained with k0 = {start.k0:g}, has no zero rows: none are held, and its front is "
                f"that of a dense network; for a sparse one raise k0, or max_iter_search of {_maker(config)}"
            )
    basis = basis_of(request)
    workers = replace(basis.workers, batched=options.batched)
    basis = replace(basis, config=replace(config, model=None), workers=workers)
    boxes = Boxes(options.box, options.box_origin)
    found = pareto_study(basis, starts, resolution=options.resolution, boxes=boxes)
    show_study(found, report_study(found))
    leave_if_failed(found.outcome)


def check_batched(request: Request[StudyOptions]) -> None:
    """Refuse what cannot be trained as one stacked network, before any work.

    Raises:
        UserError: naming the flag, the method or the network.
    """
    if not request.options.batched:
        return
    beside = [f"--{name}" for name in ("jobs", "dask") if name in request.given]
    if beside:
        raise UserError(f"--batched trains all vectors in one process; not allowed beside it: {', '.join(beside)}")
    check_run(replace(request.config, model=request.config.model or "to be found"), request.parameters)
    check_stackable_method(request.parameters)
    if request.plan.own is not None:
        problem = request.plan.own().problem(replace(request.config, model=None))
        check_stackable_network(problem.network, problem.splits, problem.tasks, request.parameters)


def _start_models(request: Request[StudyOptions], observer: SweepObserver) -> list[StartModel]:
    """The file that is named, or the best model; with several k0 the best of each. A demonstration makes its own."""
    config, k0s = request.config, request.options.k0
    network = request.plan.own().network if request.plan.own else None
    if config.model is not None:
        if k0s:
            raise UserError(f"k0 is {list(k0s)}; allowed with --model: none, the model has its own")
        return [read_start_model(Path(config.model), config, network)]
    maker = _maker(config)
    starts = []
    for k0 in dict.fromkeys(k0s) or [None]:
        try:
            starts.append(find_start_model(config, maker, k0, observer, network))
        except UserError:
            if not request.plan.demo and network is None:
                raise
            _make_model(request, k0)
            starts.append(find_start_model(config, maker, k0, observer, network))
    return starts


def _maker(config: RunConfig) -> str:
    """The script that makes a model to start from."""
    if config.architecture == OWN:
        return f"{config.script}.py"
    return config.script.replace("Pareto_front_study", "Example") + "_withSparsity.py"


def _make_model(request: Request[StudyOptions], k0: float | None) -> None:
    """Train the sparse network that a demonstration, or the study of a user's own problem, starts from."""
    plan, observer = request.plan, ConsoleObserver(quiet=request.quiet)
    if plan.own is not None:
        check_reference_point(request.parameters, plan.own().tasks)
        k = plan.k if k0 is None else (k0, *((1 - k0) * value / sum(plan.k[1:]) for value in plan.k[1:]))
        own = {name: value for name, value in plan.defaults.items() if name not in (*STUDY, "Sparsity_study")}
        parameters = from_plain(TrainingParameters, replace(plan, k=k, defaults=own).parameters())
        config = replace(request.config, model=None)
        train_run(Run.new(config, parameters), observer, plan.own().problem(config))
        return
    k0 = DEMO_K0 if k0 is None else k0
    data = load_dataset(request.config, ConsoleObserver(quiet=True))
    check_reference_point(request.parameters, data.tasks)  # of the study, before there is work
    k = (k0, round(0.2 * (1 - k0), 6), round(0.8 * (1 - k0), 6))
    parameters = TrainingParameters(**request.plan.of_another(k=k).parameters())
    start_or_go_on(request.config, parameters, observer)
