"""Arithmetic of a training: the same seed gives the same result, and numbers next to zero cost no time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.utils.deterministic

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: same seed, same result


@contextmanager
def run_arithmetic() -> Iterator[None]:
    """Deterministic algorithms, denormal numbers flushed to zero; PyTorch's own settings are put back afterwards.

    The momentum of weights without a gradient decays until it is denormal and stays there: without flushing, epochs
    on the CPU become several times slower in the course of a training. PyTorch cannot say whether denormal numbers
    were flushed before: they are not afterwards.
    """
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
