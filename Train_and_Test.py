"""Train, test, compress, export, choose, search, compare and draw: the command line that all scripts share.

    python Train_and_Test.py --architecture HPS --dataset Cifar10Mnist --k 0.01 0.15 0.84
    python Train_and_Test.py test src/Sparse_models/MODEL.pth
    python Train_and_Test.py compress src/Sparse_models/MODEL.pth
    python Train_and_Test.py export src/Sparse_models/MODEL.pth
    python Train_and_Test.py predict MODEL IMAGE
    python Train_and_Test.py models --max_bytes 300000
    python Train_and_Test.py search --architecture MDMTN --dataset MultiMnist --k0 0.001
    python Train_and_Test.py sparsity_study --architecture MDMTN --dataset MultiMnist --schedule fast
    python Train_and_Test.py compare logs/STUDY logs/STUDY
    python Train_and_Test.py draw logs/FOLDER

The first trains one network and tests it, the second tests a saved one, the third writes a smaller network with the
same answers, export one for ONNX Runtime. predict says what pictures show, models lists the saved models within a
budget. search trains a network for each of a family of preference vectors and keeps the best,
sparsity_study shows accuracy against size from dense to nearly empty networks, compare draws several fronts in one
picture, draw draws anew what a run or a study draws at its end. --help after each of them lists its flags.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from src.models.names import OWN
from src.utils.command_line import commands
from src.utils.command_line.flags import Plan
from src.utils.command_line.parser import exit_code
from src.utils.errors import UserError
from src.utils.training.parameters import TrainingParameters

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    from Data_loaders.streams import AnySplits
    from src.models.multi_task import MultiTaskNetwork
    from src.utils.runs.own import OwnProblem
    from src.utils.runs.results import Results
    from src.utils.tasks import Task
    from src.utils.training.records import Observer


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
    plan = Plan(Path(script).resolve(), architecture, dataset, k, task, defaults)
    sys.exit(exit_code(lambda: commands.train(plan, sys.argv[1:], description)))


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
    plan = Plan(Path(script).resolve(), architecture, dataset, k, defaults=defaults)
    sys.exit(exit_code(lambda: commands.repeat(plan, sys.argv[1:], description, repetitions)))


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
    plan = Plan(Path(script).resolve(), architecture, dataset, k, defaults=defaults)
    sys.exit(exit_code(lambda: commands.search_and_train(plan, sys.argv[1:], description, candidates)))


def run_pareto_study(script: str, architecture: str, dataset: str, *, description: str | None, **defaults: Any) -> None:
    """What a Pareto-front study does; leaves with an exit code. Arguments as in :func:`run_example`."""
    plan = Plan(Path(script).resolve(), architecture, dataset, defaults=defaults)
    sys.exit(exit_code(lambda: commands.study(plan, sys.argv[1:], description)))


def run_own_problem(
    script: str,
    name: str,
    make: Callable[[], OwnProblem],
    *,
    k: Sequence[float],
    description: str | None,
    **defaults: Any,
) -> None:
    """What a user's own script does with a problem of their own; leaves with an exit code.

    Without a command it trains; ``search``, ``repeat``, ``study``, ``test MODEL`` and ``compress MODEL`` as first word
    do what the commands and scripts of those names do, and ``--resume FOLDER`` goes on. Trainings of a search or study
    are processes that start the script again.

    Args:
        script: the script's ``__file__``.
        name: of the data, for files and pictures.
        make: makes data, tasks and network.
        k: preference vector (sparsity, task 1, ..., task m).
        description: for ``--help``.
        defaults: further :class:`TrainingParameters` that differ from the general defaults.
    """
    plan = Plan(Path(script).resolve(), OWN, name, list(k), defaults=defaults, own=cache(make))
    sys.exit(exit_code(lambda: commands.own(plan, sys.argv[1:], description)))


def train_and_test(
    network: MultiTaskNetwork,
    splits: AnySplits | Sequence[DataLoader[Any] | Dataset[Any]],
    parameters: TrainingParameters,
    *,
    name: str = "own",
    tasks: Sequence[Task] | None = None,
    teachers: Sequence[nn.Module] = (),
    seed: int = 0,
    output_dir: str | None = None,
    observer: Observer | None = None,
    resume: Path | None = None,
) -> Results:
    """Train a network of one's own on data of one's own, and leave the files every run leaves.

    Args:
        network: with its initial weights, for example an HPS or MDMTN of one's own trunk and heads.
        splits: training, validation and test tensors with labels; or three DataLoaders or data
            sets of (inputs, labels). Inputs are a tensor, or a tuple or dict of tensors, as the network reads them;
            labels (N, m), or a tuple of tensors, one per task, or a dict of them by the tasks' names.
        parameters: ``w`` for sparsity and the m tasks; ``skip_layer`` names the input layer by its number of inputs.
        name: of the data, for files and pictures.
        tasks: what the outputs of the network are; None: classifications, with labels (N, m).
        teachers: a trained network per task, for a method that learns from them.
        seed: of the order of the batches.
        output_dir: folder under which everything is written; None is the project.
        observer: told of the progress; None prints notes only.
        resume: folder of an interrupted run of the same network, data and parameters.

    Raises:
        UserError: if network, labels and parameters do not belong together.
    """
    from src.utils.report.console import ConsoleObserver
    from src.utils.report.run import draw_run
    from src.utils.runs.config import Run, RunConfig
    from src.utils.runs.own import own_problem
    from src.utils.runs.run import resume as resume_run
    from src.utils.runs.run import train_run

    problem = own_problem(name, network, splits, tasks, teachers)
    device: Literal["cpu", "cuda"] = "cuda" if next(network.parameters()).is_cuda else "cpu"
    config = RunConfig(script=name, architecture=OWN, dataset=name, seed=seed, output_dir=output_dir, device=device)
    run = Run.new(config, parameters) if resume is None else resume_run(resume)
    results = train_run(run, observer or ConsoleObserver(quiet=True), problem)
    draw_run(results.folder)
    return results


def main(arguments: Sequence[str]) -> None:
    """The command ``python Train_and_Test.py``."""
    plan = Plan(Path(__file__).resolve(), choice=True)
    others = {
        "test": commands.test,
        "compress": commands.compress,
        "export": commands.export,
        "predict": commands.predict,
        "models": commands.models,
        "search": lambda rest: commands.search(plan, rest),
        "sparsity_study": lambda rest: commands.sparsity_study(plan, rest),
        "compare": commands.compare,
        "draw": commands.draw,
    }
    if not arguments or arguments[0].startswith("-"):
        commands.train(plan, arguments, __doc__)
    elif arguments[0] in others:
        others[arguments[0]](arguments[1:])
    else:
        known = ", ".join(others)
        raise UserError(f"unknown command {arguments[0]!r}; known: {known}; without a command a network is trained")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
