"""The commands: each reads its flags, and imports what works only when they are good."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.utils.checked import fields_of, from_plain
from src.utils.command_line.flags import Plan, Request, read_flags
from src.utils.command_line.help import add_flags
from src.utils.command_line.options import (
    CompareOptions,
    DrawOptions,
    ModelsOptions,
    RepeatOptions,
    SearchedOptions,
    SearchOptions,
    SizesOptions,
    StudyOptions,
    TaughtOptions,
    TrainOptions,
)
from src.utils.command_line.parser import Parser
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig
from src.utils.training.defaults import SEARCH_BEFORE, STUDY, WITH_TEACHERS

if TYPE_CHECKING:
    from src.utils.runs.own import OwnProblem

# What a study sets itself, or does not use: it trains the tasks from a sparse model.
_NOT_IN_A_STUDY = (
    *("w", "num_tasks", "skip_layer", "is_search", "Sparsity_study", "max_iter_search", "max_iter_retrain"),
    *("min_sparsRate", "max_layerSRate", "sim_preference", "growl_type", "beta1", "beta2", "row_groups", "num_model"),
)


def train(plan: Plan, arguments: Sequence[str], description: str | None) -> None:
    """Train one network and test it."""
    _train(read_flags(plan, arguments, description, TrainOptions), "train", check="check_training")


def repeat(plan: Plan, arguments: Sequence[str], description: str | None, repetitions: int) -> None:
    """Train the same from several seeds."""
    plan = replace(plan, defaults={"repetitions": repetitions, **plan.defaults}, in_demo={"repetitions": 2})
    _train(read_flags(plan, arguments, description, RepeatOptions), "repeat_training")


def search(plan: Plan, arguments: Sequence[str]) -> None:
    """Train a network for each of a family of preference vectors and keep the best."""
    plan = replace(plan, defaults={"k0": 1e-3, **plan.defaults})
    without = ("w", "num_tasks")
    request = read_flags(plan, arguments, search.__doc__, SearchOptions, command="search", without=without)
    _train(request, "search_preferences")


def sparsity_study(plan: Plan, arguments: Sequence[str]) -> None:
    """Train networks from dense to nearly empty, by k_0 and by the cap on a layer, and show what each costs."""
    plan = replace(plan, defaults={"k0": 1e-3, "min_sparsRate": 0.0, **plan.defaults})
    without = ("num_tasks", "max_layerSRate", "min_sparsRate")
    request = read_flags(
        plan, arguments, sparsity_study.__doc__, SizesOptions, command="sparsity_study", without=without
    )
    _train(request, "study_sizes")


def search_and_train(
    plan: Plan, arguments: Sequence[str], description: str | None, candidates: Sequence[Mapping[str, Any]]
) -> None:
    """Search over candidates with short trainings, then train with the best."""
    usual = SEARCH_BEFORE[plan.architecture if plan.architecture in SEARCH_BEFORE else plan.method]
    short = {"search_max_iter": usual["max_iter"], "search_train_share": usual["train_share"]}
    in_demo = {"search_max_iter": 1, "search_train_share": 1.0}
    plan = replace(plan, defaults={**short, **plan.defaults}, in_demo=in_demo)
    without = ("method", *dict.fromkeys(name for candidate in candidates for name in candidate))
    options = TaughtOptions if plan.method in WITH_TEACHERS else SearchedOptions
    _train(read_flags(plan, arguments, description, options, without=without), "search_and_train", candidates)


def study(plan: Plan, arguments: Sequence[str], description: str | None) -> None:
    """Study the Pareto front of a sparse network."""
    plan = replace(plan, defaults={"Sparsity_study": False, **STUDY, **plan.defaults}, in_demo={"max_iter": 3})
    request = read_flags(plan, arguments, description, StudyOptions, without=_NOT_IN_A_STUDY)
    _train(request, "study", module="studying", check="check_batched")


def own(plan: Plan, arguments: Sequence[str], description: str | None) -> None:
    """The commands of a user's own script: the first word says which; without one a network is trained."""
    others = {
        "search": lambda rest: search(plan, rest),
        "repeat": lambda rest: repeat(plan, rest, repeat.__doc__, repetitions=3),
        "study": lambda rest: study(plan, rest, study.__doc__),
        "test": lambda rest: test(rest, plan.own),
        "compress": lambda rest: compress(rest, plan.own),
    }
    if not arguments or arguments[0].startswith("-"):
        train(plan, arguments, description)
    elif arguments[0] in others:
        others[arguments[0]](arguments[1:])
    else:
        known = ", ".join(others)
        raise UserError(f"unknown command {arguments[0]!r}; known: {known}; without a command a network is trained")


def test(arguments: Sequence[str], own: Callable[[], OwnProblem] | None = None) -> None:
    """Test a saved model on the test data of its data set."""
    parser = Parser(prog="Train_and_Test.py test", description=test.__doc__)
    parser.add_argument("model", type=Path, help="model file")
    add_flags(parser, RunConfig, ("device", "data_dir"))
    flags = vars(parser.parse_args(arguments))
    from src.utils.command_line import looking

    looking.test_model(flags.pop("model"), flags, own)


def compress(arguments: Sequence[str], own: Callable[[], OwnProblem] | None = None) -> None:
    """Write a smaller network with the same answers beside a saved model: MODEL_compressed.pth."""
    parser = Parser(prog="Train_and_Test.py compress", description=compress.__doc__)
    parser.add_argument("model", type=Path, help="model file")
    add_flags(parser, RunConfig, ("data_dir",))
    flags = vars(parser.parse_args(arguments))
    from src.utils.command_line import looking

    looking.compress_model(flags.pop("model"), flags, own)


def export(arguments: Sequence[str]) -> None:
    """Write a saved model in the format ONNX beside it, MODEL.onnx, once it answers the test images as before."""
    parser = Parser(prog="Train_and_Test.py export", description=export.__doc__)
    parser.add_argument("model", type=Path, help="model file, compressed or not")
    parser.add_argument("--int8", action="store_true", help="round the linear layers to 8 bits: MODEL_int8.onnx")
    add_flags(parser, RunConfig, ("data_dir",))
    flags = vars(parser.parse_args(arguments))
    from src.utils.command_line import deploying

    deploying.export_model(flags.pop("model"), flags, int8=flags.pop("int8"))


def predict(arguments: Sequence[str]) -> None:
    """Show the class of every task, with its probability, for pictures of any size."""
    parser = Parser(prog="Train_and_Test.py predict", description=predict.__doc__)
    parser.add_argument("model", type=Path, help="model file, compressed or not, or exported (.onnx)")
    parser.add_argument("image", type=Path, nargs="+", help="PNG or JPEG")
    flags = parser.parse_args(arguments)
    from src.utils.command_line import deploying

    deploying.predict_images(flags.model, flags.image)


def models(arguments: Sequence[str]) -> None:
    """List all saved models and finished runs with what they reach and cost, and name the most accurate one."""
    parser = Parser(prog="Train_and_Test.py models", description=models.__doc__)
    add_flags(parser, ModelsOptions, tuple(fields_of(ModelsOptions)))
    places = ("output_dir", "main_dir", "mod_logdir")
    add_flags(parser, RunConfig, places)
    flags = vars(parser.parse_args(arguments))
    options = from_plain(ModelsOptions, {name: value for name, value in flags.items() if name not in places})
    from src.utils.command_line import deploying

    deploying.list_models({name: value for name, value in flags.items() if name in places}, options)


def compare(arguments: Sequence[str]) -> None:
    """Draw the fronts of several studies, searches, repetitions or runs in one picture."""
    parser = Parser(prog="Train_and_Test.py compare", description=compare.__doc__)
    parser.add_argument("folder", type=Path, nargs="+", help="folder under logs/ of what is compared")
    parser.add_argument("--name", default="comparison", help="of the pictures and the table [comparison]")
    add_flags(parser, RunConfig, ("output_dir",))
    add_flags(parser, CompareOptions, ("reference", "figure_format"))
    flags = vars(parser.parse_args(arguments))
    folders, name, output_dir = (flags.pop(flag, None) for flag in ("folder", "name", "output_dir"))
    options = from_plain(CompareOptions, flags)
    from src.utils.command_line import looking

    looking.compare_folders(folders, name, output_dir, options)


def draw(arguments: Sequence[str]) -> None:
    """Draw anew what a run, search, study or repetitions draw at their end, from their files alone."""
    parser = Parser(prog="Train_and_Test.py draw", description=draw.__doc__)
    parser.add_argument("folder", type=Path, help="folder under logs/")
    add_flags(parser, DrawOptions, ("figure_format",))
    flags = vars(parser.parse_args(arguments))
    folder, options = flags.pop("folder"), from_plain(DrawOptions, flags)
    from src.utils.command_line import looking

    looking.draw_folder(folder, options)


def _train(request: Request[Any], work: str, *others: Any, module: str = "training", check: str | None = None) -> None:
    """Do the work of that name, after a check that refuses, or go on with the run that ``--resume`` names."""
    for note in request.notes:
        print(f"note: {note}", file=sys.stderr)
    from src.utils.command_line import training
    from src.utils.report.style import pictures_as

    with pictures_as(request.options.figure_format):
        if request.options.resume is not None:
            training.go_on(request)
        else:
            room = import_module(f"src.utils.command_line.{module}")
            if check is not None:
                getattr(room, check)(request)
            getattr(room, work)(training.with_what_is_found(request), *others)
