"""How large and how fast a network is, measured."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src.utils.checked import to_plain

BATCH_SIZES = (1, 256)
SECONDS = 1.0  # of measuring per network and batch size, unless said otherwise
REPETITIONS = (3, 200)  # at least and at most
CHUNK = 500


@dataclass(frozen=True)
class Figures:
    """Size and speed of a network in evaluation mode.

    Attributes:
        parameters: numbers that were trained, or computed from such.
        bytes: of its state dict as ``torch.save`` writes it, index tensors included.
        multiply_adds: of the products of layers, for one image.
        latency_ms: median time of a batch on one thread of the CPU, by batch size.
    """

    parameters: int
    bytes: int
    multiply_adds: int
    latency_ms: Mapping[int, float]

    def as_plain(self) -> dict[str, Any]:
        """For JSON: batch sizes are texts."""
        return {**to_plain(self), "latency_ms": {str(size): time for size, time in self.latency_ms.items()}}


@dataclass(frozen=True)
class Comparison:
    """A network before and after a compression.

    Attributes:
        dense, compressed: measured in turns.
        max_difference: largest absolute difference of an output.
        same_predictions: whether every image gets the same class in every task.
    """

    dense: Figures
    compressed: Figures
    max_difference: float
    same_predictions: bool

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **to_plain(self),
            "dense": self.dense.as_plain(),
            "compressed": self.compressed.as_plain(),
        }


def figures(network: nn.Module, images: Tensor, seconds: float = SECONDS) -> Figures:
    """Measure one network, on images (N, C, H, W) that are repeated to fill a batch; ``seconds`` as in compare."""
    return _figures([network], images, seconds)[0]


def compare(dense: nn.Module, compressed: nn.Module, images: Tensor, seconds: float = SECONDS) -> Comparison:
    """Measure two networks in turns and compare their outputs on all images, (N, C, H, W).

    Args:
        dense, compressed: the networks.
        images: that are compared, and repeated to fill a batch.
        seconds: of measuring the latency, per network and batch size; at least a few batches are run.
    """
    before, after = _figures([dense, compressed], images, seconds)
    differences, same = [0.0], True
    with torch.inference_mode():
        for chunk in images.split(CHUNK):
            for a, b in zip(_outputs(dense, chunk), _outputs(compressed, chunk), strict=True):
                differences.append(float((a - b).abs().max()))
                same = same and torch.equal(a.argmax(1), b.argmax(1))
    return Comparison(before, after, max(differences), same)


def _figures(networks: Sequence[nn.Module], images: Tensor, seconds: float) -> list[Figures]:
    modes = [network.training for network in networks]
    for network in networks:
        network.eval()
    latency = {size: latency_ms(networks, _batch(images, size), seconds) for size in BATCH_SIZES}
    found = [
        Figures(
            sum(parameter.numel() for parameter in network.parameters()),
            _bytes(network),
            _multiply_adds(network, images[:1]),
            {size: latency[size][number] for size in BATCH_SIZES},
        )
        for number, network in enumerate(networks)
    ]
    for network, mode in zip(networks, modes, strict=True):
        network.train(mode)
    return found


def _outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    mode = network.training
    outputs = network.eval()(images)
    network.train(mode)
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _batch(images: Tensor, size: int) -> Tensor:
    return images[torch.arange(size, device=images.device) % len(images)]


def _bytes(network: nn.Module) -> int:
    buffer = io.BytesIO()
    torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}, buffer)
    return buffer.tell()


def _multiply_adds(network: nn.Module, image: Tensor) -> int:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)  # the counter looks for the gradients of outputs, and constants have none
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(image)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return int(counter.get_total_flops()) // 2


def latency_ms(networks: Sequence[Callable[[Any], Any]], batch: Any, seconds: float) -> list[float]:
    """Median time of each network; they take turns, so that a busy machine is as bad for one as for the other.

    Args:
        networks: of torch, on one thread, or of another runtime.
        batch: that they take.
        seconds: of measuring, per network; at least a few batches are run.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times: list[list[float]] = [[] for _ in networks]
    try:
        with torch.inference_mode():
            for network in networks:  # the first call chooses kernels and fills caches
                network(batch)
            least, most = REPETITIONS
            end = time.perf_counter() + seconds * len(networks)
            while len(times[0]) < least or (len(times[0]) < most and time.perf_counter() < end):
                for network, own in zip(networks, times, strict=True):
                    start = time.perf_counter()
                    network(batch)
                    own.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return [1000 * statistics.median(own) for own in times]
