"""Files are written whole or not at all, on a full disk and when a process is killed, too."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.utils.errors import UserError
from src.utils.files import (
    file_before,
    keep_before,
    write_bytes,
    write_csv,
    write_json,
    write_npz,
    write_text,
    write_torch,
)
from src.utils.runs.config import ROOT
from tests.conftest import one_line

WRITERS: dict[str, Callable[[Path], None]] = {
    "torch": lambda path: write_torch(path, {"weights": torch.zeros(100_000)}),
    "npz": lambda path: write_npz(path, {"images": np.arange(100_000)}),
    "json": lambda path: write_json(path, {"numbers": list(range(100_000))}),
    "csv": lambda path: write_csv(path, [{"number": number} for number in range(100_000)]),
    "text": lambda path: write_text(path, "x" * 100_000),
    "bytes": lambda path: write_bytes(path, b"x" * 100_000),
}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the system refuses to write on, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", WRITERS)
def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with files_of_at_most(20_000), pytest.raises(UserError, match=f"cannot write {path}: File too large") as error:
        WRITERS[kind](path)
    one_line(error)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
    WRITERS[kind](path)
    assert path.stat().st_size > 20_000


def test_what_torch_cannot_save_is_no_matter_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="pickle") as error:
        write_torch(tmp_path / "file", {"function": lambda: 0})
    assert not isinstance(error.value, UserError)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any) -> Any:
            folder = name == "fsync" and os.path.isdir(f"/proc/self/fd/{arguments[0]}")
            calls.append("folder" if folder else name)
            return call(*arguments)

        return wrapper

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", noted("replace", os.replace))
    write_text(tmp_path / "file", "new")
    assert calls == ["fsync", "replace", "folder"]


@pytest.mark.parametrize("moment", ["fsync", "chmod", "replace"])
def test_killed_while_it_writes_the_old_file_is_there(moment: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    code = (
        "import os, pathlib, signal, sys\nfrom src.utils.files import write_text\n"
        f"os.{moment} = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_text(pathlib.Path(sys.argv[1]), 'new')\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT).returncode == -9
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("links", [True, False])
def test_what_a_file_was_is_kept(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: Any) -> None:
        raise PermissionError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "checkpoint.pt"
    keep_before(path)
    assert list(tmp_path.iterdir()) == []
    for text in ("first", "second", "third"):
        keep_before(path)
        write_text(path, text)
    assert path.read_text() == "third"
    assert file_before(path).read_text() == "second"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_a_run_on_a_full_disk_ends_in_a_line_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    command = [sys.executable, "Example_MDMTN_MM_withSparsity.py", "--demo", "--output-dir", str(disk), "--quiet"]
    try:
        full = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert full.returncode == 2
        (line,) = full.stderr.strip().splitlines()
        assert line.startswith("error: cannot write ")
        assert line.endswith("No space left on device")
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_run_in_a_read_only_place_is_refused_before_any_work(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    command = [sys.executable, "Example_MDMTN_MM_withSparsity.py", "--demo", "--output-dir", str(disk), "--quiet"]
    try:
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert refused.stdout == ""
