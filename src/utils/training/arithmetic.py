"""Arithmetic of a training: the same seed gives the same result; numbers next to zero and memory cost no time."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
import torch.utils.deterministic

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: same seed, same result

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of parameters in glibc's malloc.h
_LARGEST = 1 << 30


@cache
def keep_freed_memory() -> bool:
    """Let the process keep memory that is freed, up to a GB at a time; returns whether its allocator can.

    By default glibc gives every large tensor back to the system when it is freed, and each step of a training gets
    new pages, which the system has to clear: on the CPU a third of the step's time and more. Results stay the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # not glibc: Windows, macOS, musl
        return False
    return all([mallopt(_MMAP_THRESHOLD, _LARGEST), mallopt(_TRIM_THRESHOLD, _LARGEST)])


@contextmanager
def run_arithmetic() -> Iterator[None]:
    """Deterministic algorithms, denormal numbers flushed to zero; PyTorch's own settings are put back afterwards.

    The momentum of weights without a gradient decays until it is denormal and stays there: without flushing, epochs
    on the CPU become several times slower in the course of a training. PyTorch cannot say whether denormal numbers
    were flushed before: they are not afterwards. Freed memory is kept from then on.
    """
    keep_freed_memory()
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new tensors with NaN is a debugging aid of the deterministic mode that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
