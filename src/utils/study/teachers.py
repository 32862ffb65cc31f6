"""Single-task networks that other networks learn from, trained once per data set and parameters."""

from __future__ import annotations

from dataclasses import replace

from Data_loaders.datasets import MultiTaskDataset
from src.utils.errors import UserError
from src.utils.study.sweep import SweepObserver, Trial, Workers, fingerprint, run_sweep
from src.utils.training.parameters import TrainingParameters
from src.utils.training.run import RunConfig


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
    single = replace(config, architecture="STL", model=None, teachers=(), task=None)
    folder = config.root / config.main_dir / f"teachers_{config.dataset}_{fingerprint(single, parameters, data)}"
    trials = [Trial(f"task{task}", replace(single, task=task), parameters) for task in range(len(data.task_names))]
    if not all(trial.files(folder).results.exists() for trial in trials):
        observer.message(f"training the teachers, one per task, in {folder}")
    outcome = run_sweep(folder, trials, workers, observer)
    if outcome.failures:
        raise UserError(f"the teacher {outcome.failures[0].trial.name} failed: {outcome.failures[0].reason}")
    return tuple(str(trial.files(folder).models[0]) for trial in trials)
