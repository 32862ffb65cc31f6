"""A single task of a multi-task data set."""

from __future__ import annotations

from dataclasses import replace

from Data_loaders.datasets import MultiTaskDataset
from src.utils.errors import UserError


def select_task(dataset: MultiTaskDataset, task: int) -> MultiTaskDataset:
    """The same images with the labels of one task.

    Args:
        dataset: with m tasks.
        task: from 0 to m - 1.

    Raises:
        UserError: for another number.
    """
    if not 0 <= task < len(dataset.task_names):
        raise UserError(f"task is {task}; allowed for {dataset.name}: 0 to {len(dataset.task_names) - 1}")
    return replace(
        dataset,
        task_names=dataset.task_names[task : task + 1],
        class_names=dataset.class_names[task : task + 1],
        y_train=dataset.y_train[:, task : task + 1],
        y_test=dataset.y_test[:, task : task + 1],
    )
