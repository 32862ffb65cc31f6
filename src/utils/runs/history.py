"""``history.csv``, a row per epoch of a run: its one writer and its one reader."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from src.utils.errors import UserError
from src.utils.files import write_csv
from src.utils.training.records import EpochRecord

_LISTS = ("objectives", "weighted_objectives", "lam", "validation_accuracy", "validation_losses")
_COLUMN = {"lam": "lambda"}


def write_history(path: Path, history: Sequence[EpochRecord]) -> None:
    """Write ``history.csv``: lists are spread over columns ``name_0``, ``name_1``, ... (objective 0 is sparsity)."""
    write_csv(path, [_flat(asdict(record)) for record in history])


def read_history(path: Path) -> list[EpochRecord]:
    """The epochs of a ``history.csv``, all with as many objectives.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        with path.open(newline="") as file:
            history = [_record(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(f"{path} is damaged or of another version") from error
    sizes = {tuple(len(getattr(record, name)) for name in _LISTS) for record in history}
    tasks = len(history[0].validation_losses) if history else 0
    if sizes != {(tasks + 1, tasks + 1, tasks + 1, tasks, tasks)} or not tasks:
        raise UserError(f"{path} is damaged or of another version: it holds no epochs of one training")
    return history


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "details":
            flat |= value
        elif name in _LISTS:
            flat |= {f"{_COLUMN.get(name, name)}_{number}": item for number, item in enumerate(value)}
        else:
            flat[name] = value
    return flat


def _record(row: Mapping[str, str]) -> EpochRecord:
    """The inverse of :func:`_flat`."""
    left = dict(row)
    values: dict[str, Any] = {"phase": left.pop("phase")}
    values |= {name: int(left.pop(name)) for name in ("iteration", "epoch")}
    values |= {name: float(left.pop(name)) for name in ("lr", "sparsity_rate", "seconds")}
    for name in _LISTS:
        beginning = f"{_COLUMN.get(name, name)}_"
        columns = [name for name in left if name.startswith(beginning) and name.removeprefix(beginning).isdigit()]
        values[name] = [float(left.pop(column)) for column in columns]
    return EpochRecord(**values, details={name: float(value) for name, value in left.items()})
