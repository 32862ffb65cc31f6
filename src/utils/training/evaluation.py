"""How good a network is on a split: losses, accuracies, and the metrics of tasks of other kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from Data_loaders.batches import Data, Inputs, labels_of
from src.utils.tasks import CLASSIFICATION, REGRESSION, Task
from src.utils.training.losses import all_labelled, is_labelled, labelled, loss_of, task_labels, tasks_for
from src.utils.training.scores import metrics_of, score_of

EVALUATION_BATCH = 500


def evaluation_batch(batch_size: int) -> int:
    """Samples at a time that need no more memory, without gradients, than a training step; 500 at most."""
    return min(EVALUATION_BATCH, 2 * batch_size)


@dataclass(frozen=True)
class Evaluation:
    """What a network reaches on a split, per task.

    Attributes:
        accuracy: one score that grows with quality, percent: the accuracy of a classification, else 100 times the
            metric, see :func:`~src.utils.training.scores.score_of`; NaN where there are no labels.
        losses: means over the labels there are; NaN where there are none.
        metrics: by name; of a classification that is measured by its accuracy, that, from 0 to 1.
    """

    accuracy: list[float]
    losses: list[float]
    metrics: list[dict[str, float]]


def evaluate(
    model: nn.Module,
    data: Data,
    tasks: Sequence[Task] = (),
    criterion: str = "cross_entropy",
    batch_size: int = EVALUATION_BATCH,
) -> Evaluation:
    """Test a model on all of ``data`` in evaluation mode; the model's mode is put back.

    Args:
        model: gives a list of outputs, one per task.
        data: a split.
        tasks: what the outputs are; none: classifications.
        criterion: loss of the classifications that have none of their own.
        batch_size: of data that have no batches of their own.
    """
    (found,) = evaluate_each([model], lambda images: [model(images)], data, tasks, criterion, batch_size)
    return found


@torch.no_grad()
def evaluate_each(
    models: Sequence[nn.Module],
    outputs_of: Callable[[Inputs], Sequence[Sequence[Tensor]]],
    data: Data,
    tasks: Sequence[Task] = (),
    criterion: str = "cross_entropy",
    batch_size: int = EVALUATION_BATCH,
) -> list[Evaluation]:
    """Test several models on the same batches, as :func:`evaluate` does one.

    Args:
        models: that are put into evaluation mode, and back.
        outputs_of: gives the outputs of every model on a batch, one per task.
        data, tasks, criterion, batch_size: as of :func:`evaluate`.
    """
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    tallies: list[list[_Tally]] = []
    complete = all_labelled(data)
    for images, labels in data.batches(batch_size):
        outputs = outputs_of(images)
        tallies = tallies or [
            [_Tally(task, criterion, own[0].device, complete) for task in tasks_for(tasks, own)] for own in outputs
        ]
        for number, task in enumerate(tasks_for(tasks, outputs[0])):
            targets = labels_of(labels, number, task.name)
            for tally, own in zip(tallies, outputs, strict=True):
                tally[number].add(own[number], targets)
    for model, training in zip(models, modes, strict=True):
        model.train(training)
    return [_summed_up(tally) for tally in tallies]


def _summed_up(tallies: Sequence[_Tally]) -> Evaluation:
    return Evaluation(
        [tally.score for tally in tallies],
        [float(tally.loss / tally.count) if tally.count else float("nan") for tally in tallies],
        [tally.metrics for tally in tallies],
    )


class _Tally:
    """Sums up one task over the batches."""

    def __init__(self, task: Task, criterion: str, device: torch.device, complete: bool) -> None:
        self.task = task
        self._complete = complete
        self.loss, self.correct = torch.zeros(2, dtype=torch.float64, device=device)
        self.count = 0
        self._criterion = loss_of(task, criterion)
        self._targets: list[Tensor] = []
        self._predictions: list[Tensor] = []

    def add(self, output: Tensor, targets: Tensor) -> None:
        """Take a batch in."""
        found = task_labels(self.task, output, targets, complete=self._complete)
        if found.count:
            self.loss += self._criterion(found.outputs, found.targets).double() * found.count
            self.count += found.count
        if self.task.usual:
            self.correct += (found.outputs.argmax(1) == found.targets).sum()
        else:
            self._keep(output, targets)

    @property
    def score(self) -> float:
        """Percent; NaN without labels."""
        if self.task.usual:
            return float(100 * self.correct / self.count) if self.count else float("nan")
        return score_of(self.task, *self._arrays())

    @property
    def metrics(self) -> dict[str, float]:
        """By name."""
        if self.task.usual:
            return {"accuracy": self.score / 100}
        return metrics_of(self.task, *self._arrays())

    def _keep(self, output: Tensor, targets: Tensor) -> None:
        """Labels and predictions: class numbers, or (N, outputs) with NaN for labels that are not known."""
        if self.task.kind == CLASSIFICATION:
            known = labelled(self.task, output, targets, complete=self._complete)
            self._targets.append(known.targets.cpu())
            self._predictions.append(known.outputs.argmax(1).cpu())
            return
        values = targets.reshape(output.shape).double()
        self._targets.append(values.where(is_labelled(targets).reshape(output.shape), torch.nan).cpu())
        self._predictions.append((output if self.task.kind == REGRESSION else output.sigmoid()).double().cpu())

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Targets and predictions, (n,) of classes and of single outputs, else (n, outputs)."""
        targets, predictions = torch.cat(self._targets).numpy(), torch.cat(self._predictions).numpy()
        if self.task.kind != CLASSIFICATION and self.task.outputs == 1:
            return targets[:, 0], predictions[:, 0]
        return targets, predictions
