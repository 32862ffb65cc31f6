"""Inputs and labels of a batch: a tensor, or a tuple, list or dict of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

Inputs: TypeAlias = Any
"""What the network's ``forward`` gets: a tensor, or a tuple or dict of tensors, a row of each per sample."""
Labels: TypeAlias = Any
"""A tensor (N, m) with a column per task, a tuple with a tensor per task, or a dict of tensors by the tasks' names."""
Batch: TypeAlias = tuple[Inputs, Labels]


class Data(Protocol):
    """The samples of a split."""

    def steps(self, batch_size: int) -> int:
        """Training batches in an epoch."""

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All data in order: every pass gives identical batches."""

    def first(self, count: int) -> Batch:
        """The first samples, or all where there are fewer."""


def first_batches(data: Data, count: int, batch_size: int) -> Iterator[Batch]:
    """The first samples, or all where there are fewer, batch by batch; the last batch is cut."""
    left = count
    for inputs, labels in data.batches(batch_size):
        yield rows(inputs, slice(left)), rows(labels, slice(left))
        left -= size(inputs)
        if left <= 0:
            return


def leaves(value: Any) -> Iterator[Tensor]:
    """The tensors of inputs or labels, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | tuple | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(part)


def changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same inputs or labels with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: changed(part, change) for name, part in value.items()}
    return tuple(changed(part, change) for part in value) if isinstance(value, tuple | list) else value


def rows(value: Any, which: Any) -> Any:
    """The samples that an index or slice names."""
    return changed(value, lambda tensor: tensor[which])


def size(value: Any) -> int:
    """Number of samples; 0 where there is no tensor."""
    return next((len(tensor) for tensor in leaves(value) if tensor.ndim), 0)


def joined(values: list[Any]) -> Any:
    """Batches one after the other as one."""
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values)
    if isinstance(first, Mapping):
        return {name: joined([value[name] for value in values]) for name in first}
    return tuple(joined(list(parts)) for parts in zip(*values, strict=True))


def labels_of(labels: Labels, number: int, name: str = "") -> Tensor:
    """The labels of one task, by its place, in a dict by its name; shape (N,) or (N, outputs)."""
    if isinstance(labels, Tensor):
        return labels[:, number]
    found: Tensor = labels[name] if isinstance(labels, Mapping) else labels[number]
    return found
