"""Single-task networks that other networks learn from, trained once per data set and parameters."""

from __future__ import annotations

from dataclasses import replace

from src.utils.errors import UserError
from src.utils.runs.config import MODEL
from src.utils.study.sweep import Basis, run_sweep


def train_teachers(basis: Basis) -> tuple[str, ...]:
    """Files of a trained single-task network per task; those trained before are taken as they are.

    Args:
        basis: with the configuration of the student and the parameters of the teachers.

    Raises:
        UserError: if a teacher could not be trained.
    """
    single = replace(basis, config=replace(basis.config, architecture="STL", model=None, teachers=()))
    trials = single.trials([{"task": task} for task in range(len(basis.data.task_names))])
    outcome = run_sweep("teachers", f"teachers_{basis.config.dataset}", single, trials)
    for failure in outcome.failures:
        raise UserError(f"the teacher {failure.name} failed: {failure.reason}")
    return tuple(str(results.folder / MODEL) for results in outcome.results)
