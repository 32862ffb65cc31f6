"""Layer-sequential unit-variance (LSUV) initialisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.row_layers import WeightLayer, weight_layers


@torch.no_grad()
def initialise_lsuv(model: nn.Module, images: Tensor, tolerance: float = 0.1, max_tries: int = 10) -> None:
    """Start weights orthonormal, then scale layer by layer until each output has variance 1 on ``images``.

    Layers are taken in the order in which the forward pass reaches them; biases become 0. The model's mode
    (training or evaluation) is kept, its running statistics are left untouched.

    Args:
        model: convolutions and linear layers in it are initialised, with the global random generator.
        images: one batch, shape (N, C, H, W).
        tolerance: a layer is done when its output variance is within this of 1.
        max_tries: give a layer up (a dead one, say) after so many rescalings.

    Source: Mishkin and Matas, All you need is a good init (2016).
    """
    for layer in weight_layers(model).values():
        nn.init.orthogonal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for layer in _execution_order(model, images):
        for _ in range(max_tries):
            variance = _output_variance(model, layer, images)
            if abs(variance - 1) <= tolerance or variance == 0:
                break
            layer.weight /= variance**0.5
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])


def _execution_order(model: nn.Module, images: Tensor) -> list[WeightLayer]:
    order: list[WeightLayer] = []
    layers = weight_layers(model).values()
    handles = [layer.register_forward_hook(lambda module, *_: order.append(module)) for layer in layers]
    model(images)
    for handle in handles:
        handle.remove()
    return list(dict.fromkeys(order))


def _output_variance(model: nn.Module, layer: nn.Module, images: Tensor) -> float:
    seen: list[float] = []
    handle = layer.register_forward_hook(lambda _module, _args, output: seen.append(float(output.var())))
    model(images)
    handle.remove()
    return seen[-1]
