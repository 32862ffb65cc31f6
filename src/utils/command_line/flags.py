"""The flags of all commands: one for every option, field of a run's configuration, and training parameter.

They are parsed once, as texts; what they are and whether they are allowed, the checked dataclasses decide. Nothing
here needs torch, so that --help answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from Data_loaders.registry import DATASETS, dataset_entry
from src.models.names import ARCHITECTURE_NAMES, check_architecture
from src.utils.checked import fields_of, from_plain
from src.utils.command_line.help import make_parser
from src.utils.command_line.options import RunOptions
from src.utils.command_line.without_effect import idle_flags, without_effect
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig
from src.utils.training.defaults import default_parameters, schedule_parameters
from src.utils.training.parameters import TrainingParameters

if TYPE_CHECKING:
    from src.utils.runs.own import OwnProblem

Options = TypeVar("Options", bound=RunOptions)


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
        own: makes the problem of a user's own script, whose data have the name ``dataset``.
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
    own: Callable[[], OwnProblem] | None = None
    choice: bool = False
    demo: bool = False

    @property
    def tasks(self) -> int:
        """Number of tasks that are trained."""
        if self.own is not None:
            return len(self.k) - 1
        return 1 if self.architecture == "STL" else dataset_entry(self.dataset).tasks

    @property
    def method(self) -> str:
        """The training method."""
        return str(self.defaults.get("method", "Chebyshev"))

    def parameters(self) -> dict[str, Any]:
        """The training parameters; a demo, the fast one, another method and k_0 = 0 have schedules of their own."""
        if not isinstance(self.k, list | tuple | None):
            raise UserError(f"k is {self.k!r}; allowed: a list of numbers, for sparsity and each task")
        k = tuple(self.k) if self.k else _equal_vector(0.0, self.tasks)
        schedule = str(self.defaults.get("schedule", "reference"))
        if self.own is not None:
            return {**schedule_parameters(schedule), "w": k, **_only(TrainingParameters, self.changed())}
        check_architecture(self.architecture)
        values = default_parameters(
            dataset_entry(self.dataset).backbone,
            self.architecture,
            method=self.method,
            sparsity=_number(k[0]) > 0 or not self.defaults.get("Sparsity_study", True),
            demo=self.demo,
            schedule=schedule,
        )
        return {**values, "w": k, **_only(TrainingParameters, self.changed())}

    def changed(self) -> dict[str, Any]:
        """Training parameters and options that differ from the usual ones."""
        return {**self.defaults, **(self.in_demo if self.demo else {})}

    def of_another(self, **changes: Any) -> Plan:
        """The plan of a training that another one needs first: by the same schedule, with its own usual values."""
        same = {name: value for name, value in self.defaults.items() if name == "schedule"}
        return replace(self, **changes, defaults=same, in_demo={})

    def given(self, flags: Mapping[str, Any]) -> Plan:
        """The plan with what the flags say of it."""
        chosen = {name: flags[name] for name in ("architecture", "dataset", "task", "demo") if name in flags}
        defaults = {**self.defaults, **{name: flags[name] for name in ("method", "schedule", "k0") if name in flags}}
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
        ideal: whether the reference point is to be that of single-task networks.
        precision_auto: whether the precision is to be the faster one.
    """

    plan: Plan
    config: RunConfig
    parameters: TrainingParameters
    options: Options
    quiet: bool
    given: tuple[str, ...]
    notes: tuple[str, ...]
    ideal: bool
    precision_auto: bool


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
    texts = {"architecture": ARCHITECTURE_NAMES, "dataset": DATASETS} if plan.choice else {}
    make = partial(
        make_parser,
        options,
        description=description,
        command=command,
        without=without,
        choices={name: f"one of {', '.join(known)} [{getattr(plan, name)}]" for name, known in texts.items()},
    )
    values = vars(make(defaults={}, idle={}).parse_args(arguments))
    asked_for_help = values.pop("help", False)
    given = {name: _text(value) for name, value in values.items()}
    ideal, precision_auto = given.get("a") == ("ideal",), given.get("precision") == "auto"
    wanted = plan.given(given)
    if asked_for_help:
        defaults = {**wanted.changed(), **wanted.parameters(), "task": wanted.task}
        make(defaults=defaults, idle=idle_flags(from_plain(TrainingParameters, wanted.parameters()))).print_help()
        raise SystemExit(0)
    dataset = dataset_entry(wanted.dataset).demo if wanted.demo and wanted.own is None else wanted.dataset
    names = {"script": plan.script.stem, "architecture": wanted.architecture, "dataset": dataset, "task": wanted.task}
    own = from_plain(options, _only(options, {**wanted.changed(), **given}))
    to_be_found = {"a": ideal, "precision": precision_auto}
    known = {name: value for name, value in given.items() if not to_be_found.get(name)}
    parameters = from_plain(TrainingParameters, {**wanted.parameters(), **_only(TrainingParameters, known)})
    return Request(
        plan=wanted,
        config=from_plain(RunConfig, {**_only(RunConfig, given), **names}),
        parameters=parameters,
        options=own,
        quiet="quiet" in given,
        given=tuple(given),
        notes=(*without_effect(given, parameters), *_demo_of_own(wanted)),
        ideal=ideal and parameters.uses_reference,
        precision_auto=precision_auto,
    )


def _demo_of_own(plan: Plan) -> tuple[str, ...]:
    return ("--demo does nothing here: the script has data of its own",) if plan.demo and plan.own else ()


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
