"""Shared data: MultiMNIST made of the bundled digits, and parameters for trainings of seconds."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import Splits, make_splits
from Data_loaders.MultiMnist import load_multidigits
from src.models.mdmtn import MDMTN
from src.models.registry import Architecture
from src.utils.errors import UserError
from src.utils.training.lsuv import initialise_lsuv
from src.utils.training.parameters import TrainingParameters

torch.set_num_threads(1)
# The same examples in every run; to look for new ones: pytest --hypothesis-profile default
settings.register_profile("steady", derandomize=True, database=None)
settings.load_profile("steady")
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def digits() -> MultiTaskDataset:
    """The bundled demonstration data."""
    return load_multidigits(Path("nowhere"), 0, print)


@pytest.fixture(scope="session")
def splits(digits: MultiTaskDataset) -> Splits:
    """A small part of the bundled data, on the CPU."""
    return make_splits(first_images(digits, 360, 100), CPU)


def first_images(dataset: MultiTaskDataset, train: int, test: int) -> MultiTaskDataset:
    """The data set with so many of its training and test images."""
    return replace(
        dataset,
        x_train=dataset.x_train[:train],
        y_train=dataset.y_train[:train],
        x_test=dataset.x_test[:test],
        y_test=dataset.y_test[:test],
        origins=None if dataset.origins is None else dataset.origins[:train],
    )


def make_network(splits: Splits, seed: int = 0) -> MDMTN:
    """A freshly initialised MDMTN for two tasks of ten classes."""
    torch.manual_seed(seed)
    network = Architecture("MDMTN", "MultiMnist", (10, 10)).build()
    assert isinstance(network, MDMTN)
    initialise_lsuv(network, splits.train.images[:100])
    return network


def short(**values: Any) -> TrainingParameters:
    """Parameters for a training of a few seconds on the small data."""
    defaults: dict[str, Any] = {
        "w": (0.1, 0.3, 0.6),
        "min_sparsRate": 15.0,
        "sim_preference": 0.95,
        "batch_size": 50,
        "max_iter": 2,
        "max_iter_search": 2,
        "max_iter_retrain": 2,
        "num_epochs": 2,
    }
    return TrainingParameters(**{**defaults, **values})


def equal_states(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are the same to the bit."""
    return first.keys() == second.keys() and all(
        np.array_equal(first[name].numpy(), second[name].numpy()) for name in first
    )


def same_data(first: MultiTaskDataset, second: MultiTaskDataset) -> bool:
    """Whether two data sets have the same images and labels to the bit."""
    return all(
        getattr(first, name).tobytes() == getattr(second, name).tobytes()
        for name in ("x_train", "y_train", "x_test", "y_test")
    )


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write bytes as MNIST's files hold them."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def quiet(text: str) -> None:
    """For code that should warn of nothing."""
    raise AssertionError(f"unexpected warning: {text}")


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    """The message, which must be a line that says what to do."""
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text
