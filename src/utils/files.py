"""Files that are written whole or not at all, and loaded without running code from them.

torch is imported where a file needs it: flags and their help do not.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import math
import os
import pickle
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, cast

import numpy as np

from src.utils.errors import UserError

MOST_JSON = 2**26  # bytes of a file of texts; the largest of this program have a hundredth of it
MOST_UNPACKED = 100  # times the size of an .npz file that its arrays may have: images have some 20 times, a trap 1,000

# What the readers of numpy and torch raise for files that are cut off, altered or of another kind.
_DAMAGED = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error),
    *(RuntimeError, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, MemoryError, OverflowError),
    *(TokenError, SyntaxError),  # numpy reads the header of an array as Python
)


class _Watched:
    """A file that remembers why it could not be written: torch says of a full disk no more than that it failed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes."""
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a temporary neighbour of ``path``, then move it into place in one step.

    The file is on the disk before it takes its place, and its place is before anything else is done: after a power cut
    there is the old one or the new one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder") from error
    watched = None
    try:
        with os.fdopen(handle, "wb") as file:
            watched = _Watched(file)
            write(cast(IO[bytes], watched))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:
        why = error if isinstance(error, OSError) else watched and watched.error
        if why is None:
            raise
        raise UserError(f"cannot write {path}: {why.strerror or why}") from error
    finally:
        Path(partial).unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Put what a folder holds on the disk, where the system lets a folder be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8."""
    _write_whole(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON; a NaN or infinity becomes ``null`` (JSON has neither)."""
    write_text(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


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


def file_before(path: Path) -> Path:
    """Where :func:`keep_before` keeps what a file was before."""
    return path.with_name(f"{path.stem}_before{path.suffix}")


def keep_before(path: Path) -> None:
    """Keep what a file is now, if there is one, beside it, before it is written anew."""
    if not path.exists():
        return
    before = file_before(path)
    partial = before.with_name(f".{before.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        os.link(path, partial)
        os.replace(partial, before)
    except OSError:  # not every file system has links
        copy_file(path, before)


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


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of :func:`write_json`.

    Raises:
        OSError, ValueError: if it cannot be read, or holds anything else.
    """
    if path.stat().st_size > MOST_JSON:
        raise ValueError(f"{path} has more than {MOST_JSON} bytes")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}")
    return content


def read_torch(path: Path) -> dict[str, Any]:
    """Read a file of :func:`write_torch`; tensors land on the CPU and no code in the file is run.

    torch does not compare the checksums of the tensors in the file; that is done first. Nor does it see that a few
    numbers are to be repeated as a tensor that no memory can hold.

    Raises:
        UserError: if it is missing, altered, or was not written by this program.
    """
    import torch

    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the pickle protocol before it fails
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}") from error
    except _DAMAGED as error:
        raise UserError(f"{path} cannot be read: it is damaged or was not written by this program") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} was not written by this program: it holds a {type(content).__name__}")
    size = path.stat().st_size
    if any(tensor.layout != torch.strided or tensor.nbytes > size for tensor in _tensors(content)):
        raise UserError(f"{path} was not written by this program: it holds tensors that are larger than the file")
    return content


def _check_archive(path: Path) -> None:
    """Refuse an archive that is packed, or with another checksum of a part than it says."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        packed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
        if packed or sum(part.file_size for part in parts) > path.stat().st_size or archive.testzip() is not None:
            raise zipfile.BadZipFile(f"{path} is altered")


def _tensors(content: Any) -> Iterator[Any]:
    """All tensors in plain values."""
    import torch

    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _tensors(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _tensors(value)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an ``.npz`` file (``allow_pickle=False``), whose sizes are checked first.

    Raises:
        UserError: if it is missing, altered or something else.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}") from error
    except _DAMAGED as error:
        raise UserError(f"{path} is damaged or no .npz file: delete it and try again") from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise UserError(f"{path} is damaged or no .npz file: delete it and try again")
    return arrays


def _check_sizes(path: Path) -> None:
    """Refuse arrays that say to be larger than what the file holds of them, before there is memory for them."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if sum(part.file_size for part in parts) > MOST_UNPACKED * path.stat().st_size:
            raise zipfile.BadZipFile(f"{path} holds more than {MOST_UNPACKED} times its size")
        for part in parts:
            with archive.open(part) as file:
                major, minor = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
                if dtype.hasobject or math.prod(shape) * dtype.itemsize != part.file_size - file.tell():
                    raise ValueError(f"{path} holds no array of version {major}.{minor} in {part.filename}")


def finite(value: Any) -> Any:
    """Plain values with None for a NaN or infinity."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [finite(item) for item in value]
    return value
