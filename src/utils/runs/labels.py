"""What is refused of labels, losses and metrics before a training: one pass over all labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from Data_loaders.batches import Data, Labels, labels_of, size
from Data_loaders.streams import SPLIT_NAMES, AnySplits
from src.utils.errors import UserError, first_few
from src.utils.tasks import BINARY, CLASSIFICATION, MULTILABEL, REGRESSION, Task
from src.utils.training.evaluation import EVALUATION_BATCH, evaluate, evaluation_batch
from src.utils.training.losses import is_labelled, loss_of, needs_labels, task_labels

_YES_NO_TYPES = (torch.int64, torch.bool, torch.float32, torch.float64)


@dataclass(frozen=True)
class LabelFacts:
    """The labels of one task in a split.

    Attributes:
        count: labels that are known.
        low, high: least and largest of them.
        only_0_and_1: whether they are all 0 or 1.
        different: the different ones of a classification.
    """

    count: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    only_0_and_1: bool = True
    different: frozenset[int] = frozenset()

    def with_batch(self, targets: Tensor) -> LabelFacts:
        """The facts with those of a batch."""
        known = targets[is_labelled(targets)]
        if not known.numel():
            return self
        return LabelFacts(
            self.count + known.numel(),
            min(self.low, float(known.min())),
            max(self.high, float(known.max())),
            self.only_0_and_1 and bool(((known == 0) | (known == 1)).all()),
            self.different | (frozenset() if known.is_floating_point() else frozenset(known.unique().tolist())),
        )


def check_labels(splits: AnySplits, tasks: Sequence[Task], say: Callable[[str], None]) -> None:
    """Refuse labels that do not fit their tasks, and say which classes nobody can learn: all are looked at once.

    Test data may lack all labels of a task, whose test score is then NaN; the others may not, since the model is
    trained and chosen by them.

    Raises:
        UserError: naming split, task, what was found and what is allowed.
    """
    for split in SPLIT_NAMES:
        for number, (task, facts) in enumerate(zip(tasks, _facts(split, getattr(splits, split), tasks), strict=True)):
            _check_facts(f"{split} labels of task {number} ({task.name})", split, task, facts)
            missing = sorted(set(range(task.outputs)) - facts.different) if task.kind == CLASSIFICATION else []
            if split == "train" and missing:
                say(f"no training label of {task.name} is of class {first_few(missing)}: the network cannot learn it")


def check_functions(
    network: nn.Module, splits: AnySplits, tasks: Sequence[Task], criterion: str, batch_size: int
) -> None:
    """Refuse losses and metrics of the user's own that make no number of a first batch.

    Raises:
        UserError: naming the task and what happened.
    """
    own = [task for task in tasks if callable(task.loss) or callable(task.metric)]
    if not own:
        return
    for task in own:
        if callable(task.loss):
            _check_loss(network, splits.train, tasks, task, criterion, batch_size)
    first, together = _Part(splits.validation), evaluation_batch(batch_size)
    scores = _tried(lambda: evaluate(network, first, tasks, criterion, together), own)
    for task, found in zip(tasks, scores, strict=True):
        if callable(task.metric) and not isinstance(found, float):
            raise UserError(f"the metric of task {task.name} is {found!r} on a batch; allowed: a number")


@dataclass(frozen=True)
class _Part:
    """The first batch of a split as a split."""

    data: Data

    def steps(self, batch_size: int) -> int:
        return 1

    def batches(self, batch_size: int) -> Any:
        yield self.data.first(batch_size)

    def first(self, count: int) -> Any:
        return self.data.first(count)


def _tried(work: Any, tasks: Sequence[Task]) -> list[Any]:
    names = ", ".join(task.name for task in tasks)
    try:
        return list(work().accuracy)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"loss or metric of {names} cannot be computed: {str(error).splitlines()[0]}") from error


def _check_loss(
    network: nn.Module, data: Data, tasks: Sequence[Task], task: Task, criterion: str, batch_size: int
) -> None:
    inputs, labels = data.first(batch_size)
    number, training = list(tasks).index(task), network.training
    output = network.eval()(inputs)[number]
    network.train(training)
    found = task_labels(task, output, labels_of(labels, number, task.name))
    if not found.count:
        return
    try:
        loss = loss_of(task, criterion)(found.outputs, found.targets)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the loss of task {task.name} cannot be computed on a batch: {reason}") from error
    if not isinstance(loss, Tensor) or loss.ndim or not bool(loss.isfinite()) or not loss.requires_grad:
        shown = f"{float(loss.detach()):g}" if isinstance(loss, Tensor) and not loss.ndim else type(loss).__name__
        raise UserError(
            f"the loss of task {task.name} is {shown} on a batch; allowed: a finite scalar tensor with a gradient"
        )


def _facts(split: str, data: Data, tasks: Sequence[Task]) -> list[LabelFacts]:
    found = [LabelFacts()] * len(tasks)
    for inputs, labels in data.batches(EVALUATION_BATCH):
        _check_container(split, labels, tasks)
        targets = [labels_of(labels, number, task.name) for number, task in enumerate(tasks)]
        for number, (task, target) in enumerate(zip(tasks, targets, strict=True)):
            _check_type(f"{split} labels of task {number} ({task.name})", task, target, size(inputs))
        found = [facts.with_batch(target) for facts, target in zip(found, targets, strict=True)]
    return found


def _check_container(split: str, labels: Labels, tasks: Sequence[Task]) -> None:
    """Refuse what does not hold a tensor per task."""
    names, count = [task.name for task in tasks], len(tasks)
    if isinstance(labels, Tensor):
        good, shown = labels.ndim == 2 and labels.shape[1] == count, f"a tensor of shape {tuple(labels.shape)}"
    elif isinstance(labels, Mapping):
        good, shown = all(isinstance(labels.get(name), Tensor) for name in names), f"a dict of {list(labels)}"
    elif isinstance(labels, tuple | list):
        good = len(labels) == count and all(isinstance(part, Tensor) for part in labels)
        shown = f"a tuple of {len(labels)}"
    else:
        good, shown = False, f"a {type(labels).__name__}"
    if not good:
        raise UserError(
            f"the {split} labels are {shown}; allowed: a tensor (N, {count}), a tuple of {count} tensors, or a dict of "
            f"tensors with the names {', '.join(names)}"
        )


def _check_type(what: str, task: Task, targets: Tensor, samples: int) -> None:
    """Refuse labels of another type or shape than the kind has."""
    types = {CLASSIFICATION: (torch.int64,), BINARY: _YES_NO_TYPES, MULTILABEL: _YES_NO_TYPES}.get(task.kind)
    if targets.dtype not in types if types else not targets.is_floating_point():
        allowed = ", ".join(map(str, types)) if types else "floats"
        raise UserError(f"{what} are {targets.dtype}; allowed for {task.kind}: {allowed}")
    shapes: list[tuple[int, ...]] = [(samples,)] if task.kind == CLASSIFICATION else [(samples, task.outputs)]
    shapes += [(samples,)] if task.kind in (BINARY, REGRESSION) and task.outputs == 1 else []
    if tuple(targets.shape) not in shapes:
        allowed = " or ".join(str(("N", *shape[1:])).replace("'", "") for shape in shapes)
        raise UserError(f"{what} have shape {tuple(targets.shape)}; allowed for {task.kind}: {allowed}, N samples")


def _check_facts(what: str, split: str, task: Task, facts: LabelFacts) -> None:
    """Refuse labels that are missing or out of range."""
    least = 2 if split == "validation" and task.metrics[0] in ("r2", "rmse") else 1
    if split != "test" and facts.count < least:
        raise UserError(f"there are {facts.count} {what}; allowed: {least} or more, the others may be missing")
    if not facts.count:
        return
    if task.kind == CLASSIFICATION and (facts.low < 0 or facts.high >= task.outputs):
        raise UserError(
            f"{what} range from {facts.low:g} to {facts.high:g}; allowed: 0 to {task.outputs - 1}, as the network has "
            f"{task.outputs} outputs for it"
        )
    if task.kind in (BINARY, MULTILABEL) and not facts.only_0_and_1:
        raise UserError(f"{what} range from {facts.low:g} to {facts.high:g}; allowed for {task.kind}: 0 and 1")
    if task.kind == REGRESSION:
        sign = needs_labels(task)
        if (sign == "> 0" and facts.low <= 0) or (sign == ">= 0" and facts.low < 0):
            raise UserError(f"{what} go down to {facts.low:g}; allowed for its loss: numbers {sign}")
        if max(abs(facts.low), abs(facts.high)) == float("inf"):
            raise UserError(f"{what} are infinite in places; allowed: finite numbers, and NaN for what is not known")
