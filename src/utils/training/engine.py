"""The training loop: one for every method, data set and network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from Data_loaders.batches import Batch, Data, Inputs, Labels, size
from Data_loaders.streams import AnySplits, epoch_batches
from src.models.multi_task import MultiTaskNetwork
from src.utils.errors import UserError
from src.utils.interruptions import held_back
from src.utils.sparsity.metrics import zero_row_rate
from src.utils.training.checkpoints import (
    Checkpoint,
    CheckpointFile,
    Inside,
    MemberState,
    check_optimizer,
    copied,
)
from src.utils.training.evaluation import Evaluation, evaluate, evaluation_batch
from src.utils.training.losses import all_labelled
from src.utils.training.method import Method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import EpochRecord, Observer, Phase, RowRule, Snapshot
from src.utils.training.schedule import learning_rate
from src.utils.training.sparse_layers import sparse_layers


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
        checkpoint_batches: write it after so many batches of an epoch, too; None only after epochs.

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
        checkpoint_batches: int | None = None,
    ) -> None:
        self.model = model
        self.method = method
        method.complete = all_labelled(splits.train)
        self.splits = splits
        self.parameters = parameters
        self.seed = seed
        self.observer = observer or Observer()
        self._file = CheckpointFile(checkpoint) if checkpoint else None
        self._checkpoint_batches = checkpoint_batches
        self.members: Sequence[Trainer] = (self,)
        self.failure: str | None = None
        self.history: list[EpochRecord] = []
        self.finished: dict[str, Snapshot] = {}
        self._best: Snapshot | None = None
        self._interrupted: Checkpoint | None = None
        self._inside: Inside | None = None
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

    @property
    def seconds(self) -> float:
        """That the epochs took so far, of one network."""
        inside = self._interrupted and self._interrupted.inside
        return sum(record.seconds for record in self.members[0].history) + (inside.seconds if inside else 0.0)

    def evaluate(self, data: Data) -> Evaluation:
        """Test the network on the tasks that are trained."""
        parameters = self.parameters
        batch_size = evaluation_batch(parameters.batch_size)
        return evaluate(self.model, data, self.method.tasks, parameters.criterion, batch_size)

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
                state = copied(member.method.state_dict())
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
        """Read the checkpoint, if there is one; the next calls of :meth:`run` go on from there, which is said.

        One that is damaged falls back to the one before, which is said, too. The network keeps its initial weights
        until then, which a phase's rule for the rows may depend on.

        Raises:
            CheckpointError: if the checkpoint is damaged, or not of this network, method and version, and the one
                before it, too.
        """
        if self._file and self._file.read(self._take_over, self.observer.message):
            assert self._interrupted is not None
            inside = self._interrupted.inside
            within = f" and {inside.batch} batches of the next" if inside else ""
            self.observer.message(f"going on after epoch {self.epochs}{within}")

    def _take_over(self, saved: Checkpoint) -> None:
        """Take records over and keep the rest for later, or leave everything as it is."""
        before = [(copied(member.model.state_dict()), copied(member.method.state_dict())) for member in self.members]
        check_optimizer(saved.optimizer, self.make_optimizer())
        try:
            for member, state in zip(self.members, saved.members, strict=True):
                found = [(state.model, state.method), *((kept.model, kept.method) for kept in state.snapshots)]
                for model, method in reversed(found):  # all must fit; the last is the one to go on with
                    member.model.load_state_dict(model)
                    member.method.load_state_dict(method)
        except Exception:
            for member, (_, method) in zip(self.members, before, strict=True):
                member.method.load_state_dict(method)
            raise
        finally:
            for member, (model, _) in zip(self.members, before, strict=True):
                member.model.load_state_dict(model)
        for member, state in zip(self.members, saved.members, strict=True):
            member.history, member.finished, member.failure = state.history, state.finished, state.failure
        self._interrupted = saved

    def _epoch(self, phases: Sequence[Phase], rule: RowRule, optimizer: torch.optim.Optimizer, epoch: int) -> None:
        """Train and validate; each member that goes on gets a record, or the reason why it cannot."""
        started = time.perf_counter() - (self._inside.seconds if self._inside else 0.0)
        iteration = epoch // self.parameters.num_epochs

        def rate(share: float) -> float:
            return learning_rate(self.parameters, phases[0], epoch + share)

        def save(batch: int, sums: _Sums) -> None:
            inside = Inside(batch, dict(vars(sums)), self._random_states(), time.perf_counter() - started)
            self._save(phases[0].name, optimizer, epoch, inside)

        f = self._train_epoch(rule, optimizer, rate, save).view(len(self.members), -1)
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
                lr=rate(0.0),
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

    def _train_epoch(
        self,
        rule: RowRule,
        optimizer: torch.optim.Optimizer,
        rate: Callable[[float], float],
        save: Callable[[int, _Sums], None],
    ) -> Tensor:
        """One pass over the training data, or what is left of it; returns the mean objectives, of all members.

        ``rate`` is the learning rate after a share of the epoch. A request to end waits for the end of the batch,
        which ``save`` writes down.
        """
        sums = _Sums.zero(self._zeros())
        known: list[int] = []
        weight = self._zeros()
        steps = self.splits.train.steps(self.parameters.batch_size)
        steps = min(steps, self.parameters.num_batchEpoch or steps)
        within = [copied(member.method.state_dict()) for member in self.members] if self._inside else []
        for member in self.members:
            member.model.train()
            member.method.start_epoch(steps, rate(0.0) / self.parameters.lr)
        for member, state in zip(self.members, within, strict=False):
            member.method.load_state_dict(state)  # sums over the epoch go on
        rule.start_epoch()
        batches, done = self._batches(), 0
        if self._inside:
            sums, done = _Sums(**self._inside.sums).to(self.device), self._skip(batches)
        with held_back() as requests:
            for number, (images, labels) in enumerate(batches, start=done + 1):
                optimizer.zero_grad()
                for group in optimizer.param_groups:
                    group["lr"] = rate((number - 1) / steps)
                f = self._backward(images, labels)
                counts = [size(images), *self.method.counts]
                if counts != known:  # a tensor made of numbers is a copy to the device
                    known, weight = counts, f.new_tensor(counts)
                sums = sums.with_batch(f, weight, number)
                optimizer.step()
                rule.after_step()
                self.observer.batch_ends(number / steps)
                if requests.pending or number % (self._checkpoint_batches or steps + 1) == 0:
                    save(number, sums)
                requests.deliver()
        for member, first in zip(self.members, sums.infinite.view(len(self.members), -1), strict=True):
            member._first_infinite = first
        return sums.mean

    def _skip(self, batches: Iterator[Batch]) -> int:
        """Leave out the batches that were done before an interruption, with all that was random in them."""
        assert self._inside is not None
        inside, self._inside = self._inside, None
        for _ in islice(batches, inside.batch):
            pass
        torch.set_rng_state(inside.random[0])
        for state in inside.random[1:]:
            torch.cuda.set_rng_state(state, self.device)
        return inside.batch

    def _random_states(self) -> list[Tensor]:
        on_gpu = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return [torch.get_rng_state(), *on_gpu]

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
            self._best = Snapshot(copied(self.model.state_dict()), copied(self.method.state_dict()), record)

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

    def _save(
        self, phase: str, optimizer: torch.optim.Optimizer, epochs_done: int, inside: Inside | None = None
    ) -> None:
        if self._file is not None:
            members = [member._state() for member in self.members]
            self._file.write(Checkpoint(phase, epochs_done, optimizer.state_dict(), members, inside))

    def _state(self) -> MemberState:
        """What a checkpoint holds of one network."""
        model, method = self.model.state_dict(), self.method.state_dict()
        return MemberState(model, method, self._best, self.finished, self.history, self.failure)

    def _continue(self, phase: str, optimizer: torch.optim.Optimizer) -> int:
        """Take the state inside a phase over from the checkpoint; returns the epochs already done."""
        saved, self._interrupted = self._interrupted, None
        assert saved is not None
        if saved.phase != phase:
            return 0  # the interruption fell between two phases
        for member, state in zip(self.members, saved.members, strict=True):
            member.model.load_state_dict(state.model)
            member.method.load_state_dict(state.method)
            member._best = state.best
        optimizer.load_state_dict(saved.optimizer)
        self._inside = saved.inside
        return saved.epochs_done


@dataclass(frozen=True)
class _Sums:
    """Over the batches of an epoch, of all objectives: (m + 1,), or of all members.

    Attributes:
        last: objectives of the last batch.
        total: objectives times the numbers of labels they are means of.
        counted: these numbers.
        infinite: the first batch in which an objective was infinite or no number, without a look at any of them.
    """

    last: Tensor
    total: Tensor
    counted: Tensor
    infinite: Tensor

    @staticmethod
    def zero(like: Tensor) -> _Sums:
        """Before the first batch."""
        return _Sums(*(torch.zeros_like(like) for _ in range(4)))

    def to(self, device: torch.device) -> _Sums:
        """The same on a device."""
        return _Sums(*(value.to(device) for value in vars(self).values()))

    def with_batch(self, f: Tensor, weight: Tensor, number: int) -> _Sums:
        """After one more batch with objectives f, means of so many labels."""
        infinite = self.infinite.where((self.infinite > 0) | f.isfinite(), number)
        return _Sums(f, self.total + f * weight, self.counted + weight, infinite)

    @property
    def mean(self) -> Tensor:
        """Mean objectives; where there are no labels what they were last."""
        return torch.where(self.counted > 0, self.total / self.counted.clamp(min=1), self.last)
