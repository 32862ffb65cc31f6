"""The runs of a sweep that differ in their preference vector only, trained at a time and in one process."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from src.utils.errors import CheckpointError, UserError
from src.utils.files import write_text
from src.utils.runs.collect import collect
from src.utils.runs.config import CHECKPOINT, HISTORY, OUTPUT, Run
from src.utils.runs.problem import Problem, check_problem, load_problem
from src.utils.runs.run import (
    HistoryFile,
    enough_memory,
    in_hand,
    remove_checkpoint,
    save_trained,
    trainer_of,
    training_splits,
)
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.records import Observer
from src.utils.training.stack import StackTrainer
from src.utils.training.together import train_together
from src.utils.training.two_phase import TrainingOutcome


def train_runs_together(
    folder: Path, runs: Sequence[Run], own_problem: Callable[[Run], Problem | None], observer: Observer
) -> None:
    """Train the runs of a sweep to the end, those at a time that differ in their preference vector only.

    Each run leaves the files that it leaves when it is trained alone, and one that fails the reason in ``OUTPUT``.
    What is interrupted goes on from the last epoch of all: the checkpoint is one of all runs.

    Args:
        folder: of the sweep.
        runs: all of the sweep, also those that are finished: who trains beside whom is always the same.
        own_problem: a user's own network and data for a run; None where the configuration names all of it.
        observer: told of the progress.
    """
    with in_hand(folder, wait=True), run_arithmetic():
        for number, group in enumerate(_groups(runs)):
            if all(run.finished for run in group):
                continue
            checkpoint = folder / (CHECKPOINT if not number else f"{number}_{CHECKPOINT}")
            reasons: dict[str, str] = {}
            try:
                reasons = _train_group(group, own_problem(group[0]), checkpoint, observer)
            except UserError as error:
                reasons = {run.name: str(error) for run in group}
            for run in group:
                why = reasons.get(run.name)
                if not run.finished or not why:
                    write_text(run.folder / OUTPUT, f"error: {why}\n" if why else "")


def _groups(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Runs that are alike but for the preference vector, in their order."""
    left = list(runs)
    while left:
        first = left[0]
        alike = [run for run in left if _but_for_k(run) == _but_for_k(first)]
        left = [run for run in left if run not in alike]
        yield alike


def _but_for_k(run: Run) -> tuple[object, object]:
    """All that is the same for runs of one group, and which objectives have a preference."""
    return run.config, replace(run.parameters, w=tuple(float(value > 0) for value in run.parameters.w))


def _train_group(runs: Sequence[Run], problem: Problem | None, checkpoint: Path, observer: Observer) -> dict[str, str]:
    """Train runs that are alike; returns why some could not be finished, by name."""
    started = time.perf_counter()
    problem = problem or load_problem(runs[0].config, runs[0].parameters, observer)
    problems = [problem, *(replace(problem, network=copy.deepcopy(problem.network)) for _ in runs[1:])]
    for run, own in zip(runs, problems, strict=True):
        check_problem(own, run.parameters, observer.message)
    splits = training_splits(problem, runs[0])
    members = [trainer_of(run, own, splits, checkpoint=None) for run, own in zip(runs, problems, strict=True)]
    for run, member in zip(runs, members, strict=True):
        member.observer = HistoryFile(run.folder / HISTORY, member, Observer())
    every = runs[0].config.checkpoint_batches
    stack = StackTrainer(members, observer=observer, checkpoint=checkpoint, checkpoint_batches=every)
    with suppress(CheckpointError):
        stack.resume()
    before = stack.seconds
    with enough_memory(runs[0].parameters):
        outcomes = _outcomes(stack)
        seconds = before + (time.perf_counter() - started) / len(runs)
        for run, own, member, outcome in zip(runs, problems, members, outcomes, strict=True):
            if outcome is not None and not run.finished:
                save_trained(run, own, member, collect(run, own, member, outcome, seconds))
    reasons = {run.name: member.failure for run, member in zip(runs, members, strict=True) if member.failure}
    if not reasons:
        remove_checkpoint(checkpoint)
    return reasons


def _outcomes(stack: StackTrainer) -> list[TrainingOutcome | None]:
    """Those of :func:`train_together`, also where all trainings diverge: each has its own reason."""
    try:
        return train_together(stack)
    except UserError:
        if not all(member.failure for member in stack.members):
            raise
        return [None for _ in stack.members]
