"""Sparse deep multi-task learning by multi-objective optimisation: the names that one's own script needs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from Data_loaders.loaders import Splits, TaskData
    from src.models.hps import HPS
    from src.models.mdmtn import MDMTN
    from src.models.registry import load_model
    from src.utils.runs.own import OwnProblem
    from src.utils.sparsity.compress import compress
    from src.utils.tasks import Task
    from src.utils.training.parameters import TrainingParameters
    from Train_and_Test import run_own_problem, train_and_test

__all__ = [
    "HPS",
    "MDMTN",
    "OwnProblem",
    "Splits",
    "Task",
    "TaskData",
    "TrainingParameters",
    "compress",
    "load_model",
    "run_own_problem",
    "train_and_test",
]

_HOMES = {
    "HPS": "src.models.hps",
    "MDMTN": "src.models.mdmtn",
    "OwnProblem": "src.utils.runs.own",
    "Splits": "Data_loaders.loaders",
    "Task": "src.utils.tasks",
    "TaskData": "Data_loaders.loaders",
    "TrainingParameters": "src.utils.training.parameters",
    "compress": "src.utils.sparsity.compress",
    "load_model": "src.models.registry",
    "run_own_problem": "Train_and_Test",
    "train_and_test": "Train_and_Test",
}


def __getattr__(name: str) -> Any:
    """The name, imported when it is asked for: flags and their help need no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
