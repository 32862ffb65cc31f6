"""The parser of a command that trains, and its help: what matters first, flags without effect apart."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from src.utils.checked import fields_of, shown
from src.utils.command_line.options import RunOptions
from src.utils.command_line.parser import Parser
from src.utils.runs.config import RunConfig
from src.utils.training.parameters import TrainingParameters

SET_BY_SCRIPTS = ("script", "architecture", "dataset")
SWITCHES = {
    "demo": "train on bundled data with a short schedule, without any download",
    "quiet": "no progress, only the final table",
}
_SPARSITY = (
    *("max_iter_search", "max_iter_retrain", "min_sparsRate", "max_layerSRate", "sim_preference", "skip_layer"),
    *("growl_type", "beta1", "beta2", "is_search", "Sparsity_study", "model"),
)
_NAMES = ("main_dir", "mod_logdir", "num_model")
_TEXTS = {"resume": "FOLDER", "model": "FILE", "teachers": "FILE", "dask": "ADDRESS"}
_FIRST, _TRAINING, _LIKE_SPARSITY, _FILES = "what matters most", "training", "sparsity", "names of files"


def make_parser(
    options: type[RunOptions],
    *,
    description: str | None,
    command: str,
    without: Sequence[str],
    choices: Mapping[str, str],
    defaults: Mapping[str, Any],
    idle: Mapping[str, str],
) -> Parser:
    """The parser; flags that are not given have no value.

    Args:
        options: the command's own flags.
        description: for the help.
        command: its name after that of the script.
        without: training parameters that are no flags of this command.
        choices: help of the flags ``architecture`` and ``dataset``, where they are some.
        defaults: of the flags, for the help, where they differ from the usual ones.
        idle: why a flag has no effect, by name, for the help.
    """
    made = Parser(description=description, add_help=False, argument_default=argparse.SUPPRESS, usage="%(prog)s [flags]")
    made.prog += f" {command}".rstrip()
    groups = {title: made.add_argument_group(title) for title in (_FIRST, _TRAINING, _LIKE_SPARSITY, _FILES)}
    first = groups[_FIRST]
    for name, text in choices.items():
        first.add_argument(f"--{name}", metavar="NAME", help=text)
    if "w" not in without:
        add_flags(first, TrainingParameters, ["w"], defaults)
    single = choices or defaults.get("task") is not None
    configured = [*(["task"] if single else []), "seed", "data_dir", "output_dir", "device"]
    add_flags(first, options, _own_first(options), defaults)
    add_flags(first, RunConfig, configured, defaults)
    switches = {name: str(item.description) for name, item in fields_of(options).items() if _is_switch(name, item)}
    for name, text in {**switches, **SWITCHES}.items():
        first.add_argument(f"--{name}", action="store_true", help=text)
    first.add_argument("-h", "--help", action="store_true", help="show this and leave")
    first.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    for cls, left_out in ((TrainingParameters, ["w", *without]), (RunConfig, [*SET_BY_SCRIPTS, *configured])):
        for name in (name for name in fields_of(cls) if name not in left_out):
            title = _LIKE_SPARSITY if name in _SPARSITY else _FILES if name in _NAMES else _TRAINING
            if name in idle:
                title = f"without effect here ({idle[name]})"
            if title not in groups:
                groups[title] = made.add_argument_group(title)
            add_flags(groups[title], cls, [name], defaults)
    return made


def add_flags(parser: Any, cls: type, names: Sequence[str], defaults: Mapping[str, Any] | None = None) -> None:
    """A flag for each of some fields of a checked dataclass; without being given it has no value.

    Args:
        parser: or a group of one.
        cls: whose fields they are.
        names: of the fields.
        defaults: for the help, where they differ from those of the fields.
    """
    for name in names:
        item = fields_of(cls)[name]
        flags = ["--k", "--w"] if name == "w" else [f"--{name}"]
        if name.endswith("_dir"):
            flags.insert(0, f"--{name.replace('_', '-')}")
        many: dict[str, Any] = {"nargs": "+"} if get_origin(item.annotation) is tuple else {}
        text = f"{item.description}{_default(name, (defaults or {}).get(name, item.default))}".replace("%", "%%")
        kind = _kind(name, item.annotation, item.metadata)
        parser.add_argument(*flags, dest=name, default=argparse.SUPPRESS, metavar=kind, help=text, **many)


def _own_first(options: type[RunOptions]) -> list[str]:
    """The command's own options before those that it shares with others."""
    names = [name for cls in options.__mro__ for name in vars(cls).get("__annotations__", {})]
    known = fields_of(options)
    return [name for name in names if name in known and known[name].annotation is not bool]


def _is_switch(name: str, item: FieldInfo) -> bool:
    """Whether an option of a command is on where its flag is given; one is for the project's own processes."""
    return item.annotation is bool and name != "worker"


def _kind(name: str, annotation: Any, limits: Sequence[Any]) -> str:
    """What a flag's value is, as --help shows it."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    if get_origin(annotation) is Annotated:
        return _kind(name, options[0], options[1:])
    if get_origin(annotation) is Literal:
        return "|".join(map(str, options))
    if get_origin(annotation) is tuple:
        return _kind(name, options[0], ())
    if len(options) > 1:
        return "|".join(_kind(name, option, limits) for option in options)
    if options:
        kind = _kind(name, options[0], limits)
        return kind if options[0] is str else f"{kind}|none"
    if annotation is str:
        return _TEXTS.get(name, "FOLDER" if name.endswith("dir") else "NAME")
    if annotation is float:
        return _range(limits) or "FLOAT"
    return {int: "INT", bool: "yes/no"}[annotation]


def _range(limits: Sequence[Any]) -> str:
    """From 0 to a number, where that is what is allowed; else empty."""
    low, high = (
        [getattr(limit, name) for limit in limits for name in names if hasattr(limit, name)]
        for names in (("ge", "gt"), ("le", "lt"))
    )
    return f"0-{high[0]:g}" if low == [0] and high else ""


def _default(name: str, value: Any) -> str:
    """The default as the page of parameters writes it; of places and names only where there is one."""
    optional = name not in fields_of(TrainingParameters)
    return "" if optional and value in (None, ()) else f" [{shown(value)}]"
