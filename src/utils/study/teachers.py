"""Single-task networks that other trainings need first, trained once per data set and parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

from src.utils.errors import UserError
from src.utils.runs.config import HISTORY, MODEL
from src.utils.runs.history import read_history
from src.utils.runs.results import Results
from src.utils.study.sweep import Basis, run_sweep
from src.utils.training.parameters import Mode, TrainingParameters

_OF_ANY_TRAINING = (
    *("num_epochs", "tol_epochs", "num_batchEpoch", "train_share", "batch_size", "criterion"),
    *("base_optimizer", "lr", "momentum", "schedule", "LR_scheduler", "lr_sched_coef"),
)


def train_teachers(basis: Basis) -> tuple[str, ...]:
    """Files of a trained single-task network per task; those trained before are taken as they are.

    Args:
        basis: with the configuration of the student and the parameters of the teachers.

    Raises:
        UserError: if a teacher could not be trained.
    """
    return tuple(str(results.folder / MODEL) for results in _single_tasks("teachers", basis))


def ideal_point(basis: Basis) -> tuple[float, ...]:
    """Reference point a: 0 for sparsity, and for each task the least mean training loss of an epoch when it is alone.

    The single-task networks are trained once, with optimizer, learning rate and as many epochs as the training that
    wants to know; those trained before are taken as they are.

    Args:
        basis: of that training.

    Raises:
        UserError: if one of them could not be trained.
    """
    single = replace(basis, parameters=_alone(basis.parameters))
    return (0.0, *(_least_loss(results) for results in _single_tasks("ideal", single)))


@dataclass(frozen=True)
class Payoffs:
    """Ideal and nadir point, of sparsity and the tasks.

    Attributes:
        ideal: 0 for sparsity, and the least loss of each task when it alone has a preference.
        nadir: the largest value of each objective at the end of these trainings.
    """

    ideal: tuple[float, ...]
    nadir: tuple[float, ...]


def payoff_table(basis: Basis) -> Payoffs:
    """Train the network for one task after the other, without sparsity, and see what becomes of all objectives.

    The trainings have optimizer, learning rate and as many epochs as the one that wants to know; those trained before
    are taken as they are.

    Raises:
        UserError: if one of them could not be trained.

    Source: Miettinen, Nonlinear multiobjective optimization (1999), section 2.4, for the payoff table.
    """
    config, parameters, tasks = basis.config, basis.parameters, basis.parameters.tasks
    vectors = [(0.0, *(float(task == wanted) for task in range(tasks))) for wanted in range(tasks)]
    omega = {name: getattr(parameters, name) for name in ("skip_layer", "growl_type", "beta1", "beta2")}
    alone = _alone(parameters).changed(w=vectors[0], num_tasks=None, a=(), **omega)
    single = replace(basis, config=replace(config, model=None, teachers=()), parameters=alone)
    outcome = run_sweep("payoff", basis.label("payoff"), single, single.trials([{"w": k} for k in vectors]))
    for failure in outcome.failures:
        raise UserError(f"the training for a single task {failure.name} failed: {failure.reason}")
    histories = [read_history(results.folder / HISTORY) for results in outcome.results]
    ideal = (min(record.objectives[1 + task] for record in history) for task, history in enumerate(histories))
    nadir = (max(history[-1].objectives[number] for history in histories) for number in range(tasks + 1))
    return Payoffs((0.0, *ideal), tuple(nadir))


def _single_tasks(kind: str, basis: Basis) -> list[Results]:
    config = basis.config
    single = replace(basis, config=replace(config, architecture="STL", model=None, teachers=(), task=None))
    tasks = range(len(basis.data.tasks)) if config.task is None else [config.task]
    outcome = run_sweep(kind, f"{kind}_{config.dataset}", single, single.trials([{"task": task} for task in tasks]))
    for failure in outcome.failures:
        raise UserError(f"the single-task network {failure.name} could not be trained: {failure.reason}")
    return outcome.results


def _alone(parameters: TrainingParameters) -> TrainingParameters:
    """The parameters of a dense training of one task, as long as the last phase of the given one."""
    long = parameters.mode in (Mode.SPARSE, Mode.RETRAIN)
    iterations = parameters.max_iter_retrain if long else parameters.max_iter
    return TrainingParameters(
        w=(0.0, 1.0), max_iter=iterations, **{name: getattr(parameters, name) for name in _OF_ANY_TRAINING}
    )


def _least_loss(results: Results) -> float:
    return min(record.objectives[1] for record in read_history(results.folder / HISTORY))
