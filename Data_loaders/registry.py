"""Multi-task data sets by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from Data_loaders.Create_Cifar10Mnist_dataset import ALL, load_cifar10mnist, load_colour_digits
from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.MultiMnist import load_multidigits, load_multimnist
from src.utils.errors import UserError


@dataclass(frozen=True)
class DatasetEntry:
    """How a data set is loaded and what it is trained with.

    Attributes:
        load: (data folder, seed, told of warnings) -> data set.
        backbone: key of ``src.models.backbones.BACKBONES``.
        demo: the bundled data set of the same shape that ``--demo`` trains on instead.
        tasks: how many labels an image has.
    """

    load: Callable[[Path, int, Callable[[str], None]], MultiTaskDataset]
    backbone: str
    demo: str
    tasks: int = 2


DATASETS: Mapping[str, DatasetEntry] = MappingProxyType(
    {
        "MultiMnist": DatasetEntry(load_multimnist, backbone="MultiMnist", demo="MultiDigits"),
        "MultiDigits": DatasetEntry(load_multidigits, backbone="MultiMnist", demo="MultiDigits"),
        "Cifar10Mnist": DatasetEntry(load_cifar10mnist, backbone="Cifar10Mnist", demo="ColourDigits"),
        "Cifar10Mnist60k": DatasetEntry(
            partial(load_cifar10mnist, variant=ALL), backbone="Cifar10Mnist", demo="ColourDigits"
        ),
        "ColourDigits": DatasetEntry(load_colour_digits, backbone="Cifar10Mnist", demo="ColourDigits"),
    }
)


def dataset_entry(name: str) -> DatasetEntry:
    """The entry of a data set.

    Raises:
        UserError: for an unknown name.
    """
    if name not in DATASETS:
        raise UserError(f"dataset is {name!r}; allowed: {', '.join(DATASETS)}")
    return DATASETS[name]
