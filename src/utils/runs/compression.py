"""A trained network as a smaller one with the same answers, measured beside the dense one."""

from __future__ import annotations

import copy

from torch import Tensor

from Data_loaders.batches import Data
from Data_loaders.loaders import TaskData
from src.models.compact import CompactNetwork
from src.models.multi_task import MultiTaskNetwork
from src.utils.errors import UserError
from src.utils.sparsity.compress import Compressed, compress
from src.utils.sparsity.figures import Comparison, compare

COMPARED = 5_000
SHARE, MOST_SECONDS = 0.005, 0.25
"""Of the time of a training, and at most, that measuring the latency of a network at a batch size may take."""


def compress_trained(
    network: MultiTaskNetwork, images: Tensor, seconds: float
) -> tuple[CompactNetwork, Compressed, Comparison]:
    """Compress a network and measure both, on the CPU.

    Args:
        network: left untouched.
        images: that the outputs are compared on, normalised, shape (N, C, H, W).
        seconds: of measuring the latency, per network and batch size.

    Returns:
        The compressed network, what became of the layers, and the figures.

    Raises:
        UserError: if the network cannot be followed, or has layers of a kind that no file can hold.
    """
    dense, images = copy.deepcopy(network).cpu().eval(), images.cpu()
    found = compress(dense, images[:2])
    if found.modules:
        raise UserError(f"a compressed network cannot hold layers of other kinds: {', '.join(found.modules)}")
    compact = found.network()
    return compact, found, compare(dense, compact, images, seconds)


def images_to_compare(data: Data) -> Tensor:
    """Images that a network and its compressed form are compared on: all, or the first of data read in batches.

    Raises:
        UserError: for inputs that are not one tensor.
    """
    images = data.images if isinstance(data, TaskData) else data.first(COMPARED)[0]
    if not isinstance(images, Tensor):
        raise UserError(f"its inputs are a {type(images).__name__}; allowed: one tensor")
    return images


def seconds_after(training: float) -> float:
    """How long to measure after a training of so many seconds, per network and batch size."""
    return min(SHARE * training, MOST_SECONDS)
