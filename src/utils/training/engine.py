"""The training loop: one for every method, data set and network."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from Data_loaders.batches import Batch, Data, size
from Data_loaders.streams import AnySplits, epoch_batches
from src.models.multi_task import MultiTaskNetwork
from src.utils.errors import CheckpointError, UserError
from src.utils.files import file_before, keep_before, read_torch, write_torch
from src.utils.sparsity.metrics import zero_row_rate
from src.utils.training.evaluation import Evaluation, evaluate
from src.utils.training.losses import all_labelled
from src.utils.training.method import Method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.sparse_layers import sparse_layers


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch ended with; a row of ``history.csv``.

    Attributes:
        phase: name of the phase.
        iteration: of the phase, from 1.
        epoch: of the whole run, from 1.
        lr: learning rate.
        objectives: sparsity objective and task losses, mean over the epoch's batches.
        weighted_objectives: what the method makes of them (Chebyshev terms c), 0 for an objective out of play.
        lam: weights of the objectives (multipliers) during the epoch.
        details: further numbers of the method, by name: of the Chebyshev method t, mu, the residuals of the KKT
            conditions and the Chebyshev gap.
        validation_accuracy: score per task, percent, after what the phase does to the rows: the accuracy of a
            classification, see :class:`~src.utils.training.evaluation.Evaluation`.
        validation_losses: mean per task, of the same network.
        sparsity_rate: zero rows of the GrOWL layers, percent.
        seconds: of the epoch, validation included.
    """

    phase: str
    iteration: int
    epoch: int
    lr: float
    objectives: list[float]
    weighted_objectives: list[float]
    lam: list[float]
    details: dict[str, float]
    validation_accuracy: list[float]
    validation_losses: list[float]
    sparsity_rate: float
    seconds: float

    @property
    def mean_accuracy(self) -> float:
        """Mean validation accuracy of the tasks, percent."""
        return float(np.mean(self.validation_accuracy))


@dataclass(frozen=True)
class Snapshot:
    """A model worth keeping: its state dict, that of the method, and the record, all of the same epoch."""

    model: dict[str, Tensor]
    method: dict[str, Tensor]
    record: EpochRecord


class RowRule(Protocol):
    """What a phase does to the rows of the sparse layers."""

    def start_epoch(self) -> None:
        """Called before every epoch."""

    def after_step(self) -> None:
        """Called after every optimizer step."""

    def after_epoch(self, epochs: int, sparsity_weight: float, optimizer: torch.optim.Optimizer) -> None:
        """Called after every epoch with the epochs of the phase done and the weight of Omega in what is minimised."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one rule for the rows.

    Attributes:
        name: unique in a run.
        iterations: of ``num_epochs`` epochs each.
        sparsity: whether the sparsity objective is in play.
        rule: what happens to the rows.
        merit: the epoch with the greatest is kept; of equal ones the sparsest, the most accurate, the first.
    """

    name: str
    iterations: int
    sparsity: bool
    rule: RowRule
    merit: Callable[[EpochRecord], float] = lambda record: record.mean_accuracy


class Observer:
    """Told of the progress of a run; this one keeps quiet."""

    def phase_starts(self, name: str, epochs: int, done: int) -> None:
        """A phase of so many epochs starts, of which some were done before an interruption."""

    def batch_ends(self, share: float) -> None:
        """A batch is done; ``share`` of the epoch is behind."""

    def epoch_ends(self, record: EpochRecord) -> None:
        """An epoch is done."""

    def message(self, text: str) -> None:
        """Something the user should know."""


def make_optimizer(
    parameters: TrainingParameters, groups: list[dict[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    """The optimizer that ``parameters`` name, over parameter groups on a device."""
    options = {"momentum": parameters.momentum} if parameters.base_optimizer == "SGD" else {}
    kind: Callable[..., torch.optim.Optimizer] = getattr(torch.optim, parameters.base_optimizer)
    return kind(groups, lr=parameters.lr, fused=device.type in ("cpu", "cuda"), **options)


class Trainer:
    """Runs phases one after the other and can go on where an interrupted run stopped.

    Every epoch draws its random numbers from the seed and its own number, so a continued run and an
    undisturbed one are the same.

    Args:
        model: network on ``device``.
        method: turns objectives into gradients.
        splits: data on ``device``.
        parameters: of the training.
        seed: of the order of the batches, their augmentation, and anything random in the network.
        observer: told of the progress.
        checkpoint: file that is written after every epoch and read by :meth:`resume`; None writes none.
    """

    def __init__(
        self,
        model: MultiTaskNetwork,
        method: Method,
        splits: AnySplits,
        parameters: TrainingParameters,
        *,
        seed: int = 0,
        observer: Observer | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        self.model = model
        self.method = method
        method.complete = all_labelled(splits.train)
        self.splits = splits
        self.parameters = parameters
        self.seed = seed
        self.observer = observer or Observer()
        self.checkpoint = checkpoint
        self.history: list[EpochRecord] = []
        self.finished: dict[str, Snapshot] = {}
        self._best: Snapshot | None = None
        self._interrupted: dict[str, Any] | None = None
        self._first_infinite = torch.zeros_like(method.k)

    @property
    def sparse_weights(self) -> dict[str, Tensor]:
        """Weights of the GrOWL layers with their rows along the second axis, by layer name."""
        return {name: layer.weight for name, layer in sparse_layers(self.model, self.parameters).items()}

    def make_optimizer(self) -> torch.optim.Optimizer:
        """A new optimizer over the model's and the method's parameters, each in exactly one group."""
        groups = [{"params": list(self.model.parameters())}, *self.method.parameter_groups()]
        return make_optimizer(self.parameters, groups, next(self.model.parameters()).device)

    def evaluate(self, data: Data) -> Evaluation:
        """Test the network on the tasks that are trained."""
        return evaluate(self.model, data, self.method.tasks, self.parameters.criterion)

    def run(self, phase: Phase) -> Snapshot:
        """Train one phase and return its best model.

        The model is left in the state of the last epoch. A phase that an interrupted run had finished
        returns what it found then.
        """
        if phase.name in self.finished:
            state = {name: value.clone() for name, value in self.method.state_dict().items()}
            self.method.start_phase(sparsity=phase.sparsity)
            self.method.load_state_dict(state)
            return self.finished[phase.name]
        optimizer = self.make_optimizer()
        self.method.start_phase(sparsity=phase.sparsity)
        self._best = None
        first = self._continue(phase, optimizer) if self._interrupted else 0
        epochs = phase.iterations * self.parameters.num_epochs
        self.observer.phase_starts(phase.name, epochs, first)
        for epoch in range(first, epochs):
            record = self._epoch(phase, optimizer, epoch)
            self.history.append(record)
            self._keep_best(phase, record)
            if (epoch + 1) % self.parameters.num_epochs == 0:
                self.method.end_iteration()
            last = epoch + 1 == epochs or self._no_better_lately()
            if last:
                assert self._best is not None
                self.finished[phase.name] = self._best
            self._save(phase, optimizer, epoch + 1)
            self.observer.epoch_ends(record)
            if last:
                break
        return self.finished[phase.name]

    def resume(self) -> None:
        """Read the checkpoint, if there is one; the next calls of :meth:`run` go on from there.

        One that is damaged falls back to the one before, which is said. The network keeps its initial weights until
        then, which a phase's rule for the rows may depend on.

        Raises:
            CheckpointError: if the checkpoint is damaged, or not of this network, method and version, and the one
                before it, too.
        """
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        try:
            self._take_over(self.checkpoint)
        except CheckpointError as error:
            before = file_before(self.checkpoint)
            if not before.exists():
                raise
            try:
                self._take_over(before)
            except CheckpointError:
                raise error from None
            self.observer.message(f"{error}; going on from the checkpoint before it, of epoch {len(self.history)}")

    def _take_over(self, checkpoint: Path) -> None:
        """Read a checkpoint, or leave everything as it is."""
        try:
            saved = read_torch(checkpoint)
        except UserError as error:
            raise CheckpointError(str(error)) from error
        before = copy.deepcopy(self.model.state_dict()), copy.deepcopy(self.method.state_dict())
        try:
            history = [EpochRecord(**row) for row in saved["history"]]
            finished = {name: _snapshot(content) for name, content in saved["finished"].items()}
            self.model.load_state_dict(saved["model"])
            self.method.load_state_dict(saved["method"])
        except (KeyError, TypeError, RuntimeError) as error:
            self.method.load_state_dict(before[1])
            raise CheckpointError(f"{checkpoint} is of another version, network or method: start anew") from error
        finally:
            self.model.load_state_dict(before[0])
        self.history, self.finished, self._interrupted = history, finished, saved

    def _epoch(self, phase: Phase, optimizer: torch.optim.Optimizer, epoch: int) -> EpochRecord:
        started = time.perf_counter()
        iteration = epoch // self.parameters.num_epochs
        lr = self.parameters.lr * self.parameters.lr_sched_coef ** (iteration * self.parameters.LR_scheduler)
        for group in optimizer.param_groups:
            group["lr"] = lr
        f = self._train_epoch(phase, optimizer)
        state = self.method.state(f)
        phase.rule.after_epoch(epoch + 1, self.method.sparsity_weight(), optimizer)
        validation = self.evaluate(self.splits.validation)
        record = EpochRecord(
            phase=phase.name,
            iteration=iteration + 1,
            epoch=len(self.history) + 1,
            lr=lr,
            objectives=f.tolist(),
            **asdict(state),
            validation_accuracy=validation.accuracy,
            validation_losses=validation.losses,
            sparsity_rate=zero_row_rate(self.sparse_weights),
            seconds=time.perf_counter() - started,
        )
        if not np.isfinite([*record.objectives, *record.validation_losses]).all():
            raise UserError(self._divergence(record))
        return record

    def _divergence(self, record: EpochRecord) -> str:
        """What became infinite or no number, from which batch on, and what to do about it."""
        names = ["the sparsity objective", *(f"the loss of {task.name}" for task in self.method.tasks)]
        names += [f"objective {number}" for number in range(len(names), len(record.objectives))]
        batches = [int(batch) for batch in self._first_infinite.tolist()]
        first = min((batch for batch in batches if batch), default=None)
        found = [name for name, batch in zip(names, batches, strict=True) if batch == first]
        what = f"{' and '.join(found)} from batch {first} on" if found else "the validation losses"
        kept = f"epoch {record.epoch - 1} is the last good one" if record.epoch > 1 else "there is no good epoch"
        return (
            f"training diverged in epoch {record.epoch}, {what} being infinite or no number; {kept}: lower lr, "
            f"{record.lr:g} in this epoch, for instance with --lr {self.parameters.lr / 2:g}"
        )

    def _train_epoch(self, phase: Phase, optimizer: torch.optim.Optimizer) -> Tensor:
        """One pass over the training data; returns the mean objectives, shape (m + 1,)."""
        f, total, counted, weight = (torch.zeros_like(self.method.k) for _ in range(4))
        known: list[int] = []
        infinite = torch.zeros_like(f)  # of each objective the first batch in which it is, without a look at any
        self.model.train()
        steps = self.splits.train.steps(self.parameters.batch_size)
        steps = min(steps, self.parameters.num_batchEpoch or steps)
        self.method.start_epoch(steps, optimizer.param_groups[0]["lr"] / self.parameters.lr)
        phase.rule.start_epoch()
        for number, (images, labels) in enumerate(self._batches(), start=1):
            optimizer.zero_grad()
            f = self.method.backward(self.model, images, labels)
            counts = [size(images), *self.method.counts]
            if counts != known:  # a tensor made of numbers is a copy to the device
                known, weight = counts, f.new_tensor(counts)
            total, counted = total + f * weight, counted + weight
            infinite = infinite.where((infinite > 0) | f.isfinite(), number)
            optimizer.step()
            phase.rule.after_step()
            self.observer.batch_ends(number / steps)
        self._first_infinite = infinite
        return torch.where(counted > 0, total / counted.clamp(min=1), f)  # without labels: what it was last

    def _batches(self) -> Iterator[Batch]:
        parameters = self.parameters
        seed = int(np.random.SeedSequence([self.seed, len(self.history)]).generate_state(1)[0])
        torch.manual_seed(seed)  # for anything random in the network, dropout say
        return epoch_batches(self.splits, parameters.batch_size, seed, parameters.num_batchEpoch)

    def _keep_best(self, phase: Phase, record: EpochRecord) -> None:
        def merit(candidate: EpochRecord) -> tuple[float, float, float]:
            return phase.merit(candidate), candidate.sparsity_rate, candidate.mean_accuracy

        if self._best is None or merit(record) > merit(self._best.record):
            self._best = Snapshot(
                copy.deepcopy(self.model.state_dict()), copy.deepcopy(self.method.state_dict()), record
            )

    def _no_better_lately(self) -> bool:
        """Whether ``tol_epochs`` epochs went by since the best model of this phase."""
        if self.parameters.tol_epochs is None or self._best is None:
            return False
        return self.history[-1].epoch - self._best.record.epoch >= self.parameters.tol_epochs

    def _save(self, phase: Phase, optimizer: torch.optim.Optimizer, epochs_done: int) -> None:
        if self.checkpoint is None:
            return
        content = {
            "phase": phase.name,
            "epochs_done": epochs_done,
            "model": self.model.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": optimizer.state_dict(),
            "best": _content(self._best) if self._best else None,
            "finished": {name: _content(snapshot) for name, snapshot in self.finished.items()},
            "history": [asdict(record) for record in self.history],
        }
        keep_before(self.checkpoint)
        write_torch(self.checkpoint, content)

    def _continue(self, phase: Phase, optimizer: torch.optim.Optimizer) -> int:
        """Take the state inside a phase over from the checkpoint; returns the epochs already done."""
        saved, self._interrupted = self._interrupted, None
        assert saved is not None
        if saved["phase"] != phase.name:
            return 0  # the interruption fell between two phases
        self.model.load_state_dict(saved["model"])
        self.method.load_state_dict(saved["method"])
        optimizer.load_state_dict(saved["optimizer"])
        self._best = _snapshot(saved["best"]) if saved["best"] else None
        return int(saved["epochs_done"])


def _content(snapshot: Snapshot) -> dict[str, Any]:
    return {"model": snapshot.model, "method": snapshot.method, "record": asdict(snapshot.record)}


def _snapshot(content: dict[str, Any]) -> Snapshot:
    return Snapshot(content["model"], content["method"], EpochRecord(**content["record"]))
