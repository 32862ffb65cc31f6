"""Convolutions side by side that read the same value become one: a wide one costs less than several narrow ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from src.utils.program import Step
from src.utils.sparsity.graph import POINTWISE, POOLS, Graph

JOINED_NUMBERS = 32768
"""Numbers per image that a joined convolution makes, at most: at batch 256 these are 32 MB, and larger pieces of memory
are handed back to the system and fetched anew by every call, which costs more than the joining saves."""


@dataclass
class _Branch:
    """A convolution and the steps after it that are read by nobody else.

    Attributes:
        steps: the convolution, poolings and activations, in order.
        linear: names of the layers that read all of it through the step ``flatten``; empty if anything else does.
    """

    steps: list[Step]
    linear: list[str] = field(default_factory=list)
    flatten: str = ""


def join_siblings(graph: Graph) -> None:
    """Join convolutions of the same input and geometry, with the steps after them that are the same.

    All of them have a bias, or none has. Linear layers behind a flatten read all features, with zeros where the others'
    are; :func:`~src.utils.sparsity.ties.merge_rows` then takes the features they need. Any other reader gets a slice of
    the channels, which it may have to copy: at most one does.
    """
    groups: dict[tuple[object, ...], list[Step]] = {}
    for step in graph.steps.values():
        if step.op == "conv2d" and not graph.rigid(step):
            own = graph.tensors[step.name]
            kind = (step.inputs, tuple(own["weight"].shape[2:]), "bias" in own, *sorted(step.options.items()))
            groups.setdefault(kind, []).append(step)
    for steps in groups.values():
        branches = sorted((_branch(graph, step) for step in steps), key=lambda branch: bool(branch.linear))
        others = [branch for branch in branches if not branch.linear]
        branches = branches[max(len(others) - 1, 0) :]
        for joined in _packed(graph, branches):
            length = _common(joined)
            if len(joined) > 1 and all(len(branch.steps) == length for branch in joined if branch.linear):
                _join(graph, joined, length)
    graph.sort()


def _packed(graph: Graph, branches: list[_Branch]) -> list[list[_Branch]]:
    """The branches in bundles of no more than :data:`JOINED_NUMBERS`, each in the first that has room."""
    bundles: list[tuple[int, list[_Branch]]] = []
    for branch in branches:
        size = prod(graph.shapes[branch.steps[0].name])
        number = next((n for n, (total, _) in enumerate(bundles) if total + size <= JOINED_NUMBERS), len(bundles))
        total, bundle = bundles.pop(number) if number < len(bundles) else (0, [])
        bundles.insert(number, (total + size, [*bundle, branch]))
    return [bundle for _, bundle in bundles]


def _branch(graph: Graph, conv: Step) -> _Branch:
    branch, name = _Branch([conv]), conv.name
    while graph.alone(name):
        reader = graph.readers(name)[0]
        if reader.op in {*POINTWISE, *POOLS}:
            branch.steps.append(reader)
            name = reader.name
            continue
        layers = graph.readers(reader.name)
        if reader.op == "flatten" and reader.options["channels_last"] and reader.name not in graph.outputs:
            branch.linear, branch.flatten = [layer.name for layer in layers], reader.name
        break
    return branch


def _common(branches: list[_Branch]) -> int:
    """How many steps from the convolution on are the same in all branches."""
    rows = [[(step.op, dict(step.options)) for step in branch.steps] for branch in branches]
    return next(
        (n for n, same in enumerate(zip(*rows, strict=False)) if any(s != same[0] for s in same)), min(map(len, rows))
    )


def _join(graph: Graph, branches: list[_Branch], length: int) -> None:
    first, old = branches[0].steps[0], [branch.steps[0].name for branch in branches]
    own = [graph.tensors[name] for name in old]
    widths = [len(tensors["weight"]) for tensors in own]
    tensors = {key: torch.cat([tensors[key] for tensors in own]) for key in own[0]}
    name = graph.steps[first.name].inputs[0]  # may have changed since by an earlier join
    for step in branches[0].steps[:length]:
        shape = (sum(widths), *graph.shapes[step.name][1:])
        name = graph.add(f"{step.name}_joined", step.op, (name,), shape, tensors, **step.options)
        tensors = {}
    images, features = graph.shapes[name], ""
    starts = [sum(widths[:number]) for number in range(len(widths))]
    for branch, start, width in zip(branches, starts, widths, strict=True):
        if branch.linear:
            size = images[0] * images[1] * images[2]
            features = features or graph.add(f"{name}_flat", "flatten", (name,), (size,), channels_last=True)
            for layer in branch.linear:
                graph.set_inputs(layer, features)
                graph.tensors[layer]["weight"] = _among(graph.tensors[layer]["weight"], images[0], start, width)
        else:
            shape = (width, *images[1:])
            last = branch.steps[length - 1].name
            graph.bypass(last, graph.add(f"{last}_slice", "narrow", (name,), shape, start=start, length=width))
        for step in [*branch.steps[:length], *branch.steps[length:] * bool(branch.linear)]:
            graph.steps.pop(step.name, None)
            graph.tensors.pop(step.name, None)
        graph.steps.pop(branch.flatten, None)


def _among(weight: Tensor, channels: int, start: int, width: int) -> Tensor:
    """Weights (out, positions * width) of features (H, W, C) as those of features that have more channels."""
    wide = weight.new_zeros(len(weight), weight.shape[1] // width, channels)
    wide[:, :, start : start + width] = weight.view(len(weight), -1, width)
    return wide.flatten(1)
