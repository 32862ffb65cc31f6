"""Data that need not fit into memory: DataLoaders and data sets of (inputs, labels)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from Data_loaders.batches import Batch, changed, first_batches, joined
from Data_loaders.loaders import Splits, TaskData, training_batches
from src.utils.errors import UserError

SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Stream:
    """The batches of a DataLoader as they come, or of a data set, a batch at a time.

    A DataLoader has its own batch size and order. Whatever is random in it (order, workers, augmentation) is drawn
    anew in every epoch from the seed and the number of the epoch, and apart from the random numbers of the network: a
    continued run gets the batches of an undisturbed one. A data set is shuffled like tensors.

    Attributes:
        source: gives (inputs, labels).
        device: where batches are moved to.
    """

    source: DataLoader[Any] | Dataset[Any]
    device: torch.device

    def steps(self, batch_size: int) -> int:
        """Training batches in an epoch."""
        count = len(self.source)  # type: ignore[arg-type]
        return count if isinstance(self.source, DataLoader) else -(-count // batch_size)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All data, the same in every pass."""
        if isinstance(self.source, DataLoader):
            return self._pass(self.source, 0)
        return self._pass(DataLoader(self.source, batch_size=batch_size), 0)

    def training_batches(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """An epoch of batches that the seed decides."""
        if isinstance(self.source, DataLoader):
            return self._pass(self.source, seed)
        count = len(self.source)  # type: ignore[arg-type]
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        places = [part.tolist() for part in order.split(batch_size)]
        return self._pass(DataLoader(self.source, batch_sampler=places), seed)

    def first(self, count: int) -> Batch:
        """The first samples, or all where there are fewer."""
        inputs, labels = zip(*first_batches(self, count, count), strict=True)
        return joined(list(inputs)), joined(list(labels))

    def _pass(self, loader: DataLoader[Any], seed: int) -> Iterator[Batch]:
        """Batches of a loader whose random numbers start from a seed."""
        random.seed(seed)
        np.random.seed(seed % 2**32)
        _seed_generators(loader, seed)
        own = torch.Generator().manual_seed(seed).get_state()
        iterator = None
        while True:
            others = torch.get_rng_state()
            torch.set_rng_state(own)
            try:
                iterator = iterator or iter(loader)
                inputs, labels = next(iterator)
            except StopIteration:
                return
            finally:
                own = torch.get_rng_state()
                torch.set_rng_state(others)
            move = lambda tensor: tensor.to(self.device)  # noqa: E731
            yield changed(inputs, move), changed(labels, move)


@dataclass(frozen=True)
class Streams:
    """Training, validation and test data that are read a batch at a time."""

    train: Stream
    validation: Stream
    test: Stream


AnySplits = Splits | Streams


def as_splits(data: AnySplits | Sequence[Any], device: torch.device) -> AnySplits:
    """Splits on a device; three DataLoaders or data sets as streams onto it.

    Raises:
        UserError: for anything else, a loader without a length, or one whose workers outlive an epoch.
    """
    if isinstance(data, Streams):
        return data
    if isinstance(data, Splits):
        train, validation, test = (_on(part, device) for part in (data.train, data.validation, data.test))
        black = data.black.to(device) if isinstance(data.black, Tensor) else data.black
        return Splits(train, validation, test, data.max_rotation, black)
    parts = list(data) if isinstance(data, tuple | list) else []
    if len(parts) != len(SPLIT_NAMES):
        raise UserError(f"the data are {_shown(data)}; allowed: Splits, or three DataLoaders or data sets in a tuple")
    for name, part in zip(SPLIT_NAMES, parts, strict=True):
        _check_source(name, part)
    return Streams(*(Stream(part, device) for part in parts))


def epoch_batches(splits: AnySplits, batch_size: int, seed: int, num_batches: int | None = None) -> Iterator[Batch]:
    """One epoch of training batches; arguments as of :func:`~Data_loaders.loaders.training_batches`."""
    if isinstance(splits, Streams):
        return islice(splits.train.training_batches(batch_size, seed), num_batches)
    return training_batches(splits, batch_size, seed, num_batches)


def _check_source(name: str, source: Any) -> None:
    if not isinstance(source, DataLoader | Dataset):
        raise UserError(
            f"the {name} data are {_shown(source)}; allowed: a DataLoader or a data set of (inputs, labels)"
        )
    try:
        count = len(source)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError) as error:
        raise UserError(
            f"the {name} data have no length; allowed: a loader that knows its number of batches"
        ) from error
    if not count:
        raise UserError(f"the {name} data hold no images; allowed: 1 or more")
    if isinstance(source, DataLoader) and source.persistent_workers:
        raise UserError(
            f"persistent_workers of the {name} loader is True; allowed: False, a continued run could not be the same"
        )


def _on(data: TaskData, device: torch.device) -> TaskData:
    move = lambda tensor: tensor.to(device)  # noqa: E731
    return TaskData(changed(data.images, move), changed(data.labels, move))


def _shown(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, tuple | list) else f"a {type(value).__name__}"


def _seed_generators(loader: DataLoader[Any], seed: int) -> None:
    """Start the generators of a loader and its samplers anew."""
    holders: list[Any] = [loader, loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None)]
    for holder in holders:
        generator = getattr(holder, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
        if hasattr(holder, "set_epoch"):
            holder.set_epoch(seed)
