"""The training loop: one for every method, data set and network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from Data_loaders.batches import Batch, Data, Inputs, Labels, size
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
        seconds: of the epoch, validation included; of networks that are trained together the share of one.
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


class RowRule:
    """What a phase does to the rows of the sparse layers: nothing, where a rule says nothing else."""

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

    The loop knows of members, each with a network, a method and records of its own: here the trainer itself. Several
    are those of :class:`~src.utils.training.stack.StackTrainer`.

    Args:
        model: network on ``device``.
        method: turns objectives into gradients.
        splits: data on ``device``.
        parameters: of the training.
        seed: of the order of the batches, their augmentation, and anything random in the network.
        observer: told of the progress.
        checkpoint: file that is written after every epoch and read by :meth:`resume`; None writes none.

    Attributes:
        members: whose networks are trained.
        failure: why the training of this network ended before its time.
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
        self.members: Sequence[Trainer] = (self,)
        self.failure: str | None = None
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
        return make_optimizer(self.parameters, groups, self.device)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    @property
    def epochs(self) -> int:
        """Epochs that are done, of all phases."""
        return max(len(member.history) for member in self.members)

    def evaluate(self, data: Data) -> Evaluation:
        """Test the network on the tasks that are trained."""
        return evaluate(self.model, data, self.method.tasks, self.parameters.criterion)

    def run(self, phase: Phase) -> Snapshot:
        """Train one phase and return its best model.

        The model is left in the state of the last epoch. A phase that an interrupted run had finished
        returns what it found then.
        """
        self._run([phase], phase.rule)
        return self.finished[phase.name]

    def _run(self, phases: Sequence[Phase], rule: RowRule) -> None:
        """Train one phase, of the same name and length for all members, with one rule for the rows of all."""
        name, sparsity = phases[0].name, phases[0].sparsity
        if not any(member._goes_on(name) for member in self.members):
            for member in self.members:
                state = _copied(member.method.state_dict())
                member.method.start_phase(sparsity=sparsity)
                member.method.load_state_dict(state)
            return
        optimizer = self.make_optimizer()
        for member in self.members:
            member.method.start_phase(sparsity=sparsity)
            member._best = None
        first = self._continue(name, optimizer) if self._interrupted else 0
        epochs = phases[0].iterations * self.parameters.num_epochs
        self.observer.phase_starts(name, epochs, first)
        for epoch in range(first, epochs):
            ended = [member for member in self.members if not member._goes_on(name)]
            self._epoch(phases, rule, optimizer, epoch)
            if all(member.failure for member in self.members):
                raise UserError(self.members[0].failure)
            if (epoch + 1) % self.parameters.num_epochs == 0:
                for member in self.members:
                    member.method.end_iteration()
            for member in self.members:
                member._end_phase(name, last=epoch + 1 == epochs)
            self._save(name, optimizer, epoch + 1)
            for member in self.members:
                if member not in ended and not member.failure:
                    member.observer.epoch_ends(member.history[-1])
            if not any(member._goes_on(name) for member in self.members):
                break

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
            self.observer.message(f"{error}; going on from the checkpoint before it, of epoch {self.epochs}")

    def _take_over(self, checkpoint: Path) -> None:
        """Read a checkpoint, or leave everything as it is."""
        try:
            saved = read_torch(checkpoint)
        except UserError as error:
            raise CheckpointError(str(error)) from error
        before = [(_copied(member.model.state_dict()), _copied(member.method.state_dict())) for member in self.members]
        try:
            found = list(zip(self.members, saved["members"], strict=True))
            records = [
                (
                    [EpochRecord(**row) for row in content["history"]],
                    {name: _snapshot(snapshot) for name, snapshot in content["finished"].items()},
                    content["failure"],
                )
                for _, content in found
            ]
            for member, content in found:
                member.model.load_state_dict(content["model"])
                member.method.load_state_dict(content["method"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            for member, (_, method) in zip(self.members, before, strict=True):
                member.method.load_state_dict(method)
            raise CheckpointError(f"{checkpoint} is of another version, network or method: start anew") from error
        finally:
            for member, (model, _) in zip(self.members, before, strict=True):
                member.model.load_state_dict(model)
        for member, (history, finished, failure) in zip(self.members, records, strict=True):
            member.history, member.finished, member.failure = history, finished, failure
        self._interrupted = saved

    def _epoch(self, phases: Sequence[Phase], rule: RowRule, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        """Train and validate; each member that goes on gets a record, or the reason why it cannot."""
        started = time.perf_counter()
        iteration = epoch // self.parameters.num_epochs
        lr = self.parameters.lr * self.parameters.lr_sched_coef ** (iteration * self.parameters.LR_scheduler)
        for group in optimizer.param_groups:
            group["lr"] = lr
        f = self._train_epoch(rule, optimizer).view(len(self.members), -1)
        states = [member.method.state(values) for member, values in zip(self.members, f, strict=True)]
        rule.after_epoch(epoch + 1, self.method.sparsity_weight(), optimizer)
        number, validations = self.epochs + 1, self._validate()
        for member, phase, values, state, validation in zip(self.members, phases, f, states, validations, strict=True):
            if not member._goes_on(phase.name):
                continue
            record = EpochRecord(
                phase=phase.name,
                iteration=iteration + 1,
                epoch=number,
                lr=lr,
                objectives=values.tolist(),
                **asdict(state),
                validation_accuracy=validation.accuracy,
                validation_losses=validation.losses,
                sparsity_rate=zero_row_rate(member.sparse_weights),
                seconds=(time.perf_counter() - started) / len(self.members),
            )
            if np.isfinite([*record.objectives, *record.validation_losses]).all():
                member.history.append(record)
                member._keep_best(phase, record)
            else:
                member.failure = member._divergence(record)

    def _validate(self) -> list[Evaluation]:
        """How good the networks are now, one per member."""
        return [self.evaluate(self.splits.validation)]

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

    def _train_epoch(self, rule: RowRule, optimizer: torch.optim.Optimizer) -> Tensor:
        """One pass over the training data; returns the mean objectives, shape (m + 1,), or (members, m + 1)."""
        f, total, counted, weight = (self._zeros() for _ in range(4))
        known: list[int] = []
        infinite = self._zeros()  # of each objective the first batch in which it is, without a look at any
        steps = self.splits.train.steps(self.parameters.batch_size)
        steps = min(steps, self.parameters.num_batchEpoch or steps)
        for member in self.members:
            member.model.train()
            member.method.start_epoch(steps, optimizer.param_groups[0]["lr"] / self.parameters.lr)
        rule.start_epoch()
        for number, (images, labels) in enumerate(self._batches(), start=1):
            optimizer.zero_grad()
            f = self._backward(images, labels)
            counts = [size(images), *self.method.counts]
            if counts != known:  # a tensor made of numbers is a copy to the device
                known, weight = counts, f.new_tensor(counts)
            total, counted = total + f * weight, counted + weight
            infinite = infinite.where((infinite > 0) | f.isfinite(), number)
            optimizer.step()
            rule.after_step()
            self.observer.batch_ends(number / steps)
        for member, first in zip(self.members, infinite.view(len(self.members), -1), strict=True):
            member._first_infinite = first
        return torch.where(counted > 0, total / counted.clamp(min=1), f)  # without labels: what it was last

    def _zeros(self) -> Tensor:
        """As many zeros as there are objectives, of all members."""
        return torch.zeros_like(self.method.k)

    def _backward(self, images: Inputs, labels: Labels) -> Tensor:
        """Gradients of a batch; returns the objectives, of all members."""
        return self.method.backward(self.model, images, labels)

    def _batches(self) -> Iterator[Batch]:
        parameters = self.parameters
        seed = int(np.random.SeedSequence([self.seed, self.epochs]).generate_state(1)[0])
        torch.manual_seed(seed)  # for anything random in the network, dropout say
        return epoch_batches(self.splits, parameters.batch_size, seed, parameters.num_batchEpoch)

    def _keep_best(self, phase: Phase, record: EpochRecord) -> None:
        def merit(candidate: EpochRecord) -> tuple[float, float, float]:
            return phase.merit(candidate), candidate.sparsity_rate, candidate.mean_accuracy

        if self._best is None or merit(record) > merit(self._best.record):
            self._best = Snapshot(_copied(self.model.state_dict()), _copied(self.method.state_dict()), record)

    def _goes_on(self, phase: str) -> bool:
        """Whether this network's training has not ended in a phase."""
        return not self.failure and phase not in self.finished

    def _end_phase(self, phase: str, *, last: bool) -> None:
        """The phase ends for this network after the last epoch, or without a better model lately."""
        if self._goes_on(phase) and (last or self._no_better_lately()):
            assert self._best is not None
            self.finished[phase] = self._best

    def _no_better_lately(self) -> bool:
        """Whether ``tol_epochs`` epochs went by since the best model of this phase."""
        if self.parameters.tol_epochs is None or self._best is None:
            return False
        return self.history[-1].epoch - self._best.record.epoch >= self.parameters.tol_epochs

    def _save(self, phase: str, optimizer: torch.optim.Optimizer, epochs_done: int) -> None:
        if self.checkpoint is None:
            return
        content = {
            "phase": phase,
            "epochs_done": epochs_done,
            "optimizer": optimizer.state_dict(),
            "members": [member._state() for member in self.members],
        }
        keep_before(self.checkpoint)
        write_torch(self.checkpoint, content)

    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds of one network."""
        return {
            "model": self.model.state_dict(),
            "method": self.method.state_dict(),
            "best": _content(self._best) if self._best else None,
            "finished": {name: _content(snapshot) for name, snapshot in self.finished.items()},
            "history": [asdict(record) for record in self.history],
            "failure": self.failure,
        }

    def _continue(self, phase: str, optimizer: torch.optim.Optimizer) -> int:
        """Take the state inside a phase over from the checkpoint; returns the epochs already done."""
        saved, self._interrupted = self._interrupted, None
        assert saved is not None
        if saved["phase"] != phase:
            return 0  # the interruption fell between two phases
        for member, content in zip(self.members, saved["members"], strict=True):
            member.model.load_state_dict(content["model"])
            member.method.load_state_dict(content["method"])
            member._best = _snapshot(content["best"]) if content["best"] else None
        optimizer.load_state_dict(saved["optimizer"])
        return int(saved["epochs_done"])


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with tensors of its own: they may be parts of larger ones."""
    return {name: value.clone() for name, value in state.items()}


def _content(snapshot: Snapshot) -> dict[str, Any]:
    return {"model": snapshot.model, "method": snapshot.method, "record": asdict(snapshot.record)}


def _snapshot(content: dict[str, Any]) -> Snapshot:
    return Snapshot(content["model"], content["method"], EpochRecord(**content["record"]))
