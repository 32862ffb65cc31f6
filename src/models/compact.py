"""A network that runs a program of plain steps: what compression makes of any other network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from src.models.multi_task import MultiTaskNetwork
from src.utils.errors import UserError
from src.utils.program import INPUT, Program, Step


@dataclass(frozen=True)
class Operation:
    """How a step is run.

    Attributes:
        run: makes the value from the inputs, in order, and the tensors and options by name.
        tensors: names of the tensors that a step must have.
        optional: names of those it may have.
        options: names of its options, all of them needed.
        inputs: number of values it reads, None for any.
        fresh: whether it makes new memory that the next step may write into.
    """

    run: Callable[..., Tensor]
    tensors: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    inputs: int | None = 1
    fresh: bool = True


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, columns: Tensor | None = None) -> Tensor:
    """A linear layer; with ``columns`` (in,), input c has the weights ``weight[:, columns[c]]``."""
    if columns is not None:
        weight = weight.index_select(1, columns)  # (out, K) -> (out, in)
    return functional.linear(x, weight, bias)


def _conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, columns: Tensor | None = None, **o: Any) -> Tensor:
    """A convolution; with ``columns`` (in,), channel c has the filters ``weight[:, columns[c]]``."""
    if columns is not None:
        weight = weight.index_select(1, columns)  # (out, K, kh, kw) -> (out, in, kh, kw)
    return functional.conv2d(x, weight, bias, **o)


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    shape = (-1,) + (1,) * (x.ndim - 2)  # (C,) -> (C, 1, 1) beside (N, C, H, W)
    return torch.addcmul(shift.view(shape), x, scale.view(shape))


def _flatten(x: Tensor, channels_last: bool) -> Tensor:
    return (x.permute(0, 2, 3, 1) if channels_last else x).flatten(1)


def _merge(x: Tensor, first: Tensor, rest: Tensor, target: Tensor) -> Tensor:
    """Sums of K clusters of channels: ``first`` (K,) opens the clusters, ``rest`` joins those of ``target``."""
    return x.index_select(1, first).index_add_(1, target, x.index_select(1, rest))


def _constant(x: Tensor, value: Tensor, size: Sequence[int]) -> Tensor:
    return value.view(-1, *(1 for _ in size)).expand(x.shape[0], -1, *size)


MOST_STEP, MOST_PIXELS, MOST_FEATURES = 2**10, 2**22, 2**31
"""Largest kernel, stride or padding, image, and number of features of a program: it is tried before it is trusted."""

_POOL = ("kernel_size", "stride", "padding", "ceil_mode")

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        "linear": Operation(_linear, ("weight",), ("bias", "columns")),
        "conv2d": Operation(
            _conv2d, ("weight",), ("bias", "columns"), options=("stride", "padding", "dilation", "groups")
        ),
        "affine": Operation(_affine, ("scale", "shift")),
        "scale": Operation(lambda x, factor: x * factor, options=("factor",)),
        "relu": Operation(torch.relu, fresh=False),
        "sigmoid": Operation(torch.sigmoid, fresh=False),
        "tanh": Operation(torch.tanh, fresh=False),
        "max_pool2d": Operation(functional.max_pool2d, options=(*_POOL, "dilation")),
        "avg_pool2d": Operation(functional.avg_pool2d, options=(*_POOL, "count_include_pad")),
        "flatten": Operation(_flatten, options=("channels_last",), fresh=False),
        "select": Operation(lambda x, index: x.index_select(1, index), ("index",)),
        "merge": Operation(_merge, ("first", "rest", "target")),
        "narrow": Operation(
            lambda x, start, length: x.narrow(1, start, length), options=("start", "length"), fresh=False
        ),
        "add": Operation(lambda a, b, factor: torch.add(a, b, alpha=factor), options=("factor",), inputs=2),
        "mul": Operation(torch.mul, inputs=2),
        "cat": Operation(lambda *values: torch.cat(values, 1), inputs=None),
        "constant": Operation(_constant, ("value",), options=("size",), fresh=False),
        "module": Operation(lambda *values: values[0], inputs=None, fresh=False),  # run by the network, see below
    }
)
"""All operations. ``add`` is a + factor * b; ``affine`` is scale * x + shift per channel; ``flatten`` makes the
order (C, H, W), or (H, W, C) where ``channels_last``, which copies nothing of what a convolution leaves; ``narrow``
keeps ``length`` channels from ``start`` on."""


class CompactNetwork(MultiTaskNetwork):
    """Runs the steps of a program, one after the other, on images.

    Args:
        program: what is computed.
        state: the tensors of the steps, by ``<step>.<tensor>``; those of floating point become parameters.
        modules: layers of a kind that no operation stands for, by the name of their step; a network that has some
            cannot be saved as a program.

    Raises:
        UserError: for an unknown operation, options or tensors that are missing or do not fit, in one line.
    """

    def __init__(
        self, program: Program, state: Mapping[str, Tensor], modules: Mapping[str, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.program = program
        self.others = nn.ModuleDict(dict(modules or {}))
        self.tensors = nn.ModuleDict()
        left = dict(state)
        for step in program.steps:
            _check_step(step, self.others)
            names = (*OPERATIONS[step.op].tensors, *OPERATIONS[step.op].optional)
            own = {name: left.pop(f"{step.name}.{name}") for name in names if f"{step.name}.{name}" in left}
            missing = [name for name in OPERATIONS[step.op].tensors if name not in own]
            if missing:
                raise UserError(f"tensor {step.name}.{missing[0]} of the compressed network is missing")
            if own:
                self.tensors[step.name] = _holder(step, own)
        if left:
            raise UserError(f"tensor {next(iter(left))} of the compressed network belongs to no step")
        in_place, last, holders = _may_write(program), _last_read(program), dict(self.tensors.items())
        self._plan = [
            (step, self._run_of(step, step.name in in_place), holders.get(step.name), last[step.name])
            for step in program.steps
        ]
        self._check_shapes()

    def forward(self, x: Tensor) -> list[Tensor]:
        values: dict[str, Any] = {INPUT: x}
        for step, run, holder, done in self._plan:
            inputs = [values[name] for name in step.inputs]
            if holder is None:
                values[step.name] = run(*inputs, **step.options)
            else:
                values[step.name] = run(*inputs, **holder._parameters, **holder._buffers, **step.options)
            del inputs
            for name in done:  # memory that is free again is cheaper than new memory
                del values[name]
        return [values[name] for name in self.program.outputs]

    @torch.no_grad()
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the values of all steps and of the images, without the batch."""
        values: dict[str, Any] = {INPUT: self._zeros()}
        shapes = {INPUT: self.program.input_shape}
        for step, run, holder, _ in self._plan:
            own = {} if holder is None else {**holder._parameters, **holder._buffers}
            values[step.name] = run(*(values[name].clone() for name in step.inputs), **own, **step.options)
            shapes[step.name] = tuple(values[step.name].shape[1:])
        return shapes

    @property
    def shared_part(self) -> nn.Module:
        return self

    @property
    def sparse_parts(self) -> list[nn.Module]:
        """None: its rows are gone already."""
        return []

    def _run_of(self, step: Step, in_place: bool) -> Callable[..., Any]:
        if step.op == "module":
            return self.others[step.name]
        return torch.relu_ if in_place else OPERATIONS[step.op].run

    def _zeros(self) -> Tensor:
        """Two images of zeros, of the type and on the device of the tensors."""
        example = next((value for value in self.tensors.parameters()), torch.zeros(()))
        return torch.zeros(2, *self.program.input_shape, dtype=example.dtype, device=example.device)

    @torch.no_grad()
    def _check_shapes(self) -> None:
        """Run it once on an image of zeros."""
        shape = self.program.input_shape
        if not shape or min(shape) < 1 or math.prod(shape) > MOST_PIXELS:
            raise UserError(f"the compressed network reads inputs of shape {shape}; allowed: {MOST_PIXELS} numbers")
        try:
            outputs = self(self._zeros())
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise UserError("the steps and tensors of the compressed network do not fit: compress it again") from error
        if any(output.ndim != 2 or len(output) != 2 for output in outputs):
            raise UserError("the outputs of the compressed network are no logits: compress it again")


def _check_step(step: Step, modules: nn.ModuleDict) -> None:
    if step.op not in OPERATIONS:
        raise UserError(f"step {step.name} has the unknown operation {step.op!r}; known: {', '.join(OPERATIONS)}")
    if not step.name.isidentifier() or hasattr(nn.ModuleDict, step.name):
        raise UserError(f"step {step.name!r} of the program has a name that is not allowed")
    operation = OPERATIONS[step.op]
    if not all(_is_size(value, MOST_FEATURES if step.op == "narrow" else MOST_STEP) for value in step.options.values()):
        raise UserError(f"step {step.name} ({step.op}) has options that are no sizes: compress the network again")
    if operation.inputs not in (None, len(step.inputs)) or not step.inputs:
        raise UserError(f"step {step.name} ({step.op}) reads {len(step.inputs)} values; allowed: {operation.inputs}")
    if set(step.options) != set(operation.options):
        raise UserError(
            f"step {step.name} ({step.op}) has the options {sorted(step.options)}; needed: {sorted(operation.options)}"
        )
    if step.op == "module" and step.name not in modules:
        raise UserError(f"step {step.name} needs a layer that no file holds: compress the network again")


def _is_size(value: Any, most: int) -> bool:
    """Whether an option is a finite number, or are sizes that no image is too small for."""
    if isinstance(value, tuple | list):
        return len(value) <= 2 and all(isinstance(part, int) and 0 <= part <= most for part in value)
    if isinstance(value, int):
        return 0 <= value <= most
    return isinstance(value, float) and math.isfinite(value)


def _holder(step: Step, tensors: Mapping[str, Tensor]) -> nn.Module:
    holder = nn.Module()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise UserError(f"{step.name}.{name} of the compressed network is no tensor")
        layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format  # the faster one for convolutions
        own = tensor.detach().clone(memory_format=layout)
        if tensor.is_floating_point():
            holder.register_parameter(name, nn.Parameter(own))
        else:
            holder.register_buffer(name, own)
    return holder


def _may_write(program: Program) -> frozenset[str]:
    """ReLU steps that may overwrite what they read, since nobody else reads it."""
    fresh = {step.name for step in program.steps if step.op != "module" and OPERATIONS[step.op].fresh}
    read = [name for step in program.steps for name in step.inputs] + list(program.outputs)
    return frozenset(
        step.name
        for step in program.steps
        if step.op == "relu" and step.inputs[0] in fresh and read.count(step.inputs[0]) == 1
    )


def _last_read(program: Program) -> dict[str, list[str]]:
    """By step, the values that no step after it reads and that are no output."""
    done: dict[str, list[str]] = {step.name: [] for step in program.steps}
    seen = set(program.outputs)
    for step in reversed(program.steps):
        for name in dict.fromkeys([*step.inputs, step.name]):
            if name not in seen:
                done[step.name].append(name)
                seen.add(name)
    return done
