"""A network as other programs take it: raw images go in, and compressed layers are laid out for a runtime of ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from src.models.compact import CompactNetwork
from src.models.multi_task import MultiTaskNetwork
from src.utils.program import Program, Step

WIDTH, MORE = 16, 0.5
"""Runtimes compute so many channels of a convolution at once; up to this share more are added to fill them."""
_CHANNELWISE = {"relu", "sigmoid", "tanh", "max_pool2d", "avg_pool2d", "flatten"}


class RawImages(nn.Module):
    """The logits of all tasks for images as files hold them.

    .. math:: y = f\\bigl((x / 255 - \\text{mean}) / \\text{std}\\bigr)

    Args:
        network: f, on normalised images (N, C, H, W).
        mean, std: per channel, of pixels in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: MultiTaskNetwork, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = for_runtime(network) if isinstance(network, CompactNetwork) else network
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))  # (C, 1, 1)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits per task, (N, num_outs[i]), for uint8 images (N, H, W) or (N, H, W, C)."""
        x = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)  # (N, C, H, W)
        return tuple(self.network((x.float() / 255 - self.mean) / self.std))


def for_runtime(network: CompactNetwork) -> CompactNetwork:
    """The same network laid out for a runtime that keeps channels first and computes what is constant once.

    Features are in the order (C, H, W), which needs no transposition. A linear layer reads all features from the first
    to the last that it needs, with its stored weights spread over them when the file is loaded, zeros among them:
    picking and adding scattered numbers costs a runtime more than it saves; indices of other sums are int64, as ONNX
    asks for. Convolutions whose channels are picked from
    afterwards get some that are zero, where that makes their number a multiple of :data:`WIDTH`.
    """
    shapes, steps = network.shapes(), {step.name: step for step in network.program.steps}
    state: dict[str, Tensor] = dict(network.tensors.state_dict())
    for flatten in network.program.steps:
        paths = _paths(network.program, flatten, state)
        if paths:
            steps[flatten.name] = replace(flatten, options={"channels_last": False})
            for pick, layer in paths:
                _spread(steps, state, pick, layer, shapes[flatten.inputs[0]])
    program = replace(network.program, steps=tuple(steps.values()))
    for step in program.steps:
        if step.op == "conv2d" and _may_widen(program, step):
            weight, bias = (state.get(f"{step.name}.{name}") for name in ("weight", "bias"))
            assert weight is not None
            more = -len(weight) % WIDTH
            if more <= MORE * len(weight):
                state[f"{step.name}.weight"] = functional.pad(weight, (0, 0, 0, 0, 0, 0, 0, more))
                state |= {f"{step.name}.bias": functional.pad(bias, (0, more))} if bias is not None else {}
    sums = {
        f"{step.name}.{name}" for step in program.steps if step.op == "merge" for name in ("first", "rest", "target")
    }
    state = {name: value.long() if name in sums else value for name, value in state.items()}
    return CompactNetwork(program, state, dict(network.others.items())).eval()


def _paths(program: Program, flatten: Step, state: Mapping[str, Tensor]) -> list[tuple[Step | None, Step]]:
    """The linear layers that read features in the order (H, W, C), each with the step that picks its inputs, if any.

    Empty if anything else reads the features.
    """
    if flatten.op != "flatten" or not flatten.options["channels_last"] or flatten.name in program.outputs:
        return []
    paths: list[tuple[Step | None, Step]] = []
    for reader in _readers(program, flatten):
        pick = reader if reader.op in {"select", "merge"} else None
        layers = [reader] if pick is None else _readers(program, pick)
        simple = len(layers) == 1 and layers[0].op == "linear" and f"{layers[0].name}.columns" not in state
        if not simple or (pick is not None and pick.name in program.outputs):
            return []
        paths.append((pick, layers[0]))
    return paths


def _may_widen(program: Program, conv: Step) -> bool:
    """Whether all that is made of the channels of a convolution is a part of them, from one number to another."""
    if conv.options["groups"] != 1:
        return False
    open_steps = [conv]
    while open_steps:
        step = open_steps.pop()
        readers = _readers(program, step)
        if step.name in program.outputs or not all(reader.op in {*_CHANNELWISE, "narrow"} for reader in readers):
            return False
        open_steps += [reader for reader in readers if reader.op != "narrow"]
    return True


def _readers(program: Program, step: Step) -> list[Step]:
    return [reader for reader in program.steps if step.name in reader.inputs]


def _spread(
    steps: dict[str, Step], state: dict[str, Tensor], pick: Step | None, layer: Step, shape: tuple[int, ...]
) -> None:
    """Let a layer read features of ``shape`` (C, H, W) in that order, those between that it does not need as zeros."""
    channels, positions = shape[0], shape[1] * shape[2]
    weight = state[f"{layer.name}.weight"]  # (out, K)
    order = torch.arange(channels * positions, device=weight.device).view(positions, channels).T.flatten()
    if pick is None:
        state[f"{layer.name}.weight"] = weight[:, order]
        return
    column = torch.full_like(order, weight.shape[1])  # of each feature in the order (H, W, C), K for none
    if pick.op == "select":
        column[state.pop(f"{pick.name}.index").long()] = torch.arange(weight.shape[1], device=weight.device)
    else:
        first, rest, target = (state.pop(f"{pick.name}.{name}").long() for name in ("first", "rest", "target"))
        column[first], column[rest] = torch.arange(weight.shape[1], device=weight.device), target
    column = column[order]
    read = (column < weight.shape[1]).nonzero().flatten()
    low, high = int(read[0]), int(read[-1]) + 1
    steps[pick.name] = replace(pick, op="narrow", options={"start": low, "length": high - low})
    state[f"{layer.name}.weight"] = functional.pad(weight, (0, 1))
    state[f"{layer.name}.columns"] = column[low:high].int()
