"""Scales and shifts move into the layers before or after them; factors of branches move behind their sum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from src.utils.program import Step
from src.utils.sparsity.graph import LAYERS, POOLS, Graph, is_padded
from src.utils.sparsity.rows import row_labels, to_rows

NEGATIVE = "a scale that is not positive does not pass the maximum of a pooling"
STAYS = "neither the layers before nor those after can take its scale and shift"


def fold(graph: Graph) -> None:
    """Apply the rules until none applies. Every rule takes a step out or moves a factor behind a sum."""
    while any(rule(graph, step) for step in list(graph.steps.values()) for rule in _RULES):
        pass


def scale_and_shift(graph: Graph, step: Step) -> tuple[Tensor, Tensor]:
    """Those of an "affine" or "scale" step, per channel, shape (C,)."""
    if step.op == "affine":
        own = graph.tensors[step.name]
        return own["scale"], own["shift"]
    channels = graph.channels(step.name)
    scale = torch.full((channels,), float(step.options["factor"]), dtype=torch.float64)
    return scale, torch.zeros_like(scale)


def why_left(graph: Graph, step: Step) -> str:
    """Why an "affine" step is still there."""
    before = next((other for other in graph.steps.values() if other.name == step.inputs[0]), None)
    negative = bool((scale_and_shift(graph, step)[0] < 0).any())
    return NEGATIVE if negative and before is not None and before.op == "max_pool2d" else STAYS


def passes(step: Step, scale: Tensor, shift: Tensor) -> bool:
    r"""Whether a step :math:`f` has :math:`f(s x + t) = s f(x) + t` per channel, for ``scale`` s and ``shift`` t.

    The maximum of a pooling keeps the order only for s >= 0, ReLU the zero only for t = 0, and a mean that counts zeros
    around the image is one of other values for t != 0.
    """
    if step.op == "avg_pool2d":
        return not (is_padded(step) or step.options["ceil_mode"]) or not shift.any()
    if step.op == "max_pool2d":
        return bool((scale >= 0).all())
    return step.op == "relu" and bool((scale >= 0).all()) and not shift.any()


def _into_layer_before(graph: Graph, step: Step) -> bool:
    """s * (W x + b) + t = (s W) x + (s b + t), also through what :func:`passes` between them."""
    if step.op != "affine" and not (step.op == "scale" and step.options["factor"] != 0):
        return False
    scale, shift = scale_and_shift(graph, step)
    name = step.inputs[0]
    while name in graph.steps and graph.alone(name):
        before = graph.steps[name]
        if before.op in LAYERS and not graph.rigid(before):
            own = graph.tensors[name]
            own["weight"] = own["weight"] * scale.view(-1, *(1 for _ in own["weight"].shape[1:]))
            own["bias"] = own.get("bias", torch.zeros_like(shift)) * scale + shift
            graph.bypass(step.name, step.inputs[0])
            return True
        if not passes(before, scale, shift):
            return False
        name = before.inputs[0]
    return False


def _into_layers_after(graph: Graph, step: Step) -> bool:
    """W (s x + t) + b = (W s) x + (b + W t), also through a flatten and what :func:`passes`."""
    if step.op not in {"affine", "scale"} or step.name in graph.outputs:
        return False
    scale, shift = scale_and_shift(graph, step)
    name = step.name
    while graph.alone(name) and graph.readers(name)[0].op in {"flatten", "relu", *POOLS}:
        after = graph.readers(name)[0]
        if after.op == "flatten":
            positions = graph.channels(after.name) // graph.channels(name)
            scale, shift = scale.repeat_interleave(positions), shift.repeat_interleave(positions)
        elif not passes(after, scale, shift):
            return False
        name = after.name
    readers = graph.readers(name)
    if not readers or name in graph.outputs or not all(_takes(graph, reader, scale, shift) for reader in readers):
        return False
    for reader in readers:
        own = graph.tensors[reader.name]
        columns = own["weight"].flatten(2).sum(2) if reader.op == "conv2d" else own["weight"]  # (out, in)
        if shift.any():
            own["bias"] = own.get("bias", 0) + columns @ shift
        own["weight"] = _scaled(own["weight"], scale)
    graph.bypass(step.name, step.inputs[0])
    return True


def _takes(graph: Graph, reader: Step, scale: Tensor, shift: Tensor) -> bool:
    """Whether a layer can take it in: not if zeros around the image would have to shift, or equal rows would differ."""
    if reader.op not in LAYERS or graph.rigid(reader) or (is_padded(reader) and bool(shift.any())):
        return False
    weight = graph.tensors[reader.name]["weight"]
    return int(row_labels(to_rows(_scaled(weight, scale))).max()) <= int(row_labels(to_rows(weight)).max())


def _scaled(weight: Tensor, scale: Tensor) -> Tensor:
    return weight * scale.view(1, -1, *(1 for _ in weight.shape[2:]))


def _into_next(graph: Graph, step: Step) -> bool:
    """Two scales and shifts in a row are one: s2 (s1 x + t1) + t2."""
    if step.op not in {"affine", "scale"} or not graph.alone(step.name):
        return False
    after = graph.readers(step.name)[0]
    if after.op not in {"affine", "scale"}:
        return False
    if step.op == after.op == "scale":
        graph.set_inputs(after.name, step.name, factor=float(step.options["factor"]) * float(after.options["factor"]))
    else:
        (s1, t1), (s2, t2) = scale_and_shift(graph, step), scale_and_shift(graph, after)
        graph.steps[after.name] = Step(after.name, "affine", (step.name,))
        graph.tensors[after.name] = {"scale": s1 * s2, "shift": t1 * s2 + t2}
    graph.bypass(step.name, step.inputs[0])
    return True


def _behind_sum(graph: Graph, step: Step) -> bool:
    r"""Factors of a sum's branches: :math:`c a + r b = c (a + (r / c) b)` if :math:`|c| \ge |r|`, else a and b swap."""
    if step.op != "add":
        return False
    (a, b), r = step.inputs, float(step.options["factor"])
    first, second = graph.steps.get(a), graph.steps.get(b)
    if second is not None and second.op == "scale":
        graph.set_inputs(step.name, a, second.inputs[0], factor=r * float(second.options["factor"]))
        return True
    if r == 0:
        graph.bypass(step.name, a)
        return True
    if first is None or first.op != "scale":
        return False
    c = float(first.options["factor"])
    a = first.inputs[0]
    largest, smallest, pair = (c, r, (a, b)) if abs(c) >= abs(r) else (r, c, (b, a))
    inner = graph.add(f"{step.name}_sum", "add", pair, graph.shapes[step.name], factor=smallest / largest)
    graph.steps[step.name] = Step(step.name, "scale", (inner,), {"factor": largest})
    graph.steps[step.name] = graph.steps.pop(step.name)  # it now runs after the sum
    graph.sort()
    return True


def _nothing_to_do(graph: Graph, step: Step) -> bool:
    """A scale of 1 and a shift of 0, and what nobody reads."""
    if not graph.readers(step.name) and step.name not in graph.outputs:
        graph.bypass(step.name, step.inputs[0])
        return True
    if step.op not in {"affine", "scale"}:
        return False
    scale, shift = scale_and_shift(graph, step)
    if bool((scale != 1).any()) or bool(shift.any()):
        return False
    graph.bypass(step.name, step.inputs[0])
    return True


_Rule = Callable[[Graph, Step], bool]


def _current(rule: _Rule) -> _Rule:
    """The rule for steps that are still there as they were when the list of steps was made."""
    return lambda graph, step: graph.steps.get(step.name) is step and rule(graph, step)


_RULES = tuple(map(_current, (_nothing_to_do, _behind_sum, _into_next, _into_layer_before, _into_layers_after)))
