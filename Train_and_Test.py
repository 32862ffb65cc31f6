"""Load data, build a network, train, test and save: the command line that all scripts share."""

from __future__ import annotations

import argparse
import os
import sys
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: same seed, same result

import numpy as np
from tqdm import tqdm

from Data_loaders.registry import DATASETS
from src.utils.errors import UserError
from src.utils.training.defaults import default_parameters
from src.utils.training.engine import EpochRecord, Observer
from src.utils.training.parameters import TrainingParameters
from src.utils.training.run import DEVICES, FinishedRun, RunConfig, resume_run, start_run

BAD_INPUT, INTERRUPTED = 2, 130


def run_example(
    script: str, architecture: str, dataset: str, k: Sequence[float], *, description: str | None, **defaults: Any
) -> None:
    """What an example script does: read the command line, train, show and save; leaves with an exit code.

    Args:
        script: the script's ``__file__``.
        architecture, dataset: what to train, on what.
        k: preference vector (sparsity, task 1, ..., task m).
        description: for ``--help``.
        defaults: further :class:`TrainingParameters` that differ from the data set's defaults.
    """
    sys.exit(_guarded(lambda: _example(Path(script).stem, architecture, dataset, k, description, defaults)))


def _example(
    script: str, architecture: str, dataset: str, k: Sequence[float], description: str | None, defaults: dict[str, Any]
) -> None:
    demo = "--demo" in sys.argv[1:]
    entry = DATASETS[dataset]
    initial = {**default_parameters(entry.backbone, architecture, demo=demo), "w": tuple(k), **defaults}
    arguments = _parser(description, initial).parse_args()
    observer = ConsoleObserver(quiet=arguments.quiet)
    if arguments.resume:
        _show(resume_run(Path(arguments.resume), observer))
        return
    parameters = TrainingParameters(
        **{**initial, **{item.name: getattr(arguments, item.name) for item in fields(TrainingParameters)}}
    )
    config = RunConfig(
        script=script,
        architecture=architecture,
        dataset=entry.demo if demo else dataset,
        **{name: getattr(arguments, name) for name in _CONFIG_FLAGS},
    )
    _show(start_run(config, parameters, observer))


_CONFIG_FLAGS = {
    "seed": "of the initial weights and the order of the batches",
    "data_seed": "of the random partners that the images are composed of",
    "device": f"where to compute: {', '.join(DEVICES)}",
    "data_dir": "folder of the data sets; default: $MDMTN_DATA, else Data/",
    "output_dir": "folder under which everything is written; default: the project",
    "main_dir": "folder of the training results, under the output folder",
    "mod_logdir": "folder of the saved models, under the output folder",
    "model": "file of the model to start from, with --is_search no or --Sparsity_study no",
}


class _Parser(argparse.ArgumentParser):
    """Refuses bad arguments in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists what is allowed")


def _parser(description: str | None, initial: dict[str, Any]) -> argparse.ArgumentParser:
    """A flag for every training parameter and every field of the run's configuration."""
    parser = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    running = parser.add_argument_group("running")
    for item in fields(RunConfig):
        if item.name in _CONFIG_FLAGS:
            flags = [f"--{item.name}"] + ([f"--{item.name.replace('_', '-')}"] if item.name.endswith("_dir") else [])
            kind = int if isinstance(item.default, int) else str
            running.add_argument(
                *flags, type=kind, default=item.default, help=_help(_CONFIG_FLAGS[item.name], item.default)
            )
    running.add_argument("--resume", metavar="RUN", help="go on with the interrupted run in this folder")
    running.add_argument(
        "--demo", action="store_true", help="train on bundled digits with a short schedule, no download"
    )
    running.add_argument("--quiet", action="store_true", help="no progress, only the final table")
    training = parser.add_argument_group("training parameters")
    hints = typing.get_type_hints(TrainingParameters)
    for item in fields(TrainingParameters):
        default = initial.get(item.name, item.default)
        flags = ["--k", "--w"] if item.name == "w" else [f"--{item.name}"]
        many = {"nargs": "+"} if typing.get_origin(hints[item.name]) is tuple else {}
        action = _Tuple if many else "store"
        training.add_argument(
            *flags,
            dest=item.name,
            type=_converter(hints[item.name]),
            default=default,
            action=action,
            help=_help(item.metadata["help"], default),
            metavar="VALUE",
            **many,  # type: ignore[arg-type]
        )
    return parser


class _Tuple(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def _help(text: str, default: Any) -> str:
    if default is None or default is MISSING:
        return text.replace("%", "%%")
    shown = " ".join(f"{value:g}" for value in default) if isinstance(default, tuple) else str(default)
    return f"{text} [{shown}]".replace("%", "%%")


def _converter(expected: Any) -> Any:
    """A function from the text of a flag to a value of the expected type."""
    if isinstance(expected, types.UnionType):
        inner = _converter(typing.get_args(expected)[0])
        return lambda text: None if text.lower() == "none" else inner(text)
    if typing.get_origin(expected) is tuple:
        return _number
    return {bool: _yes_or_no, int: _whole, float: _number, str: str}[expected]


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


class ConsoleObserver(Observer):
    """Progress bars on a terminal, a line per epoch elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[NoReturn] | None = None
        self._epochs = 0

    def phase_starts(self, name: str, epochs: int, done: int) -> None:
        self._epochs = done
        if self._quiet:
            return
        if sys.stderr.isatty():
            self._bar = tqdm(total=epochs, initial=done, desc=name, unit="epoch", bar_format=_BAR, file=sys.stderr)
        else:
            print(f"phase {name}: {epochs} epochs" + (f", {done} done before" if done else ""), flush=True)

    def batch_ends(self, share: float) -> None:
        if self._bar is not None:
            self._bar.n = round(self._epochs + share, 2)
            self._bar.update(0)

    def epoch_ends(self, record: EpochRecord) -> None:
        self._epochs += 1
        if self._quiet:
            return
        accuracies = " / ".join(f"{value:.2f}" for value in record.validation_accuracy)
        text = f"validation {accuracies} %, zero rows {record.sparsity_rate:.1f} %"
        if self._bar is None:
            print(f"  {record.phase} epoch {record.epoch}: {text}, {record.seconds:.1f} s", flush=True)
            return
        self._bar.set_postfix_str(text)
        if self._epochs >= (self._bar.total or 0):
            self._bar.close()

    def message(self, text: str) -> None:
        tqdm.write(f"note: {text}", file=sys.stderr)


_BAR = "{desc} {bar:20} {n:.1f}/{total} epochs, {elapsed}<{remaining}, {postfix}"


def _show(run: FinishedRun) -> None:
    """Print the final table and the names of the files."""
    results = run.results
    width = max(len(name) for name in (*run.task_names, "parameter sharing"))
    print("\n" + " " * (width + 2) + "test accuracy  validation accuracy")
    rows = zip(
        (*run.task_names, "mean"),
        _with_mean(results.test_accuracy),
        _with_mean(results.validation_accuracy),
        strict=True,
    )
    for name, test, validation in rows:
        print(f"{name:<{width}}  {test:11.2f} %  {validation:17.2f} %")
    counts = results.rows
    zero = f"({counts.rows - counts.nonzero} of {counts.rows} rows)"
    print(f"{'sparsity rate':<{width}}  {counts.sparsity_rate:11.2f} %  {zero}")
    print(f"{'compression rate':<{width}}  {counts.compression_rate:11.2f}")
    print(f"{'parameter sharing':<{width}}  {counts.parameter_sharing:11.2f}")
    if results.reached_min_sparsRate is False:
        print("min_sparsRate was NOT reached")
    print(f"\n{results.seconds['total']:.1f} s in all, {results.seconds['epoch']:.2f} s per epoch; written:")
    for path in run.files:
        print(f"  {path}")


def _with_mean(values: list[float]) -> list[float]:
    return [*values, float(np.mean(values))]


def _guarded(work: Any) -> int:
    """Run ``work``; bad input ends in one line and exit code 2, an interruption in one line and 130."""
    try:
        work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
