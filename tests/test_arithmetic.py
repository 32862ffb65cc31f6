"""What a process is set to for a training."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from typing import Any

import pytest

from src.utils.runs.config import ROOT
from src.utils.training import arithmetic

FAULTS = """
import resource, sys
from src.utils.training.arithmetic import keep_freed_memory
if "keep" in sys.argv:
    assert keep_freed_memory()
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(9_000_000) for _ in range(6)]
    last = torch.ones(1_000)
    del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(sum([faults() for _ in range(24)][-8:]))  # the first rounds lay out the heap: up to ten, it differs each time
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
def test_memory_that_is_kept_needs_no_new_pages() -> None:
    def faults(*words: str) -> int:
        command = [sys.executable, "-c", FAULTS, *words]
        return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)

    assert faults() > 10 * (faults("keep") + 1)


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: Any) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", without)
    assert arithmetic.keep_freed_memory.__wrapped__() is False
