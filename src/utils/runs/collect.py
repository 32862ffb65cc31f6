"""What a finished training reached: the trained model is tested and its rows are counted."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from Data_loaders.batches import first_batches
from src.models.row_layers import layers_with_rows
from src.utils.checked import to_plain
from src.utils.runs.config import Run
from src.utils.runs.problem import Problem, torch_device
from src.utils.runs.results import RATES, Results, TaskScores, versions
from src.utils.sparsity.metrics import RowCounts, count_layers, total
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.engine import Trainer
from src.utils.training.evaluation import Evaluation
from src.utils.training.method import MethodState
from src.utils.training.records import EpochRecord
from src.utils.training.stationarity import relative_gradient
from src.utils.training.two_phase import TrainingOutcome

STATIONARITY_IMAGES = 5_000


def collect(run: Run, problem: Problem, trainer: Trainer, outcome: TrainingOutcome, seconds: float) -> Results:
    """Test the trained model and count its rows."""
    splits = trainer.splits
    training, validation, test = (trainer.evaluate(data) for data in (splits.train, splits.validation, splits.test))
    f = trainer.method.k.new_tensor([float(trainer.method.sparsity_objective().detach()), *training.losses])
    all_rows = _every_row(trainer)
    return Results(
        folder=run.folder,
        script=run.config.script,
        architecture=run.config.architecture,
        dataset=run.config.dataset,
        task=run.config.task,
        task_names=problem.task_names,
        k=run.parameters.w,
        test_accuracy=tuple(test.accuracy),
        validation_accuracy=tuple(validation.accuracy),
        validation_losses=tuple(validation.losses),
        scores=_scores(problem, validation, test),
        objectives=tuple(f.tolist()),
        state=_state(trainer, f),
        layers=count_layers(trainer.sparse_weights),
        all_layers={name: getattr(all_rows, name) for name in RATES},
        reached_min_sparsRate=outcome.reached_min_sparsRate,
        sparsity_binds=outcome.sparsity_binds,
        sparsity_advice=outcome.sparsity_advice,
        found_in_search=_found(outcome),
        best_epoch=outcome.best.record.epoch,
        parameter_count=_parameter_count(trainer),
        seconds=_seconds(trainer.history, seconds),
        compression=None,
        images=_images(problem),
        parameters=to_plain(run.parameters),
        seed=run.config.seed,
        data_seed=run.config.data_seed,
        device=device_name(torch_device(run.config)),
        versions=versions(),
    )


def _scores(problem: Problem, validation: Evaluation, test: Evaluation) -> TaskScores | None:
    """The metrics of tasks that are no classifications measured by their accuracy."""
    if all(task.usual for task in problem.tasks):
        return None
    kinds = [task.as_plain() for task in problem.tasks]
    named = (dict(zip(problem.task_names, found.metrics, strict=True)) for found in (validation, test))
    return TaskScores(kinds, *named)


def _images(problem: Problem) -> dict[str, Any] | None:
    """What images the network takes, and what its classes are called."""
    data = problem.dataset
    if data is None:
        return None
    names = [list(names) for names in data.class_names]
    shape = list(data.x_train.shape[1:])
    return {"shape": shape, "mean": list(data.mean), "std": list(data.std), "class_names": names}


def _state(trainer: Trainer, f: Tensor) -> MethodState:
    """The method's state, with the gradient of its Lagrangian on a fixed part of the training data."""
    state, method, data = trainer.method.state(f), trainer.method, trainer.splits.train
    if not isinstance(method, ChebyshevMethod):
        return state
    batches = first_batches(data, STATIONARITY_IMAGES, trainer.parameters.batch_size)
    gradient = relative_gradient(trainer.model, method, batches, state.lam)
    return replace(state, details={**state.details, "relative_gradient": gradient})


def _found(outcome: TrainingOutcome) -> dict[str, Any] | None:
    names = ("epoch", "sparsity_rate", "validation_accuracy")
    return {name: getattr(outcome.found.record, name) for name in names} if outcome.found else None


def _every_row(trainer: Trainer) -> RowCounts:
    """Rows of all layers, those without GrOWL included."""
    weights = {name: layer.weight for name, layer in layers_with_rows(trainer.model).items()}
    return total(count_layers({**weights, **trainer.sparse_weights}).values())


def _parameter_count(trainer: Trainer) -> dict[str, int]:
    parameters = list(trainer.model.parameters())
    return {
        "all": sum(parameter.numel() for parameter in parameters),
        "nonzero": sum(int(parameter.count_nonzero()) for parameter in parameters),
    }


def _seconds(history: Sequence[EpochRecord], seconds: float) -> dict[str, Any]:
    phases = dict.fromkeys(record.phase for record in history)
    per_phase = {phase: sum(record.seconds for record in history if record.phase == phase) for phase in phases}
    return {"total": seconds, "phases": per_phase, "epoch": float(np.mean([record.seconds for record in history]))}


def device_name(device: torch.device) -> str:
    """The device as the results name it: its kind and model."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    kind = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    return f"cpu ({kind}, {torch.get_num_threads()} threads)"
