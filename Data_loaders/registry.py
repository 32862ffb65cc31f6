"""Multi-task data sets by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from src.utils.errors import UserError

if TYPE_CHECKING:
    from Data_loaders.datasets import MultiTaskDataset


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


def _loader(module: str, function: str, **fixed: Any) -> Callable[[Path, int, Callable[[str], None]], MultiTaskDataset]:
    """A function of a module of this folder that is imported when it is called: it needs torch, flags do not."""

    def load(folder: Path, seed: int, warn: Callable[[str], None]) -> MultiTaskDataset:
        found: Callable[..., MultiTaskDataset] = getattr(import_module(f"Data_loaders.{module}"), function)
        return found(folder, seed, warn, **fixed)

    return load


_MULTIMNIST, _CIFAR10MNIST = "MultiMnist", "Create_Cifar10Mnist_dataset"

DATASETS: Mapping[str, DatasetEntry] = MappingProxyType(
    {
        "MultiMnist": DatasetEntry(_loader(_MULTIMNIST, "load_multimnist"), "MultiMnist", demo="MultiDigits"),
        "MultiDigits": DatasetEntry(_loader(_MULTIMNIST, "load_multidigits"), "MultiMnist", demo="MultiDigits"),
        "Cifar10Mnist": DatasetEntry(_loader(_CIFAR10MNIST, "load_cifar10mnist"), "Cifar10Mnist", demo="ColourDigits"),
        "Cifar10Mnist60k": DatasetEntry(
            _loader(_CIFAR10MNIST, "load_cifar10mnist", variant=60_000), "Cifar10Mnist", demo="ColourDigits"
        ),
        "ColourDigits": DatasetEntry(_loader(_CIFAR10MNIST, "load_colour_digits"), "Cifar10Mnist", demo="ColourDigits"),
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
