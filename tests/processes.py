"""Processes of a sweep in tests: what they do beside training, as they see nothing that a test patches; or none."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Data_loaders import registry
from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.MultiMnist import load_multidigits
from src.models.backbones import BACKBONES
from src.models.names import OWN
from src.utils.errors import UserError
from src.utils.runs.config import OUTPUT, ROOT, Run
from src.utils.runs.run import train_run
from src.utils.study import workers
from src.utils.study.record import RECORD
from src.utils.study.worker import End, train_apart
from src.utils.training import engine
from src.utils.training.records import Observer

FIRST, SECOND = "k0_0.25_0.75", "k0_0.5_0.5"
"""Names of the trials that something happens to."""
SECONDS = 120
"""The longest that anything is waited for."""


def script_with(folder: Path, call: str) -> Path:
    """A script that does what Train_and_Test.py does, its processes too, after a call of a function of this module."""
    script = folder / "script.py"
    script.write_text(
        f"import sys\n\nsys.path.insert(0, {str(ROOT)!r})\n"
        "import Train_and_Test\nfrom src.utils.command_line.parser import exit_code\n"
        f"from tests.processes import *\n\n{call}\n"
        "Train_and_Test.__file__ = __file__  # the processes are started by this script\n"
        "sys.exit(exit_code(lambda: Train_and_Test.main(sys.argv[1:])))\n"
    )
    return script


def script_that(folder: Path, what: Callable[[Path, int], None]) -> Path:
    """A script whose processes do ``what`` before each epoch."""
    return script_with(folder, f"before_each_epoch({what.__name__})")


def before_each_epoch(what: Callable[[Path, int], None]) -> None:
    """Let every training of this process do something before each epoch: what(folder, epochs done).

    It leaves the files startedPID and trainedPIDbyPID, the latter with the process that started it, in its folder.
    """
    if "--resume" not in sys.argv:
        return  # the process that starts the others
    folder = Path(sys.argv[sys.argv.index("--resume") + 1])
    (folder / f"started{os.getpid()}").touch()
    original = engine.Trainer._epoch

    def epoch(self: engine.Trainer, *arguments: Any) -> None:
        (folder / f"trained{os.getpid()}by{os.getppid()}").touch()
        what(folder, self.epochs)
        original(self, *arguments)

    setattr(engine.Trainer, "_epoch", epoch)  # noqa: B010 (mypy wants no method replaced)


def wait_for_go(folder: Path, epochs: int) -> None:
    """Hold the training after its first epoch until the test gives the sign."""
    wait_until(lambda: not epochs or (folder.parent / "go").exists())


def wait_for_another_process(folder: Path, epochs: int) -> None:
    """Hold the training until another process wants the same run."""
    wait_until(lambda: len(list(folder.glob("started*"))) > 1)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait, but not for ever: what hangs should fail."""
    for _ in range(50 * SECONDS):
        if condition():
            return
        time.sleep(0.02)
    raise TimeoutError("waited in vain")


def be_killed(folder: Path, epochs: int) -> None:
    """The first trial is killed once, the second again and again, each after its first epoch."""
    deaths = {FIRST: 1, SECOND: 9}.get(folder.name, 0)
    if epochs == 1 and len(list(folder.glob("trained*"))) <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)


def break_down(folder: Path, epochs: int) -> None:
    """The first trial fails as no training should."""
    if folder.name == FIRST:
        raise RuntimeError("odd")


def load_three_tasks(folder: Path, seed: int, warn: Callable[[str], None]) -> MultiTaskDataset:
    """Three tasks: the two digits and whether they are the same."""
    digits = load_multidigits(folder, seed, warn)
    y_train, y_test = (
        np.column_stack([y, y[:, 0] == y[:, 1]]).astype(np.int64) for y in (digits.y_train, digits.y_test)
    )
    names, classes = (*digits.task_names, "same"), (*digits.class_names, ("no", "yes"))
    return replace(digits, name="Three", task_names=names, class_names=classes, y_train=y_train, y_test=y_test)


def add_three_tasks() -> None:
    """Make the data set of three tasks known, with a backbone of its own."""
    BACKBONES["Small"] = BACKBONES["MultiMnist"]
    entry = registry.DatasetEntry(load_three_tasks, backbone="Small", demo="Three", tasks=3)
    registry.DATASETS = {**registry.DATASETS, "Three": entry}


_TRAINING = threading.Lock()


def train_in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Let sweeps do without processes of their own, whose start takes longer than a short training."""
    patch.setattr(workers, "train_apart", _train_here)


def _train_here(script: str, folder: str, sweep: str) -> End:
    """What a process does with a run of a network known by name; others need their script, and get a process."""
    run = None if (Path(folder) / RECORD).exists() else Run.read(Path(folder))
    if run is None or run.config.architecture == OWN:
        return train_apart(script, folder, sweep)
    with _TRAINING:  # the random numbers are those of the process
        (Path(folder) / OUTPUT).touch()
        try:
            train_run(run, Observer(), among_many=True)
        except UserError as error:
            return End(str(error))
    return End()
