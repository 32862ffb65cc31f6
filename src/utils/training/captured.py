"""The gradients of a step recorded once as a CUDA graph and replayed: the processor starts one piece of work, not
hundreds.

This has been tested with a recorder that works on the CPU; on a GPU it has not been run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from Data_loaders.batches import Batch, Inputs, Labels, changed, leaves
from src.utils.training.method import Method

Work = Callable[[], Tensor]


def can_capture(device: torch.device, method: Method) -> bool:
    """Whether a step can be a graph: on CUDA, where nobody has to look which labels of a batch are missing."""
    return device.type == "cuda" and method.complete


class Recorder(Protocol):
    """How work is recorded."""

    def aside(self, work: Work) -> Tensor:
        """Do work where it could be recorded: what the first run sets up is there when it is."""

    def record(self, work: Work) -> tuple[Callable[[], None], Tensor]:
        """Record work without doing it; returns what does it, and its result, which each time overwrites."""


class CudaGraphs:
    """Records on the current GPU, on a stream beside that of everything else."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def aside(self, work: Work) -> Tensor:
        """Do work on the stream, after all that was started before and before all that is started later."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            found = work()
        torch.cuda.current_stream().wait_stream(self._stream)
        return found

    def record(self, work: Work) -> tuple[Callable[[], None], Tensor]:
        """Record work as a graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            found = work()
        return graph.replay, found


@dataclass(frozen=True)
class _Recording:
    """Recorded work: where it reads a batch from and where it leaves results and gradients."""

    key: Any
    batch: Batch
    replay: Callable[[], None]
    result: Tensor
    gradients: list[Tensor | None]


class Captured:
    """The gradients of batches, of which those after the first of their kind come from a recording.

    What is recorded are the forward and backward pass and what the method keeps of a batch, with all tensors in their
    places: averages and multipliers change as they would. The optimizer's step and the rule for the rows are not in
    it. Whatever Python knows and a recording would not learn of decides whether it still holds: the shapes of the
    batch and the ``numbers`` of the method. A batch of another kind (the last one of an epoch, or the first at
    another learning rate) is worked on as usual, the second in a row of one kind is recorded. Where recording fails,
    that is said, and all work is done as usual.

    Args:
        work: adds gradients of a batch to ``.grad`` of the parameters, which is None before; returns its objectives.
        parameters: that get gradients.
        numbers: what ``work`` depends on beside tensors.
        say: told if recording fails.
        recorder: does the recording; None records CUDA graphs.
    """

    def __init__(
        self,
        work: Callable[[Inputs, Labels], Tensor],
        parameters: Sequence[Tensor],
        numbers: Callable[[], Any],
        say: Callable[[str], None],
        recorder: Recorder | None = None,
    ) -> None:
        self._work, self._parameters, self._numbers, self._say = work, parameters, numbers, say
        self._recorder = recorder or CudaGraphs()
        self._recording: _Recording | None = None
        self._before: Any = None
        self._fails = False

    def __call__(self, images: Inputs, labels: Labels) -> Tensor:
        key = (_kind(images), _kind(labels), self._numbers())
        if not self._fails and key == self._before and (self._recording is None or key != self._recording.key):
            self._record(key, images, labels)
        self._before = key
        if self._recording is None or key != self._recording.key:
            return self._recorder.aside(lambda: self._work(images, labels))
        for place, new in zip(leaves(self._recording.batch), leaves((images, labels)), strict=True):
            place.copy_(new)
        self._recording.replay()
        for parameter, gradient in zip(self._parameters, self._recording.gradients, strict=True):
            parameter.grad = gradient
        return self._recording.result.clone()

    def _record(self, key: Any, images: Inputs, labels: Labels) -> None:
        self._recording = None  # its memory is free for the next one
        batch = changed((images, labels), torch.clone)
        try:
            replay, result = self._recorder.record(lambda: self._work(*batch))
        except RuntimeError as error:
            self._fails = True
            self._say(f"a step cannot be recorded as a CUDA graph, it goes on without: {str(error).splitlines()[0]}")
        else:
            gradients = [parameter.grad for parameter in self._parameters]
            self._recording = _Recording(key, batch, replay, result, gradients)
        for parameter in self._parameters:
            parameter.grad = None


def _kind(part: Any) -> list[tuple[Any, ...]]:
    return [(tensor.shape, tensor.stride(), tensor.dtype) for tensor in leaves(part)]
