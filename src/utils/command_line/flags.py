"""The flags of all commands: one for every option, field of a run's configuration, and training parameter.

They are parsed once, as texts; what they are and whether they are allowed, the checked dataclasses decide. Nothing
here needs torch, so that --help answers at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic.fields import FieldInfo

from Data_loaders.registry import DATASETS, dataset_entry
from src.models.names import ARCHITECTURE_NAMES, check_architecture
from src.utils.checked import fields_of, from_plain
from src.utils.command_line.options import RunOptions
from src.utils.command_line.parser import Parser
from src.utils.command_line.without_effect import without_effect
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig
from src.utils.training.defaults import default_parameters
from src.utils.training.parameters import TrainingParameters

Options = TypeVar("Options", bound=RunOptions)
SET_BY_SCRIPTS = ("script", "architecture", "dataset")
SWITCHES = {
    "demo": "train on bundled data with a short schedule, without any download",
    "quiet": "no progress, only the final table",
}


@dataclass(frozen=True)
class Plan:
    """What a script or command trains unless its flags say otherwise.

    Attributes:
        script: its file.
        architecture, dataset: what is trained, on what.
        k: preference vector, a list or tuple; None where it has to be given or does not matter.
        task: the only task that is trained.
        defaults: training parameters and options that differ from the usual ones.
        in_demo: those that differ in a demo.
        choice: whether architecture and data set are flags, too.
        demo: whether the bundled data and a short schedule are wanted.
    """

    script: Path
    architecture: str = "MDMTN"
    dataset: str = "MultiMnist"
    k: Any = None
    task: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    in_demo: Mapping[str, Any] = field(default_factory=dict)
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
        if not isinstance(self.k, list | tuple | None):
            raise UserError(f"k is {self.k!r}; allowed: a list of numbers, for sparsity and each task")
        k = tuple(self.k) if self.k else _equal_vector(0.0, self.tasks)
        values = default_parameters(
            dataset_entry(self.dataset).backbone,
            self.architecture,
            method=self.method,
            sparsity=_number(k[0]) > 0 or not self.defaults.get("Sparsity_study", True),
            demo=self.demo,
        )
        return {**values, "w": k, **_only(TrainingParameters, self.changed())}

    def changed(self) -> dict[str, Any]:
        """Training parameters and options that differ from the usual ones."""
        return {**self.defaults, **(self.in_demo if self.demo else {})}

    def given(self, flags: Mapping[str, Any]) -> Plan:
        """The plan with what the flags say of it."""
        chosen = {name: flags[name] for name in ("architecture", "dataset", "task", "demo") if name in flags}
        defaults = {**self.defaults, **{name: flags[name] for name in ("method", "k0") if name in flags}}
        plan = replace(self, **chosen, k=flags.get("w", self.k), defaults=defaults)
        k0 = defaults.get("k0")
        return plan if plan.k or k0 is None else replace(plan, k=_equal_vector(_number(k0), plan.tasks))


@dataclass(frozen=True)
class Request(Generic[Options]):
    """What is wanted, after the flags are read.

    Attributes:
        plan: with what the flags say of it.
        config, parameters: of the run, or of all runs of a sweep.
        options: of the command.
        quiet: whether no progress is to be shown.
        given: names of the flags that were given.
        notes: what the user should know of them.
    """

    plan: Plan
    config: RunConfig
    parameters: TrainingParameters
    options: Options
    quiet: bool
    given: tuple[str, ...]
    notes: tuple[str, ...]


def read_flags(
    plan: Plan,
    arguments: Sequence[str],
    description: str | None,
    options: type[Options],
    *,
    command: str = "",
    without: Sequence[str] = (),
) -> Request[Options]:
    """Read the flags of a command; leaves with its help where that is asked for.

    Args:
        plan: what is trained without flags.
        arguments: the command line.
        description: for ``--help``.
        options: the command's own flags.
        command: its name after that of the script.
        without: training parameters that are no flags of this command.

    Raises:
        UserError: for an unknown flag, or a value that is not allowed.
    """
    values = vars(_parser(plan, {}, description, options, command, without).parse_args(arguments))
    asked_for_help = values.pop("help", False)
    given = {name: _text(value) for name, value in values.items()}
    wanted = plan.given(given)
    if asked_for_help:
        shown = {**wanted.changed(), **wanted.parameters(), "task": wanted.task}
        _parser(plan, shown, description, options, command, without).print_help()
        raise SystemExit(0)
    dataset = dataset_entry(wanted.dataset).demo if wanted.demo else wanted.dataset
    names = {"script": plan.script.stem, "architecture": wanted.architecture, "dataset": dataset, "task": wanted.task}
    own = from_plain(options, _only(options, {**wanted.changed(), **given}))
    parameters = from_plain(TrainingParameters, {**wanted.parameters(), **_only(TrainingParameters, given)})
    return Request(
        plan=wanted,
        config=from_plain(RunConfig, {**_only(RunConfig, given), **names}),
        parameters=parameters,
        options=own,
        quiet="quiet" in given,
        given=tuple(given),
        notes=without_effect(given, parameters),
    )


def add_flags(parser: Any, cls: type, names: Sequence[str], shown: Mapping[str, Any] | None = None) -> None:
    """A flag for each of some fields of a checked dataclass; without being given it has no value."""
    for name in names:
        item = fields_of(cls)[name]
        _add_field(parser, name, item, (shown or {}).get(name, item.default))


def _parser(
    plan: Plan,
    shown: Mapping[str, Any],
    description: str | None,
    options: type[RunOptions],
    command: str,
    without: Sequence[str],
) -> Parser:
    made = Parser(description=description, add_help=False, argument_default=argparse.SUPPRESS)
    made.prog += f" {command}".rstrip()
    own = made.add_argument_group("this command")
    own.add_argument("-h", "--help", action="store_true", help="show this and leave")
    add_flags(own, options, [name for name in fields_of(options) if name != "worker"], shown)
    own.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    running = made.add_argument_group("running")
    if plan.choice:
        for name, known in (("architecture", ARCHITECTURE_NAMES), ("dataset", DATASETS)):
            text = f"one of {', '.join(known)} [{getattr(plan, name)}]"
            running.add_argument(f"--{name}", metavar="NAME", help=text)
    add_flags(running, RunConfig, [name for name in fields_of(RunConfig) if name not in SET_BY_SCRIPTS], shown)
    for name, text in SWITCHES.items():
        running.add_argument(f"--{name}", action="store_true", help=text)
    training = made.add_argument_group("training parameters")
    names = [name for name in fields_of(TrainingParameters) if name not in without]
    add_flags(training, TrainingParameters, names, shown)
    return made


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


def _equal_vector(k0: float, tasks: int) -> tuple[float, ...]:
    return (k0, *((1 - k0) / tasks,) * tasks)


def _number(value: Any) -> float:
    """The value, 0 for what is not a number: that is refused later, by its name."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
