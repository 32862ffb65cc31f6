"""Single-task networks that other networks learn from, trained once per data set and parameters."""

from __future__ import annotations

from dataclasses import replace

from Data_loaders.datasets import MultiTaskDataset
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig
from src.utils.study.sweep import SweepObserver, run_sweep
from src.utils.study.trials import trials_of
from src.utils.study.workers import Workers
from src.utils.training.parameters import TrainingParameters


def train_teachers(
    config: RunConfig,
    parameters: TrainingParameters,
    data: MultiTaskDataset,
    workers: Workers,
    observer: SweepObserver,
) -> tuple[str, ...]:
    """Files of a trained single-task network per task; those trained before are taken as they are.

    Args:
        config: of the student.
        parameters: of the teachers' training.
        data: that ``config`` names.
        workers: who trains.
        observer: told of the progress.

    Raises:
        UserError: if a teacher could not be trained.
    """
    single = replace(config, architecture="STL", model=None, teachers=())
    trials = trials_of(single, parameters, [{"task": task} for task in range(len(data.task_names))])
    outcome = run_sweep("teachers", f"teachers_{config.dataset}", trials, data, workers, observer)
    for failure in outcome.failures:
        raise UserError(f"the teacher {failure.name} failed: {failure.reason}")
    return tuple(str(point.folder / "model.pth") for point in outcome.points)
