"""The state of an unfinished training in a file, so that it can go on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.utils.errors import CheckpointError, UserError
from src.utils.files import file_before, keep_before, read_torch, write_torch
from src.utils.training.records import EpochRecord, Snapshot


@dataclass(frozen=True)
class Inside:
    """Where an interrupted epoch was left.

    Attributes:
        batch: batches that are done.
        sums: of the objectives so far, as the loop keeps them.
        random: states of the generators of random numbers, of the CPU and of a GPU that the network is on.
        seconds: that the epoch took so far.
    """

    batch: int
    sums: dict[str, Tensor]
    random: list[Tensor]
    seconds: float


@dataclass(frozen=True)
class MemberState:
    """Of one network: weights, method, what was best in this phase and in phases that are over, and the records."""

    model: dict[str, Tensor]
    method: dict[str, Tensor]
    best: Snapshot | None
    finished: dict[str, Snapshot]
    history: list[EpochRecord]
    failure: str | None

    @property
    def snapshots(self) -> list[Snapshot]:
        """All models that are kept, of this phase and of those before."""
        return [*self.finished.values(), *([self.best] if self.best else [])]


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs to go on.

    Attributes:
        phase: its name.
        epochs_done: of the phase.
        optimizer: its state dict.
        members: one per network.
        inside: where an epoch was left; None between epochs.
    """

    phase: str
    epochs_done: int
    optimizer: dict[str, Any]
    members: list[MemberState]
    inside: Inside | None = None

    def as_plain(self) -> dict[str, Any]:
        """Mappings, lists, texts, numbers and tensors, for a weights-only file."""
        return {
            "phase": self.phase,
            "epochs_done": self.epochs_done,
            "optimizer": self.optimizer,
            "members": [_plain_member(member) for member in self.members],
            "inside": None if self.inside is None else dict(vars(self.inside)),
        }

    @staticmethod
    def from_plain(content: Mapping[str, Any]) -> Checkpoint:
        """Inverse of :meth:`as_plain`.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: for anything else.
        """
        inside = content["inside"]
        return Checkpoint(
            phase=_of(str, content["phase"]),
            epochs_done=_count(content["epochs_done"]),
            optimizer=_of(dict, content["optimizer"]),
            members=[_member(member) for member in content["members"]],
            inside=None if inside is None else _inside(inside),
        )


class CheckpointFile:
    """The checkpoint of a run, and the one before it, which is kept as long as the newer one is not known to be good.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._good = False

    def read(self, take: Callable[[Checkpoint], None], say: Callable[[str], None]) -> bool:
        """Read the checkpoint, or the one before it where that cannot be taken over; False if there is none.

        Args:
            take: takes it over, or raises what :meth:`Checkpoint.from_plain` raises, or RuntimeError, if it does not
                fit.
            say: told of a fall back.

        Raises:
            CheckpointError: if neither can be taken over.
        """
        before = file_before(self.path)
        if not self.path.exists() and not before.exists():
            return False
        try:
            self._take(self.path, take)
            self._good = True
        except CheckpointError as error:
            if not before.exists():
                raise
            try:
                self._take(before, take)
            except CheckpointError:
                raise error from None
            say(f"{error}; going on from the checkpoint before it")
        return True

    def write(self, checkpoint: Checkpoint) -> None:
        """Write a new one. The one it replaces is kept beside it, unless that is damaged: then the one before it is.

        Raises:
            UserError: if it cannot be written, or its folder is not there any more.
        """
        if not self.path.parent.is_dir():
            raise UserError(
                f"{self.path.parent} is gone: it was renamed or removed while this run wrote to it; where it was "
                "renamed, go on with --resume and its new name"
            )
        if self._good:
            keep_before(self.path)
        write_torch(self.path, checkpoint.as_plain())
        self._good = True

    @staticmethod
    def _take(path: Path, take: Callable[[Checkpoint], None]) -> None:
        try:
            content = read_torch(path)
        except UserError as error:
            raise CheckpointError(str(error)) from error
        try:
            take(Checkpoint.from_plain(content))
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{path} is of another version, network or method: start anew") from error


def check_optimizer(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Refuse the state of an optimizer that is not of this kind, or not of these parameters.

    Raises:
        LookupError, TypeError, ValueError: saying no more; the file says the rest.
    """
    mine, groups = optimizer.state_dict()["param_groups"], state["param_groups"]
    if [(set(group), group["params"]) for group in groups] != [(set(group), group["params"]) for group in mine]:
        raise ValueError("other groups of parameters")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in state["state"].items():
        for name, value in values.items():
            scalar = name == "step"
            if not isinstance(value, Tensor) or value.shape != (() if scalar else parameters[number].shape):
                raise ValueError("moments of another shape")
    kinds = {frozenset(values) for values in state["state"].values()}
    if len(kinds) > 1 or not kinds <= {frozenset(_MOMENTS[type(optimizer).__name__])}:
        raise ValueError("moments of another optimizer")


_MOMENTS = {
    "Adam": ("step", "exp_avg", "exp_avg_sq"),
    "AdamW": ("step", "exp_avg", "exp_avg_sq"),
    "SGD": ("momentum_buffer",),
}


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with tensors of its own: they may be parts of larger ones."""
    return {name: value.clone() for name, value in state.items()}


def _plain_member(member: MemberState) -> dict[str, Any]:
    return {
        "model": member.model,
        "method": member.method,
        "best": _plain_snapshot(member.best) if member.best else None,
        "finished": {name: _plain_snapshot(snapshot) for name, snapshot in member.finished.items()},
        "history": [asdict(record) for record in member.history],
        "failure": member.failure,
    }


def _member(content: Mapping[str, Any]) -> MemberState:
    best, failure = content["best"], content["failure"]
    return MemberState(
        model=_tensors(content["model"], finite=failure is None),
        method=_tensors(content["method"], finite=failure is None),
        best=None if best is None else _snapshot(best),
        finished={_of(str, name): _snapshot(snapshot) for name, snapshot in content["finished"].items()},
        history=[_record(row) for row in content["history"]],
        failure=None if failure is None else _of(str, failure),
    )


def _inside(content: Mapping[str, Any]) -> Inside:
    random = [_of(Tensor, state) for state in content["random"]]
    return Inside(_count(content["batch"]), _tensors(content["sums"]), random, float(content["seconds"]))


def _plain_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    return {"model": snapshot.model, "method": snapshot.method, "record": asdict(snapshot.record)}


def _snapshot(content: Mapping[str, Any]) -> Snapshot:
    return Snapshot(_tensors(content["model"]), _tensors(content["method"]), _record(content["record"]))


def _record(row: Mapping[str, Any]) -> EpochRecord:
    record = EpochRecord(**row)
    numbers = (record.iteration, record.epoch, record.lr, record.sparsity_rate, record.seconds)
    lists: Sequence[Sequence[float]] = (
        *(record.objectives, record.weighted_objectives, record.lam),
        *(record.validation_accuracy, record.validation_losses, list(record.details.values())),
    )
    if not all(isinstance(value, int | float) for values in (numbers, *lists) for value in values):
        raise TypeError("a record of an epoch holds something else than numbers")
    return record


def _tensors(content: Any, *, finite: bool = True) -> dict[str, Tensor]:
    found: dict[str, Tensor] = _of(dict, content)
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()):
        raise TypeError("no state dict")
    if finite and not all(bool(value.isfinite().all()) for value in found.values()):
        raise ValueError("a state dict with numbers that are not finite")
    return found


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
    return value
