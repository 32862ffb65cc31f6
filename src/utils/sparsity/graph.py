"""A network as a graph of steps with their tensors: what the passes of a compression read and rewrite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from src.utils.program import INPUT, Program, Step

LAYERS = {"linear", "conv2d"}
POINTWISE: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
POOLS = {"max_pool2d", "avg_pool2d"}
CHANNELWISE = {*POINTWISE, *POOLS, "affine", "scale"}  # channel c of the result depends on channel c alone


@dataclass
class Graph:
    """Steps in the order in which they run, with all that a :class:`Program` leaves out.

    Attributes:
        input_shape: of one image.
        outputs: names of the values that are the network's outputs.
        steps: by name, in order.
        tensors: of each step that has some, by name.
        shapes: of the values without the batch, ``(C, ...)``; empty for what is no tensor.
        modules: the layers of "module" steps.
        sources: names of the layers that the steps come from.
        left: what stays as it is, by the name of the layer, and why.
    """

    input_shape: tuple[int, ...]
    outputs: list[str] = field(default_factory=list)
    steps: dict[str, Step] = field(default_factory=dict)
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes.setdefault(INPUT, self.input_shape)

    def add(
        self,
        name: str,
        op: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        tensors: Mapping[str, Tensor | None] | None = None,
        **options: Any,
    ) -> str:
        """Append a step under a name that is free, and return that name; tensors that are None are left out."""
        while name in self.shapes or hasattr(nn.ModuleDict, name):
            name += "_"
        self.steps[name] = Step(name, op, inputs, options)
        self.shapes[name] = shape
        kept = {key: tensor for key, tensor in (tensors or {}).items() if tensor is not None}
        if kept:
            self.tensors[name] = kept
        return name

    def like(self) -> Graph:
        """An empty graph for the same images, to be filled by a pass."""
        return Graph(self.input_shape, modules=self.modules, sources=self.sources, left=self.left)

    def channels(self, name: str) -> int:
        """Number of channels of a value; 1 for what is no tensor."""
        return self.shapes[name][0] if self.shapes[name] else 1

    def readers(self, name: str) -> list[Step]:
        """Steps that read a value, once for each time."""
        return [step for step in self.steps.values() for read in step.inputs if read == name]

    def alone(self, name: str) -> bool:
        """Whether one step reads the value and no output is it."""
        return len(self.readers(name)) == 1 and name not in self.outputs

    def rigid(self, step: Step) -> bool:
        """Whether a step must see all its inputs and keep all its outputs: a layer of another kind, or with groups."""
        return step.op == "module" or step.options.get("groups", 1) != 1

    def set_inputs(self, name: str, *inputs: str, **options: Any) -> None:
        """Let a step read other values, with options replaced."""
        step = self.steps[name]
        self.steps[name] = replace(step, inputs=inputs, options={**step.options, **options})

    def bypass(self, name: str, instead: str) -> None:
        """Take a step out: who read it reads ``instead``."""
        del self.steps[name]
        self.tensors.pop(name, None)
        for reader in list(self.steps.values()):
            if name in reader.inputs:
                self.set_inputs(reader.name, *(instead if read == name else read for read in reader.inputs))
        self.outputs = [instead if output == name else output for output in self.outputs]

    def sort(self) -> None:
        """Put the steps into an order in which each runs after what it reads, with few changes."""
        ordered: dict[str, Step] = {}

        def visit(name: str) -> None:
            if name in self.steps and name not in ordered:
                for read in self.steps[name].inputs:
                    visit(read)
                ordered[name] = self.steps[name]

        for name in list(self.steps):
            visit(name)
        self.steps = ordered

    def size(self) -> tuple[int, int]:
        """Numbers in all tensors, and steps: neither grows in a pass."""
        return sum(t.numel() for own in self.tensors.values() for t in own.values()), len(self.steps)

    def program(self) -> Program:
        """Its steps as plain data."""
        return Program(self.input_shape, tuple(self.steps.values()), tuple(self.outputs))

    def state(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Its tensors by ``<step>.<tensor>``, rounded to ``dtype`` where they are of floating point."""
        return {
            f"{name}.{key}": tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, own in self.tensors.items()
            for key, tensor in own.items()
        }


def is_padded(step: Step) -> bool:
    """Whether zeros around the image are part of what a convolution or a pooling computes."""
    counted = step.op == "conv2d" or (step.op == "avg_pool2d" and bool(step.options["count_include_pad"]))
    padding = step.options.get("padding", 0)
    return counted and (any(padding) if isinstance(padding, tuple | list) else bool(padding))
