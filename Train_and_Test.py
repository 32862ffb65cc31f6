"""Train, test and search: the command line that all scripts share.

    python Train_and_Test.py --architecture HPS --dataset Cifar10Mnist --k 0.01 0.8 0.19
    python Train_and_Test.py test src/Sparse_models/MODEL.pth
    python Train_and_Test.py search --architecture MDMTN --dataset MultiMnist --k0 0.001

The first trains one network and tests it, the second tests a saved one, the third trains a network for each of a
family of preference vectors and keeps the best. --help after each of them lists its flags.
"""

from __future__ import annotations

import argparse
import os
import sys
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: same seed, same result

import numpy as np
import torch
from tqdm import tqdm

from Data_loaders.loaders import Splits, make_splits
from Data_loaders.registry import DATASETS, dataset_entry
from src.models.multi_task import MultiTaskNetwork
from src.models.registry import ARCHITECTURES, Architecture, check_architecture, load_model
from src.utils.command import Parser, exit_code
from src.utils.errors import UserError
from src.utils.sparsity.metrics import RowCounts, count_layers, total
from src.utils.study.preference_vectors import preference_family
from src.utils.study.sweep import SearchOutcome, search
from src.utils.training.defaults import default_parameters
from src.utils.training.engine import EpochRecord, Observer, evaluate
from src.utils.training.parameters import TrainingParameters
from src.utils.training.run import (
    DEVICES,
    FinishedRun,
    Problem,
    RunConfig,
    load_dataset,
    resume_run,
    run_arithmetic,
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


def train_and_test(
    network: MultiTaskNetwork,
    splits: Splits,
    parameters: TrainingParameters,
    *,
    name: str = "own",
    task_names: Sequence[str] | None = None,
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
        seed: of the order of the batches.
        output_dir: folder under which everything is written; None is the project.
        observer: told of the progress.
        resume: folder of an interrupted run of the same network, data and parameters.

    Raises:
        UserError: if network, labels and parameters do not belong together.
    """
    tasks = splits.train.labels.shape[1]
    device = "cuda" if splits.train.images.is_cuda else "cpu"
    config = RunConfig(script=name, architecture="own", dataset=name, seed=seed, output_dir=output_dir, device=device)
    with torch.no_grad():
        outputs = network(splits.validation.images[:2])
    architecture = Architecture("own", name, tuple(output.shape[1] for output in outputs))
    names = tuple(task_names or (f"task {task + 1}" for task in range(tasks)))
    problem = Problem(name, names, splits, architecture, network)
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

    def initial(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Default training parameters; a demo has a shorter schedule, no k_0 another one than a sparse training."""
        entry = dataset_entry(self.dataset)
        check_architecture(self.architecture)
        objectives = len(self.k) if self.k is not None else 2 if self.architecture == "STL" else 3
        k = self.k if self.k is not None else (0.0,) + (1 / (objectives - 1),) * (objectives - 1)
        values = default_parameters(entry.backbone, self.architecture, sparsity=k[0] > 0, demo="--demo" in arguments)
        return {**values, "w": k, "num_tasks": objectives, "a": (0.0,) * objectives, **self.defaults}

    def config(self, arguments: argparse.Namespace) -> RunConfig:
        """The run's configuration, with the bundled data for a demo."""
        dataset = dataset_entry(self.dataset).demo if arguments.demo else self.dataset
        flags = {name: getattr(arguments, name) for name in _CONFIG_FLAGS}
        return RunConfig(script=self.script, architecture=self.architecture, dataset=dataset, **flags)


def main(arguments: Sequence[str]) -> None:
    """The command ``python Train_and_Test.py``."""
    commands = {"test": _test, "search": _search}
    if arguments and arguments[0] in commands:
        commands[arguments[0]](arguments[1:])
        return
    plan = _plan_from(arguments, needs_k=True)
    if plan is not None:
        _train(plan, arguments, __doc__)


def _plan_from(arguments: Sequence[str], *, needs_k: bool) -> _Plan | None:
    """Read the flags that decide which defaults hold; None if only help was asked for."""
    parser = Parser(description=__doc__, add_help=False)
    _add_choice_flags(parser)
    parser.add_argument("--k", "--w", dest="w", type=_number, nargs="+")
    parser.add_argument("--task", type=_whole)
    known, _ = parser.parse_known_args(arguments)
    k = tuple(known.w) if known.w else None
    if needs_k and k is None and not {"--help", "-h", "--resume"} & set(arguments):
        raise UserError("the preference vector is missing; give it with --k")
    return _Plan("Train_and_Test", known.architecture, known.dataset, k, known.task, {})


def _train(plan: _Plan, arguments: Sequence[str], description: str | None) -> None:
    initial = plan.initial(arguments)
    parser = _parser(plan, initial, description)
    parser.add_argument("--resume", metavar="RUN", help="go on with the interrupted run in this folder")
    flags = parser.parse_args(arguments)
    observer = ConsoleObserver(quiet=flags.quiet)
    if flags.resume:
        _show(resume_run(Path(flags.resume), observer))
    else:
        _show(start_run(plan.config(flags), _parameters(flags), observer))


def _search(arguments: Sequence[str]) -> None:
    """Train a family of preference vectors and keep the best."""
    plan = _plan_from(arguments, needs_k=False)
    assert plan is not None
    k0 = Parser(add_help=False)
    k0.add_argument("--k0", type=_number, default=1e-3, help="preference of the sparsity objective [0.001]")
    k0.add_argument("--resolution", type=_whole, help="train a lattice of this resolution over the tasks instead")
    chosen, _ = k0.parse_known_args(arguments)
    tasks = 1 if plan.architecture == "STL" else 2
    vectors = preference_family(chosen.k0, tasks, chosen.resolution or (1 if tasks == 1 else None))
    plan = _Plan(plan.script, plan.architecture, plan.dataset, vectors[0], plan.task, {})
    parser = _parser(plan, plan.initial(arguments), _search.__doc__, parents=[k0])
    flags = parser.parse_args(arguments)
    config, parameters = plan.config(flags), _parameters(flags)
    observer = ConsoleObserver(quiet=flags.quiet)
    names = load_dataset(config, observer).task_names
    announce = (lambda text: None) if flags.quiet else (lambda text: tqdm.write(text, file=sys.stderr))
    _show_search(search(config, parameters, vectors, observer, names, announce), names)


@run_arithmetic()
def _test(arguments: Sequence[str]) -> None:
    """Test a saved model on the test data of its data set."""
    parser = Parser(prog="Train_and_Test.py test", description=_test.__doc__)
    parser.add_argument("model", type=Path, help="model file")
    for name in ("device", "data_dir"):
        _add_config_flag(parser, name)
    flags = parser.parse_args(arguments)
    saved = load_model(flags.model)
    results = saved.results
    config = RunConfig(
        script="test",
        architecture=saved.architecture.name,
        dataset=results["dataset"],
        task=results["task"],
        data_seed=results["data_seed"],
        device=flags.device,
        data_dir=flags.data_dir,
    )
    dataset = load_dataset(config, ConsoleObserver(quiet=False))
    splits = make_splits(dataset, config.torch_device())
    network = saved.network.to(config.torch_device())
    layers = network.growl_layers(saved.parameters["skip_layer"])
    _show_accuracies(
        dataset.task_names, evaluate(network, splits.test).accuracy, evaluate(network, splits.validation).accuracy
    )
    _show_rows(total(count_layers({name: layer.weight for name, layer in layers.items()}).values()))


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
}


def _parser(
    plan: _Plan, initial: dict[str, Any], description: str | None, parents: Sequence[Parser] = ()
) -> argparse.ArgumentParser:
    """A flag for every training parameter and every field of the run's configuration."""
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
    flags = [f"--{name}"] + ([f"--{name.replace('_', '-')}"] if name.endswith("_dir") else [])
    kind = _converter(typing.get_type_hints(RunConfig)[name])
    parser.add_argument(
        *flags, dest=name, type=kind, default=default, help=_help(_CONFIG_FLAGS[name], default), metavar="VALUE"
    )


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
            self._close()
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
            self._close()

    def message(self, text: str) -> None:
        tqdm.write(f"note: {text}", file=sys.stderr)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


_BAR = "{desc} {bar:20} {n:.1f}/{total} epochs, {elapsed}<{remaining}, {postfix}"


def _show(run: FinishedRun) -> None:
    """Print the final table and the names of the files."""
    results = run.results
    _show_accuracies(run.task_names, results.test_accuracy, results.validation_accuracy)
    _show_rows(results.rows)
    if results.reached_min_sparsRate is False:
        print("min_sparsRate was NOT reached")
    print(f"\n{results.seconds['total']:.1f} s in all, {results.seconds['epoch']:.2f} s per epoch; written:")
    for path in run.files:
        print(f"  {path}")


def _show_accuracies(task_names: Sequence[str], test: Sequence[float], validation: Sequence[float]) -> None:
    print("\n" + " " * (_WIDTH + 2) + "test accuracy  validation accuracy")
    for name, *values in zip((*task_names, "mean"), _with_mean(test), _with_mean(validation), strict=True):
        print(f"{name:<{_WIDTH}}  {values[0]:11.2f} %  {values[1]:17.2f} %")


def _show_rows(counts: RowCounts) -> None:
    zero = f"({counts.rows - counts.nonzero} of {counts.rows} rows)"
    print(f"{'sparsity rate':<{_WIDTH}}  {counts.sparsity_rate:11.2f} %  {zero}")
    print(f"{'compression rate':<{_WIDTH}}  {counts.compression_rate:11.2f}")
    print(f"{'parameter sharing':<{_WIDTH}}  {counts.parameter_sharing:11.2f}")


def _show_search(outcome: SearchOutcome, task_names: Sequence[str]) -> None:
    """Print a line per preference vector, the best one marked, and the names of the files."""
    print("\nvalidation accuracy, %: " + ", ".join(task_names))
    for point in outcome.points:
        shown = ", ".join(f"{value:g}" for value in point.k)
        accuracies = "  ".join(f"{value:6.2f}" for value in (*point.validation_accuracy,))
        mark = "  <- best" if point is outcome.best else ""
        print(f"k = ({shown}):  {accuracies}  mean {np.mean(point.validation_accuracy):6.2f}, "
              f"zero rows {point.sparsity_rate:5.1f} %{mark}")  # fmt: skip
    print("\nwritten:")
    for path in outcome.files:
        print(f"  {path}")


_WIDTH = 17


def _with_mean(values: Sequence[float]) -> list[float]:
    return [*values, float(np.mean(values))]


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
