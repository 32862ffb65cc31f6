"""Channels that are constant or that nobody reads are taken out of all steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from src.utils.program import INPUT, Step
from src.utils.sparsity.fold import scale_and_shift
from src.utils.sparsity.graph import CHANNELWISE, LAYERS, POINTWISE, Graph, is_padded


def prune(graph: Graph) -> Graph:
    """The same network without the channels that are not needed.

    A channel is needed where a step reads it with a weight other than zero and it is not a constant that the step can
    add to its bias, where it is an output, or where a step must see all channels.
    """
    known = constants(graph)
    return _Rebuild(graph, known, needed(graph, known)).run()


def constants(graph: Graph) -> dict[str, Tensor]:
    """The value of every channel that is the same for all images and at all positions; NaN for the others; (C,)."""
    known = {INPUT: torch.full((graph.channels(INPUT),), torch.nan, dtype=torch.float64)}
    for step in graph.steps.values():
        known[step.name] = _constant(graph, step, [known[name] for name in step.inputs])
    return known


def _constant(graph: Graph, step: Step, inputs: list[Tensor]) -> Tensor:
    channels, x = graph.channels(step.name), inputs[0]
    if graph.rigid(step):
        return torch.full((channels,), torch.nan, dtype=torch.float64)
    if step.op in LAYERS:
        foldable, own = _foldable(step, x), graph.tensors[step.name]
        value = _sums(own["weight"])[:, foldable] @ x[foldable] + own.get("bias", 0)
        return value.masked_fill(_reads(graph, step)[:, ~foldable].any(1), torch.nan)
    if step.op in {"affine", "scale"}:
        scale, shift = scale_and_shift(graph, step)
        return torch.where(scale == 0, shift, x * scale + shift)
    if step.op in POINTWISE:
        return POINTWISE[step.op](x)
    if step.op == "avg_pool2d" and (is_padded(step) or step.options["ceil_mode"]):
        return x.masked_fill(x != 0, torch.nan)
    if step.op == "flatten":
        return x.repeat_interleave(channels // len(x))
    if step.op == "select":
        return x[graph.tensors[step.name]["index"]]
    if step.op == "add":
        return x + float(step.options["factor"]) * inputs[1]
    if step.op == "mul":
        return (x * inputs[1]).masked_fill((x == 0) | (inputs[1] == 0), 0)
    if step.op == "cat":
        return torch.cat(inputs)
    return graph.tensors[step.name]["value"] if step.op == "constant" else x


def _sums(weight: Tensor) -> Tensor:
    """Sums over the kernel: what a layer makes of constant inputs, (out, in)."""
    return weight.flatten(2).sum(2) if weight.ndim > 2 else weight


def _reads(graph: Graph, step: Step) -> Tensor:
    """Which output of a layer reads which input with a weight other than zero, (out, in)."""
    weight = graph.tensors[step.name]["weight"]
    return (weight != 0).flatten(2).any(2) if weight.ndim > 2 else weight != 0


def _foldable(step: Step, x: Tensor) -> Tensor:
    """Which constant inputs of a layer become part of its bias, (in,): with zeros around the image, only zeros do."""
    return x == 0 if is_padded(step) else ~x.isnan()


def needed(graph: Graph, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which channels of every value must be there, (C,), boolean."""
    need = {name: torch.zeros(len(value), dtype=torch.bool) for name, value in known.items()}
    for name in graph.outputs:
        need[name][:] = True
    for step in reversed(graph.steps.values()):
        wanted = need[step.name]
        if graph.rigid(step) and wanted.any():
            wanted[:] = True
        if not wanted.any() or (_is_known(known[step.name], wanted) and not graph.rigid(step)):
            continue
        for name, channels in zip(step.inputs, _needs(graph, step, wanted, known), strict=True):
            need[name] |= channels
    return need


def _is_known(value: Tensor, wanted: Tensor) -> bool:
    return not bool(value[wanted].isnan().any())


def _needs(graph: Graph, step: Step, wanted: Tensor, known: Mapping[str, Tensor]) -> list[Tensor]:
    """Channels of each input that the ``wanted`` channels of a step need."""
    sizes = [graph.channels(name) for name in step.inputs]
    if graph.rigid(step):
        return [torch.ones(size, dtype=torch.bool) for size in sizes]
    if step.op in LAYERS:
        return [_reads(graph, step)[wanted].any(0) & ~_foldable(step, known[step.inputs[0]])]
    if step.op == "flatten":
        return [wanted.view(sizes[0], -1).any(1)]
    if step.op == "select":
        return [torch.zeros(sizes[0], dtype=torch.bool).index_fill_(0, graph.tensors[step.name]["index"][wanted], True)]
    if step.op in {"add", "mul"}:
        fixed = _fixed_side(step, wanted, known)
        return [wanted & (side != fixed) for side in (0, 1)]
    return list(wanted.split(sizes)) if step.op == "cat" else [wanted] * len(sizes)


def _fixed_side(step: Step, wanted: Tensor, known: Mapping[str, Tensor]) -> int | None:
    """Which of the two branches of a sum or product is constant in all wanted channels."""
    return next((side for side, name in enumerate(step.inputs) if _is_known(known[name], wanted)), None)


@dataclass(frozen=True)
class _Kept:
    """What is left of a value.

    Attributes:
        name: of the new value.
        place: channel of the new value that each old channel is, -1 for those that are gone; (C,).
        channels: of the new value.
    """

    name: str
    place: Tensor
    channels: int


class _Rebuild:
    """Writes the steps anew, with the needed channels only."""

    def __init__(self, graph: Graph, known: dict[str, Tensor], need: dict[str, Tensor]) -> None:
        self.old, self.known, self.need, self.new = graph, known, need, graph.like()
        size = graph.channels(INPUT)
        self.kept = {INPUT: _Kept(INPUT, torch.arange(size), size)}

    def run(self) -> Graph:
        for step in self.old.steps.values():
            wanted = self.need[step.name]
            if wanted.any():
                self.kept[step.name] = self._step(step, wanted)
        self.new.outputs = [self._take(name, self.need[name]) for name in self.old.outputs]
        return self.new

    def _step(self, step: Step, wanted: Tensor) -> _Kept:
        if self.old.rigid(step):
            names = tuple(self._take(name, self.need[name]) for name in step.inputs)
            return self._made(step, wanted, step.op, names, self.old.tensors.get(step.name), **step.options)
        if _is_known(self.known[step.name], wanted):
            value = self.known[step.name][wanted]
            size = self.old.shapes[step.name][1:]
            return self._made(step, wanted, "constant", (INPUT,), {"value": value}, size=size)
        if step.op in LAYERS:
            return self._layer(step, wanted)
        if step.op in {"add", "mul"}:
            return self._pair(step, wanted)
        if step.op == "cat":
            return self._cat(step)
        kept = self.kept[step.inputs[0]]
        if step.op == "select":
            return _Kept(kept.name, kept.place[self.old.tensors[step.name]["index"]], kept.channels)
        if step.op == "flatten":
            return self._flatten(step, kept)
        assert step.op in CHANNELWISE, step.op
        own = {key: _placed(tensor, kept) for key, tensor in self.old.tensors.get(step.name, {}).items()}
        return self._add(step, step.op, (kept.name,), kept.place, kept.channels, own, **step.options)

    def _layer(self, step: Step, wanted: Tensor) -> _Kept:
        """Rows of the wanted outputs; what constant inputs give is added to the bias."""
        own, x, kept = self.old.tensors[step.name], self.known[step.inputs[0]], self.kept[step.inputs[0]]
        foldable = _foldable(step, x)
        weight = own["weight"][wanted]
        given = _sums(weight)[:, foldable] @ x[foldable]
        bias = own["bias"][wanted] + given if "bias" in own else given if given.any() else None
        rows = weight.transpose(0, 1) * (~foldable).view(-1, *(1 for _ in weight.shape[1:]))  # (in, out, ...)
        tensors = {"weight": _placed(rows, kept).transpose(0, 1).contiguous(), "bias": bias}
        return self._made(step, wanted, step.op, (kept.name,), tensors, **step.options)

    def _pair(self, step: Step, wanted: Tensor) -> _Kept:
        """A sum or a product; where one branch is constant, a scale and shift of the other."""
        fixed = _fixed_side(step, wanted, self.known)
        if fixed is None:
            names = tuple(self._take(name, wanted) for name in step.inputs)
            return self._made(step, wanted, step.op, names, **step.options)
        value, other = self.known[step.inputs[fixed]][wanted], step.inputs[1 - fixed]
        factor = float(step.options.get("factor", 1.0))
        if step.op == "mul":
            tensors = {"scale": value, "shift": torch.zeros_like(value)}
        else:
            scale = torch.full_like(value, factor if fixed == 0 else 1.0)
            tensors = {"scale": scale, "shift": value * (1.0 if fixed == 0 else factor)}
        return self._made(step, wanted, "affine", (self._take(other, wanted),), tensors)

    def _cat(self, step: Step) -> _Kept:
        names, places, channels = [], [], 0
        for name in step.inputs:
            kept = self.kept.get(name)
            if kept is None or not self.need[name].any():
                places.append(torch.full((self.old.channels(name),), -1))
                continue
            places.append(torch.where(kept.place < 0, -1, kept.place + channels))
            names.append(kept.name)
            channels += kept.channels
        if len(names) == 1:
            return _Kept(names[0], torch.cat(places), channels)
        return self._add(step, "cat", tuple(names), torch.cat(places), channels)

    def _flatten(self, step: Step, kept: _Kept) -> _Kept:
        positions = self.old.channels(step.name) // len(kept.place)
        place = kept.place.unsqueeze(1) * positions + torch.arange(positions)  # (C, H * W)
        place = place.masked_fill(kept.place.unsqueeze(1) < 0, -1).flatten()
        return self._add(step, "flatten", (kept.name,), place, kept.channels * positions, **step.options)

    def _take(self, name: str, wanted: Tensor) -> str:
        """The name of a value of exactly the wanted channels, in order."""
        kept = self.kept[name]
        index = kept.place[wanted]
        if torch.equal(index, torch.arange(kept.channels)):
            return kept.name
        shape = (len(index), *self.new.shapes[kept.name][1:])
        return self.new.add(f"{name}_select", "select", (kept.name,), shape, {"index": index})

    def _made(
        self,
        step: Step,
        wanted: Tensor,
        op: str,
        inputs: tuple[str, ...],
        tensors: Mapping[str, Tensor | None] | None = None,
        **options: Any,
    ) -> _Kept:
        """A new step that has the wanted channels in order."""
        place = torch.where(wanted, wanted.cumsum(0) - 1, -1)
        return self._add(step, op, inputs, place, int(wanted.sum()), tensors, **options)

    def _add(
        self,
        step: Step,
        op: str,
        inputs: tuple[str, ...],
        place: Tensor,
        channels: int,
        tensors: Mapping[str, Tensor | None] | None = None,
        **options: Any,
    ) -> _Kept:
        shape = self.old.shapes[step.name]
        name = self.new.add(step.name, op, inputs, (channels, *shape[1:]) if shape else (), tensors, **options)
        return _Kept(name, place, channels)


def _placed(values: Tensor, kept: _Kept) -> Tensor:
    """Values per old channel, (C, ...), put where the channels are now; 0 for channels that have no old one."""
    here = kept.place >= 0
    result = values.new_zeros(kept.channels, *values.shape[1:])
    result[kept.place[here]] = values[here]
    return result
