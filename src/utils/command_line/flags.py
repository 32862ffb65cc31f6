"""The flags of all commands: one for every field of a run's configuration and every training parameter.

They are parsed once, as texts; what they are and whether they are allowed, the checked dataclasses decide. Nothing
here needs torch, so that --help answers at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from Data_loaders.registry import DATASETS, dataset_entry
from src.models.names import ARCHITECTURE_NAMES, check_architecture
from src.utils.checked import fields_of, from_plain
from src.utils.command_line.parser import Parser
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig
from src.utils.training.defaults import default_parameters
from src.utils.training.parameters import TrainingParameters

SET_BY_SCRIPTS = ("script", "architecture", "dataset")


@dataclass(frozen=True)
class Plan:
    """What a script or command trains unless its flags say otherwise.

    Attributes:
        script: its file.
        architecture, dataset: what is trained, on what.
        k: preference vector; None where it has to be given or does not matter.
        task: the only task that is trained.
        defaults: training parameters that differ from the data set's defaults.
        choice: whether architecture and data set are flags, too.
        demo: whether the bundled data and a short schedule are wanted.
    """

    script: Path
    architecture: str = "MDMTN"
    dataset: str = "MultiMnist"
    k: tuple[float, ...] | None = None
    task: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    choice: bool = False
    demo: bool = False

    @property
    def tasks(self) -> int:
        """Number of tasks that are trained."""
        return 1 if self.architecture == "STL" else dataset_entry(self.dataset).tasks

    @property
    def method(self) -> str:
        """The training method."""
        return str(self.defaults.get("method", "Chebyshev"))

    def parameters(self) -> dict[str, Any]:
        """The training parameters; a demo, another method and k_0 = 0 have schedules of their own."""
        check_architecture(self.architecture)
        k = self.k if self.k is not None else (0.0,) + (1 / self.tasks,) * self.tasks
        values = default_parameters(
            dataset_entry(self.dataset).backbone,
            self.architecture,
            method=self.method,
            sparsity=_number(k[0]) > 0 or not self.defaults.get("Sparsity_study", True),
            demo=self.demo,
        )
        return {**values, "w": k, **self.defaults}

    def given(self, flags: Mapping[str, Any]) -> Plan:
        """The plan with what the flags say of it."""
        chosen = {name: flags[name] for name in ("architecture", "dataset", "task", "demo") if name in flags}
        defaults = {**self.defaults, **{name: flags[name] for name in ("method",) if name in flags}}
        return replace(self, **chosen, k=flags.get("w", self.k), defaults=defaults)


@dataclass(frozen=True)
class Request:
    """What is wanted, after the flags are read.

    Attributes:
        plan: with what the flags say of it.
        config, parameters: of the run, or of all runs of a sweep.
        options: the command's other flags.
        quiet: whether progress is to be shown.
        given: the flags that were given.
    """

    plan: Plan
    config: RunConfig
    parameters: TrainingParameters
    options: argparse.Namespace
    quiet: bool
    given: Mapping[str, Any]


AddFlags = Callable[[argparse._ArgumentGroup], None]


def read_flags(
    plan: Plan,
    arguments: Sequence[str],
    description: str | None,
    *,
    command: str = "",
    add: AddFlags = lambda group: None,
    without: Sequence[str] = (),
    adapt: Callable[[Plan, Mapping[str, Any]], Plan] = lambda plan, given: plan,
) -> Request:
    """Read the flags of a command; leaves with its help where that is asked for.

    Args:
        plan: what is trained without flags.
        arguments: the command line.
        description: for ``--help``.
        command: its name after that of the script.
        add: adds the command's own flags; without a default they are None.
        without: training parameters that are no flags of this command.
        adapt: changes the plan by the flags that were given.

    Raises:
        UserError: for an unknown flag, or a value that is not allowed.
    """

    def parser(shown: Mapping[str, Any]) -> Parser:
        made = Parser(description=description, add_help=False)
        made.prog += f" {command}".rstrip()
        own = made.add_argument_group("this command")
        own.add_argument("-h", "--help", action="store_true", help="show this and leave")
        add(own)
        _add_fields(made.add_argument_group("running"), plan, shown)
        training = made.add_argument_group("training parameters")
        for name, item in fields_of(TrainingParameters).items():
            if name not in without:
                _add_field(training, name, item, shown.get(name, item.default))
        return made

    options = parser({}).parse_args(arguments)
    names = {*fields_of(RunConfig), *fields_of(TrainingParameters), "demo", "quiet"}
    given = {name: _text(value) for name, value in vars(options).items() if name in names}
    wanted = adapt(plan.given(given), {**vars(options), **given})
    if options.help:
        parser({**wanted.parameters(), "task": wanted.task}).print_help()
        raise SystemExit(0)
    return Request(
        wanted,
        _config(wanted, given),
        from_plain(TrainingParameters, {**wanted.parameters(), **_only(TrainingParameters, given)}),
        options,
        "quiet" in given,
        given,
    )


def add_worker_flags(group: argparse._ArgumentGroup) -> None:
    """Flags of a command with many trainings."""
    group.add_argument("--jobs", type=whole, default=1, metavar="N", help="trainings side by side [1]")
    group.add_argument("--dask", metavar="ADDRESS", help="train on the Dask cluster of this scheduler instead")


def add_config_flags(parser: Parser, *names: str) -> None:
    """Flags of a command that trains nothing, for some fields of a run's configuration."""
    for name in names:
        _add_field(parser, name, fields_of(RunConfig)[name], None)


def number(text: str) -> float:
    """A flag's value as a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def whole(text: str) -> int:
    """A flag's value as a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _add_fields(group: argparse._ArgumentGroup, plan: Plan, shown: Mapping[str, Any]) -> None:
    if plan.choice:
        for name, known in (("architecture", ARCHITECTURE_NAMES), ("dataset", DATASETS)):
            text = f"one of {', '.join(known)} [{getattr(plan, name)}]"
            group.add_argument(f"--{name}", default=argparse.SUPPRESS, metavar="NAME", help=text)
    for name, item in fields_of(RunConfig).items():
        if name not in SET_BY_SCRIPTS:
            _add_field(group, name, item, shown.get(name, item.default))
    group.add_argument(
        "--demo", action="store_true", default=argparse.SUPPRESS,
        help="train on bundled data with a short schedule, without any download",
    )  # fmt: skip
    group.add_argument(
        "--quiet", action="store_true", default=argparse.SUPPRESS, help="no progress, only the final table"
    )


def _add_field(group: Any, name: str, item: FieldInfo, default: Any) -> None:
    flags = ["--k", "--w"] if name == "w" else [f"--{name}"]
    if name.endswith("_dir"):
        flags.append(f"--{name.replace('_', '-')}")
    many: dict[str, Any] = {"nargs": "+"} if get_origin(item.annotation) is tuple else {}
    text = f"{item.description}{_shown(default)}".replace("%", "%%")
    group.add_argument(*flags, dest=name, default=argparse.SUPPRESS, metavar=_kind(item.annotation), help=text, **many)


def _kind(annotation: Any) -> str:
    """What a flag's value is, as --help shows it."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    if get_origin(annotation) is Literal:
        return "|".join(map(str, options))
    if options:
        return _kind(options[0]) + ("|none" if type(None) in get_args(annotation) else "")
    return {float: "NUMBER", int: "N", bool: "yes|no", str: "NAME"}[annotation]


def _shown(default: Any) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return f" [{'yes' if default else 'no'}]"
    return f" [{' '.join(f'{value:g}' for value in default)}]" if isinstance(default, tuple) else f" [{default}]"


def _text(value: Any) -> Any:
    """Texts of a flag as the dataclasses take them."""
    if isinstance(value, list):
        return tuple(value)
    return None if isinstance(value, str) and value.lower() == "none" else value


def _only(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in fields_of(cls)}


def _config(plan: Plan, given: Mapping[str, Any]) -> RunConfig:
    """The run's configuration, with the bundled data for a demo."""
    dataset = dataset_entry(plan.dataset).demo if plan.demo else plan.dataset
    values = {"architecture": plan.architecture, "dataset": dataset, "task": plan.task}
    return from_plain(RunConfig, {**_only(RunConfig, given), "script": plan.script.stem, **values})


def _number(value: Any) -> float:
    """The value, 0 for what is not a number: that is refused later, by its name."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def refuse_beside_resume(given: Mapping[str, Any]) -> None:
    """Refuse further flags for a run that is continued: it has its own.

    Raises:
        UserError: naming them.
    """
    others = [f"--{'k' if name == 'w' else name}" for name in given if name != "quiet"]
    if others:
        raise UserError(f"--resume goes on with a run as it was started; not allowed beside it: {', '.join(others)}")
