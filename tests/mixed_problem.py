"""A small problem of mixed tasks: three classes, a yes or no, a number in the thousands; labels missing in places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from Data_loaders.loaders import Splits, TaskData
from src.models.hps import HPS
from src.utils.tasks import MISSING, Task
from src.utils.training.parameters import TrainingParameters

TASKS = (
    Task("kind", "classification", 3),
    Task("sign", "binary", 1),
    Task("mass", "regression", 1),
)


def mixed_data(seed: int = 0, samples: int = 360, missing: float = 0.1) -> Splits:
    """Labels that a linear network can find, a share of them missing."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 8, generator=generator)
    weights = torch.randn(8, 5, generator=generator)
    found = x @ weights
    gone = torch.rand(samples, 3, generator=generator) < missing
    kind = found[:, :3].argmax(1).masked_fill(gone[:, 0], MISSING)
    sign = (found[:, 3] > 0).float().masked_fill(gone[:, 1], torch.nan)
    mass = (4000 + 500 * found[:, 4]).masked_fill(gone[:, 2], torch.nan)
    third = samples // 6
    cuts = (slice(2 * third, None), slice(third), slice(third, 2 * third))
    train, validation, test = (TaskData(x[cut], (kind[cut], sign[cut], mass[cut])) for cut in cuts)
    return Splits(train, validation, test)


def mixed_network(seed: int = 0, outputs: tuple[int, ...] = (3, 1, 1)) -> HPS:
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
    return HPS(trunk, [nn.Linear(16, width) for width in outputs])


def mixed_parameters(**values: Any) -> TrainingParameters:
    defaults: dict[str, Any] = {
        "w": (0.05, 0.4, 0.3, 0.25),
        "skip_layer": 8,
        "batch_size": 40,
        "max_iter_search": 2,
        "max_iter_retrain": 2,
        "max_iter": 2,
        "num_epochs": 3,
        "min_sparsRate": 1.0,
        "lr": 1e-2,
    }
    return TrainingParameters(**{**defaults, **values})


def with_labels(splits: Splits, change: Callable[[TaskData], Any]) -> Splits:
    """The data with other labels, made from each split."""
    parts = (splits.train, splits.validation, splits.test)
    train, validation, test = (TaskData(part.images, change(part)) for part in parts)
    return Splits(train, validation, test)


def changed_labels(splits: Splits, split: str, number: int, labels: Tensor) -> Splits:
    """The data with other labels of one task in one split."""

    def change(part: TaskData) -> Any:
        return (*part.labels[:number], labels, *part.labels[number + 1 :])

    wanted = getattr(splits, split)
    return with_labels(splits, lambda part: change(part) if part is wanted else part.labels)
