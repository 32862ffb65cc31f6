"""Files that are written whole or not at all, and loaded without running code from them.

torch is imported where a file needs it: flags and their help do not.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import pickle
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from src.utils.errors import UserError

# What the readers of numpy and torch raise for files that are cut off, altered or of another kind.
_DAMAGED = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error),
    *(RuntimeError, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(TokenError, SyntaxError),  # numpy reads the header of an array as Python
)


def _write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a temporary neighbour of ``path``, then move it into place in one step."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder") from error
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        Path(partial).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8."""
    _write_whole(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON; a NaN or infinity becomes ``null`` (JSON has neither)."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the keys of all as header, in the order in which they turn up; what a row lacks stays empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as one ``.npz`` file."""
    _write_whole(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def write_torch(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values with ``torch.save``."""
    import torch

    _write_whole(path, lambda file: torch.save(dict(content), file))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes."""
    _write_whole(path, lambda file: file.write(content))


def write_picture(path: Path, save: Callable[[IO[bytes]], None]) -> None:
    """Write a picture that ``save`` draws into an open binary file."""
    _write_whole(path, save)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file."""
    _write_whole(target, lambda file: file.write(source.read_bytes()))


def files_beginning(beginning: Path) -> list[Path]:
    """Files whose names are that of ``beginning``, an underscore and something more, in its folder."""
    return sorted(beginning.parent.glob(f"{glob.escape(beginning.name)}_*"))


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written to, or made.

    Raises:
        UserError: naming it.
    """
    try:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; see --output-dir") from error
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {folder}: {existing} is not a folder you may write to; see --output-dir")


def read_torch(path: Path) -> dict[str, Any]:
    """Read a file of :func:`write_torch`; tensors land on the CPU and no code in the file is run."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the pickle protocol before it fails
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}") from error
    except _DAMAGED as error:
        raise UserError(f"{path} cannot be read: it is damaged or was not written by this program") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} was not written by this program: it holds a {type(content).__name__}")
    return content


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an ``.npz`` file (``allow_pickle=False``)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}") from error
    except _DAMAGED as error:
        raise UserError(f"{path} is damaged or no .npz file: delete it and try again") from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise UserError(f"{path} is damaged or no .npz file: delete it and try again")
    return arrays


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value
