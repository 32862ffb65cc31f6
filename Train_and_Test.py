"""Train, test, search and compare: the command line that all scripts share.

    python Train_and_Test.py --architecture HPS --dataset Cifar10Mnist --k 0.01 0.8 0.19
    python Train_and_Test.py test src/Sparse_models/MODEL.pth
    python Train_and_Test.py search --architecture MDMTN --dataset MultiMnist --k0 0.001
    python Train_and_Test.py compare logs/STUDY logs/STUDY

The first trains one network and tests it, the second tests a saved one, the third trains a network for each of a
family of preference vectors and keeps the best, the fourth draws several fronts in one picture. --help after each of
them lists its flags.
"""

from __future__ import annotations

import argparse
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import Splits, make_splits
from Data_loaders.registry import DATASETS, dataset_entry
from src.models.multi_task import MultiTaskNetwork
from src.models.registry import ARCHITECTURES, Architecture, check_architecture, load_model
from src.utils.command import FAILED, Parser, exit_code
from src.utils.console import (
    ConsoleObserver,
    ConsoleSweepObserver,
    show_accuracies,
    show_comparison,
    show_failures,
    show_repetitions,
    show_rows,
    show_run,
    show_search,
    show_study,
)
from src.utils.errors import UserError
from src.utils.sparsity.metrics import count_layers, total
from src.utils.study.compare import compare
from src.utils.study.pareto_study import StartModel, check_boxes, find_start_model, pareto_study, read_start_model
from src.utils.study.preference_vectors import preference_family
from src.utils.study.repeat import repeat
from src.utils.study.search import keep_best, search
from src.utils.study.sweep import Failure, Workers
from src.utils.study.teachers import train_teachers
from src.utils.training.defaults import SEARCH, STUDY, default_parameters
from src.utils.training.engine import Observer, evaluate
from src.utils.training.methods import METHODS
from src.utils.training.parameters import TrainingParameters
from src.utils.training.run import (
    DEVICES,
    ROOT,
    FinishedRun,
    Problem,
    RunConfig,
    architecture_for,
    check_run,
    check_tasks,
    load_dataset,
    numbers_of_classes,
    resume_run,
    run_arithmetic,
    start_or_go_on,
    start_run,
)


def run_example(
    script: str,
    architecture: str,
    dataset: str,
    k: Sequence[float],
    *,
    description: str | None,
    task: int | None = None,
    **defaults: Any,
) -> None:
    """What an example script does: read the command line, train, show and save; leaves with an exit code.

    Args:
        script: the script's ``__file__``.
        architecture, dataset: what to train, on what.
        k: preference vector (sparsity, task 1, ..., task m).
        description: for ``--help``.
        task: the only task to be trained, from 0; None trains all.
        defaults: further :class:`TrainingParameters` that differ from the data set's defaults.
    """
    plan = _Plan(Path(script).stem, architecture, dataset, tuple(k), task, defaults)
    sys.exit(exit_code(lambda: _train(plan, sys.argv[1:], description)))


def run_repetitions(
    script: str,
    architecture: str,
    dataset: str,
    *,
    description: str | None,
    repetitions: int,
    k: Sequence[float] = (0.0, 0.5, 0.5),
    **defaults: Any,
) -> None:
    """What a script does that trains the same from several seeds; leaves with an exit code.

    Args:
        script, architecture, dataset, k, description, defaults: as in :func:`run_example`.
        repetitions: how many seeds, from ``--seed`` on.
    """
    plan = _Plan(Path(script).stem, architecture, dataset, tuple(k), None, defaults)
    sys.exit(exit_code(lambda: _repeat(plan, repetitions, sys.argv[1:], description)))


def run_searched_example(
    script: str,
    architecture: str,
    dataset: str,
    candidates: Sequence[Mapping[str, Any]],
    *,
    description: str | None,
    k: Sequence[float] = (0.0, 0.5, 0.5),
    **defaults: Any,
) -> None:
    """What a script does that searches over parameters first, then trains with the best; leaves with an exit code.

    Args:
        script, architecture, dataset, k, description, defaults: as in :func:`run_example`.
        candidates: values of training parameters to be tried.
    """
    plan = _Plan(Path(script).stem, architecture, dataset, tuple(k), None, defaults)
    sys.exit(exit_code(lambda: _search_and_train(plan, candidates, sys.argv[1:], description)))


def run_pareto_study(script: str, architecture: str, dataset: str, *, description: str | None, **defaults: Any) -> None:
    """What a Pareto-front study does; leaves with an exit code. Arguments as in :func:`run_example`."""
    defaults = {"Sparsity_study": False, **STUDY, **defaults}
    plan = _Plan(Path(script).stem, architecture, dataset, None, None, defaults)
    sys.exit(exit_code(lambda: _study(plan, sys.argv[1:], description)))


def train_and_test(
    network: MultiTaskNetwork,
    splits: Splits,
    parameters: TrainingParameters,
    *,
    name: str = "own",
    task_names: Sequence[str] | None = None,
    teachers: Sequence[nn.Module] = (),
    seed: int = 0,
    output_dir: str | None = None,
    observer: Observer | None = None,
    resume: Path | None = None,
) -> FinishedRun:
    """Train a network of one's own on tensors of one's own, and leave the files every run leaves.

    Args:
        network: with its initial weights, for example an HPS or MDMTN of one's own trunk and heads.
        splits: training, validation and test tensors with labels, shape (N, m), on the network's device.
        parameters: ``num_tasks`` and ``w`` for sparsity and the m tasks; ``skip_layer`` names the input layer by its
            number of inputs.
        name: of the data, for files and pictures.
        task_names: one per task.
        teachers: a trained network per task, for a method that learns from them.
        seed: of the order of the batches.
        output_dir: folder under which everything is written; None is the project.
        observer: told of the progress.
        resume: folder of an interrupted run of the same network, data and parameters.

    Raises:
        UserError: if network, labels and parameters do not belong together.
    """
    device = "cuda" if splits.train.images.is_cuda else "cpu"
    config = RunConfig(script=name, architecture="own", dataset=name, seed=seed, output_dir=output_dir, device=device)
    architecture = Architecture("own", name, numbers_of_classes(network, splits))
    names = tuple(task_names or (f"task {task + 1}" for task in range(len(architecture.num_outs))))
    problem = Problem(name, names, splits, architecture, network, teachers=tuple(teachers))
    observer = observer or Observer()
    if resume is not None:
        return resume_run(resume, observer, problem=problem)
    return start_run(config, parameters, observer, problem=problem)


@dataclass(frozen=True)
class _Plan:
    """What a script or command trains before the flags are read."""

    script: str
    architecture: str
    dataset: str
    k: tuple[float, ...] | None
    task: int | None
    defaults: dict[str, Any]

    @property
    def tasks(self) -> int:
        """Number of tasks that are trained."""
        return 1 if self.architecture == "STL" else dataset_entry(self.dataset).tasks

    def initial(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Default training parameters; a demo, another method and k_0 = 0 have schedules of their own."""
        entry, given = dataset_entry(self.dataset), _read_ahead(arguments)
        check_architecture(self.architecture)
        objectives = len(self.k) if self.k is not None else 1 + self.tasks
        k = self.k if self.k is not None else (0.0,) + (1 / (objectives - 1),) * (objectives - 1)
        values = default_parameters(
            entry.backbone,
            self.architecture,
            method=given.method or self.defaults.get("method", "Chebyshev"),
            sparsity=(given.w or k)[0] > 0 or not self.defaults.get("Sparsity_study", True),
            demo="--demo" in arguments,
        )
        return {**values, "w": k, "num_tasks": objectives, "a": (0.0,) * objectives, **self.defaults}

    def config(self, arguments: argparse.Namespace) -> RunConfig:
        """The run's configuration, with the bundled data for a demo."""
        dataset = dataset_entry(self.dataset).demo if arguments.demo else self.dataset
        flags = {name: getattr(arguments, name) for name in _CONFIG_FLAGS}
        flags["teachers"] = tuple(flags["teachers"])
        return RunConfig(script=self.script, architecture=self.architecture, dataset=dataset, **flags)


def main(arguments: Sequence[str]) -> None:
    """The command ``python Train_and_Test.py``."""
    commands = {"test": _test, "search": _search, "compare": _compare}
    if arguments and arguments[0] in commands:
        commands[arguments[0]](arguments[1:])
        return
    _train(_plan_from(arguments, needs_k=True), arguments, __doc__)


def _plan_from(arguments: Sequence[str], *, needs_k: bool) -> _Plan:
    """The plan of the command's flags."""
    given = _read_ahead(arguments)
    k = tuple(given.w) if given.w else None
    if needs_k and k is None and not (given.help or given.resume):
        raise UserError("the preference vector is missing; give it with --k")
    return _Plan("Train_and_Test", given.architecture, given.dataset, k, given.task, {})


def _read_ahead(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags that decide which defaults hold for the others."""
    parser = Parser(description=__doc__, add_help=False)
    _add_choice_flags(parser)
    parser.add_argument("--k", "--w", dest="w", type=_number, nargs="+")
    parser.add_argument("--task", type=_converter(int | None))
    parser.add_argument("--method")
    parser.add_argument("--resume")
    parser.add_argument("-h", "--help", action="store_true")
    return parser.parse_known_args(arguments)[0]


def _train(plan: _Plan, arguments: Sequence[str], description: str | None) -> None:
    parser = _parser(plan, plan.initial(arguments), description)
    parser.add_argument("--resume", metavar="RUN", help="go on with the interrupted run in this folder")
    flags = parser.parse_args(arguments)
    observer = ConsoleObserver(quiet=flags.quiet)
    if flags.resume:
        show_run(_resume(flags.resume, arguments, observer))
    else:
        show_run(start_run(plan.config(flags), _parameters(flags), observer))


def _resume(folder: str, arguments: Sequence[str], observer: Observer) -> FinishedRun:
    """Go on with a run; refuses further flags, as it has its own."""
    others = [flag for flag in arguments if flag not in ("--resume", folder, f"--resume={folder}", "--quiet")]
    if others:
        raise UserError(f"--resume goes on with a run as it was started; not allowed beside it: {' '.join(others)}")
    return resume_run(Path(folder), observer)


def _leave_if(failures: Sequence[Failure]) -> None:
    """Leave with the exit code of failed work where trainings failed."""
    if failures:
        sys.exit(FAILED)


def _search(arguments: Sequence[str]) -> None:
    """Train a family of preference vectors and keep the best."""
    plan = _plan_from(arguments, needs_k=False)
    k0 = Parser(add_help=False)
    k0.add_argument("--k0", type=_number, default=1e-3, help="preference of the sparsity objective [0.001]")
    k0.add_argument("--resolution", type=_whole, help="train a lattice of this resolution over the tasks instead")
    chosen, _ = k0.parse_known_args(arguments)
    resolution = 1 if plan.tasks == 1 and chosen.resolution is None else chosen.resolution
    vectors = preference_family(chosen.k0, plan.tasks, resolution)
    plan = replace(plan, k=vectors[0])
    parser = _parser(plan, plan.initial(arguments), _search.__doc__, parents=[k0], without=("w", "num_tasks"))
    parser.prog += " search"
    _add_worker_flags(parser)
    flags = parser.parse_args(arguments)
    config, parameters, workers = plan.config(flags), _parameters(flags), _workers(flags)
    check_run(config, parameters)
    data = _data(config)
    observer = ConsoleSweepObserver(quiet=flags.quiet)
    outcome = search(config, parameters, [{"w": k} for k in vectors], data, workers, observer)
    model = keep_best(config, parameters, outcome)
    show_search(replace(outcome, files=[*outcome.files, model]), data.task_names)
    _leave_if(outcome.failures)


def _repeat(plan: _Plan, repetitions: int, arguments: Sequence[str], description: str | None) -> None:
    parser = _parser(plan, plan.initial(arguments), description)
    _add_worker_flags(parser)
    repetitions = 2 if "--demo" in arguments else repetitions
    parser.add_argument(
        "--repetitions", type=_whole, default=repetitions, help=_help("trainings, each from its own seed", repetitions)
    )
    flags = parser.parse_args(arguments)
    config, parameters, workers = plan.config(flags), _parameters(flags), _workers(flags)
    check_run(config, parameters)
    data = _data(config)
    observer = ConsoleSweepObserver(quiet=flags.quiet)
    outcome = repeat(config, parameters, flags.repetitions, data, workers, observer)
    show_repetitions(outcome, data.task_names)
    _leave_if(outcome.failures)


def _search_and_train(
    plan: _Plan, candidates: Sequence[Mapping[str, Any]], arguments: Sequence[str], description: str | None
) -> None:
    initial = plan.initial(arguments)
    searched = {name for candidate in candidates for name in candidate}
    parser = _parser(plan, initial, description, without=("method", *searched))
    parser.add_argument("--resume", metavar="RUN", help="go on with the interrupted final training in this folder")
    _add_worker_flags(parser)
    short = SEARCH[plan.architecture if plan.architecture in SEARCH else initial["method"]]
    if "--demo" in arguments:
        short, candidates = {"max_iter": 1, "train_share": 1.0}, candidates[:DEMO_CANDIDATES]
    for name, text in (("max_iter", "iterations of a search training"), ("train_share", "share of the images in it")):
        kind = _converter(typing.get_type_hints(TrainingParameters)[name])
        parser.add_argument(f"--search_{name}", type=kind, default=short[name], help=_help(text, short[name]),
                            metavar="VALUE")  # fmt: skip
    teaching = METHODS[initial["method"]].uses_teachers
    if teaching:
        parser.add_argument("--teacher_max_iter", type=_whole, metavar="VALUE", help="iterations of the teachers")
    flags = parser.parse_args(arguments)
    observer = ConsoleObserver(quiet=flags.quiet)
    if flags.resume:
        show_run(_resume(flags.resume, arguments, observer))
        return
    config, parameters, workers = plan.config(flags), _parameters(flags), _workers(flags)
    trial = parameters.changed(max_iter=flags.search_max_iter, train_share=flags.search_train_share)
    to_be_trained = ("teacher",) * (trial.num_tasks - 1) if teaching else ()
    for candidate in candidates:
        check_run(replace(config, teachers=config.teachers or to_be_trained), trial.changed(**candidate))
    data, sweep_observer = _data(config), ConsoleSweepObserver(quiet=flags.quiet)
    check_tasks(trial, len(data.task_names), data.name)
    if teaching and not config.teachers:
        teacher = _teacher_parameters(plan, arguments, flags.teacher_max_iter)
        config = replace(config, teachers=train_teachers(config, teacher, data, workers, sweep_observer))
    outcome = search(config, trial, candidates, data, workers, sweep_observer)
    if flags.quiet:
        show_failures(outcome.failures)
    else:
        show_search(outcome, data.task_names)
    best, _ = outcome.candidates[outcome.best]
    show_run(start_or_go_on(config, parameters.changed(**best), observer))
    _leave_if(outcome.failures)


def _teacher_parameters(plan: _Plan, arguments: Sequence[str], max_iter: int | None) -> TrainingParameters:
    """Defaults of a single task without sparsity."""
    single = _Plan(plan.script, "STL", plan.dataset, (0.0, 1.0), 0, {"method": "Chebyshev"})
    values = single.initial([flag for flag in arguments if flag == "--demo"])
    return TrainingParameters(**values if max_iter is None else {**values, "max_iter": max_iter})


def _study(plan: _Plan, arguments: Sequence[str], description: str | None) -> None:
    if "--demo" in arguments:
        plan = replace(plan, defaults={**plan.defaults, "max_iter": DEMO_STUDY_ITERATIONS})
    parser = _parser(plan, plan.initial(arguments), description, without=_NOT_IN_A_STUDY)
    _add_worker_flags(parser)
    parser.add_argument("--k0", type=_number, nargs="+", help="study the best models of each of these k0 together")
    parser.add_argument("--resolution", type=_whole, help="a lattice of this resolution over the tasks as vectors")
    parser.add_argument("--box", type=_number, default=1e-2, help="epsilon-dominance: side of the boxes, loss [0.01]")
    parser.add_argument("--box_start", type=_number, default=0.0, help="epsilon-dominance: a corner of the boxes [0]")
    flags = parser.parse_args(arguments)
    config, parameters, workers = plan.config(flags), _parameters(flags), _workers(flags)
    check_run(replace(config, model=config.model or "to be found"), parameters)
    check_boxes(flags.box, flags.box_start)
    for k0 in (DEMO_K0, *(flags.k0 or ())):
        preference_family(k0, plan.tasks, flags.resolution)
    observer = ConsoleSweepObserver(quiet=flags.quiet)
    starts = _start_models(plan, config, flags, observer)
    outcome = pareto_study(
        replace(config, model=None),
        parameters,
        starts,
        _data(config),
        workers,
        observer,
        resolution=flags.resolution,
        epsilon=flags.box,
        start=flags.box_start,
    )
    show_study(outcome)
    _leave_if(outcome.study.failures)


def _start_models(
    plan: _Plan, config: RunConfig, flags: argparse.Namespace, observer: ConsoleSweepObserver
) -> list[StartModel]:
    """The file that is named, or the best model; with several k0 the best of each. A demonstration makes its own."""
    if config.model is not None:
        if flags.k0:
            raise UserError(f"k0 is {flags.k0}; allowed with --model: none, the model has its own")
        return [read_start_model(Path(config.model), config)]
    maker = plan.script.replace("Pareto_front_study", "Example") + "_withSparsity.py"
    chosen: Sequence[float | None] = list(dict.fromkeys(flags.k0)) if flags.k0 else [None]
    starts = []
    for k0 in chosen:
        try:
            starts.append(find_start_model(config, maker, k0, observer))
        except UserError:
            if not flags.demo:
                raise
            _make_demo_model(plan, config, DEMO_K0 if k0 is None else k0, quiet=flags.quiet)
            starts.append(find_start_model(config, maker, k0, observer))
    return starts


def _make_demo_model(plan: _Plan, config: RunConfig, k0: float, *, quiet: bool) -> None:
    """Train the sparse network that a demonstration of the study starts from."""
    k = (k0, round(0.2 * (1 - k0), 6), round(0.8 * (1 - k0), 6))
    parameters = TrainingParameters(**replace(plan, k=k, defaults={}).initial(["--demo"]))
    start_or_go_on(config, parameters, ConsoleObserver(quiet=quiet))


def _compare(arguments: Sequence[str]) -> None:
    """Draw the fronts of several studies, searches, repetitions or runs in one picture."""
    parser = Parser(prog="Train_and_Test.py compare", description=_compare.__doc__)
    parser.add_argument("folder", type=Path, nargs="+", help="folder under logs/ of what is compared")
    parser.add_argument("--name", default="comparison", help="of the pictures and the table [comparison]")
    _add_config_flag(parser, "output_dir")
    flags = parser.parse_args(arguments)
    root = Path(flags.output_dir).resolve() if flags.output_dir else ROOT
    show_comparison(compare(flags.folder, root, flags.name))


@run_arithmetic()
def _test(arguments: Sequence[str]) -> None:
    """Test a saved model on the test data of its data set."""
    parser = Parser(prog="Train_and_Test.py test", description=_test.__doc__)
    parser.add_argument("model", type=Path, help="model file")
    for name in ("device", "data_dir"):
        _add_config_flag(parser, name)
    flags = parser.parse_args(arguments)
    saved = load_model(flags.model)
    places = {"device": flags.device, "data_dir": flags.data_dir}
    try:
        what = {name: saved.results[name] for name in ("dataset", "task", "data_seed")}
        config = RunConfig(script="test", architecture=saved.architecture.name, **what, **places)
        skip_layer = saved.parameters["skip_layer"]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{flags.model} does not say what it was trained on ({error}): train the model again"
        ) from error
    dataset = load_dataset(config, ConsoleObserver(quiet=False))
    if saved.architecture != architecture_for(config, dataset):
        raise UserError(f"{flags.model} holds another network than {dataset.name} is for: train the model again")
    splits = make_splits(dataset, config.torch_device())
    network = saved.network.to(config.torch_device())
    layers = network.growl_layers(skip_layer)
    show_accuracies(
        dataset.task_names, evaluate(network, splits.test).accuracy, evaluate(network, splits.validation).accuracy
    )
    show_rows(total(count_layers({name: layer.weight for name, layer in layers.items()}).values()))


DEMO_CANDIDATES, DEMO_STUDY_ITERATIONS, DEMO_K0 = 3, 3, 1e-2

# What a study sets itself, or does not use: it trains the tasks from a sparse model.
_NOT_IN_A_STUDY = (
    *("w", "num_tasks", "skip_layer", "is_search", "Sparsity_study", "max_iter_search", "max_iter_retrain"),
    *("min_sparsRate", "max_layerSRate", "sim_preference", "growl_type", "beta1", "beta2", "num_model"),
)

_CONFIG_FLAGS = {
    "task": "train this task only, from 0 (STL); none: all",
    "seed": "of the initial weights and the order of the batches",
    "data_seed": "of the random partners that the images are composed of",
    "device": f"where to compute: {', '.join(DEVICES)}",
    "data_dir": "folder of the data sets; default: $MDMTN_DATA, else Data/",
    "output_dir": "folder under which everything is written; default: the project",
    "main_dir": "folder of the training results, under the output folder",
    "mod_logdir": "folder of the saved models, under the output folder",
    "model": "file of the model to start from, with --is_search no or --Sparsity_study no",
    "teachers": "KDMTL: files of single-task models to learn from, one per task",
}


def _parser(
    plan: _Plan,
    initial: dict[str, Any],
    description: str | None,
    parents: Sequence[Parser] = (),
    without: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """A flag for every training parameter but those ``without``, and for every field of the run's configuration."""
    parser = Parser(description=description, parents=list(parents))
    running = parser.add_argument_group("running")
    if plan.script == "Train_and_Test":
        _add_choice_flags(running)
    for name in _CONFIG_FLAGS:
        _add_config_flag(running, name, plan.task if name == "task" else None)
    running.add_argument("--demo", action="store_true", help="train on bundled data with a short schedule, no download")
    running.add_argument("--quiet", action="store_true", help="no progress, only the final table")
    training = parser.add_argument_group("training parameters")
    hints = typing.get_type_hints(TrainingParameters)
    for item in fields(TrainingParameters):
        default = initial.get(item.name, item.default)
        if item.name in without:
            parser.set_defaults(**{item.name: default})
            continue
        many: dict[str, Any] = {"nargs": "+", "action": _Tuple} if typing.get_origin(hints[item.name]) is tuple else {}
        training.add_argument(
            *(["--k", "--w"] if item.name == "w" else [f"--{item.name}"]),
            dest=item.name,
            type=_converter(hints[item.name]),
            default=default,
            help=_help(item.metadata["help"], default),
            metavar="VALUE",
            **many,
        )
    return parser


def _add_choice_flags(parser: Any) -> None:
    parser.add_argument("--architecture", default="MDMTN", help=_help(f"network: {', '.join(ARCHITECTURES)}", "MDMTN"))
    parser.add_argument("--dataset", default="MultiMnist", help=_help(f"data: {', '.join(DATASETS)}", "MultiMnist"))


def _add_config_flag(parser: Any, name: str, default: Any = None) -> None:
    (item,) = (item for item in fields(RunConfig) if item.name == name)
    default = item.default if default is None else default
    if typing.get_origin(typing.get_type_hints(RunConfig)[name]) is tuple:
        parser.add_argument(f"--{name}", nargs="+", default=default, help=_CONFIG_FLAGS[name], metavar="FILE")
        return
    flags = [f"--{name}"] + ([f"--{name.replace('_', '-')}"] if name.endswith("_dir") else [])
    kind = _converter(typing.get_type_hints(RunConfig)[name])
    parser.add_argument(
        *flags, dest=name, type=kind, default=default, help=_help(_CONFIG_FLAGS[name], default), metavar="VALUE"
    )


def _add_worker_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=_whole, default=1, metavar="VALUE", help="trainings side by side [1]")
    parser.add_argument("--dask", metavar="ADDRESS", help="train on the Dask cluster of this scheduler instead")


def _workers(flags: argparse.Namespace) -> Workers:
    return Workers(flags.jobs, flags.dask)


def _data(config: RunConfig) -> MultiTaskDataset:
    """The data; they are read, and if need be made, before any worker wants them."""
    return load_dataset(config, ConsoleObserver(quiet=False))


def _parameters(flags: argparse.Namespace) -> TrainingParameters:
    return TrainingParameters(**{item.name: getattr(flags, item.name) for item in fields(TrainingParameters)})


class _Tuple(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def _help(text: str, default: Any) -> str:
    if default is None:
        return text.replace("%", "%%")
    shown = " ".join(f"{value:g}" for value in default) if isinstance(default, tuple) else str(default)
    return f"{text} [{shown}]".replace("%", "%%")


def _converter(expected: Any) -> Callable[[str], Any]:
    """A function from the text of a flag to a value of the expected type."""
    if isinstance(expected, types.UnionType):
        inner = _converter(typing.get_args(expected)[0])
        return lambda text: None if text.lower() == "none" else inner(text)
    if typing.get_origin(expected) is tuple:
        return _number
    known: dict[Any, Callable[[str], Any]] = {bool: _yes_or_no, int: _whole, float: _number, str: str}
    return known[expected]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def _yes_or_no(text: str) -> bool:
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return known[text.lower()]


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
