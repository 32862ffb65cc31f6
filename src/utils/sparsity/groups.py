"""Which inputs of a linear layer are the positions of one channel."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from src.utils.sparsity.capture import capture
from src.utils.sparsity.graph import POINTWISE, Graph


def channel_positions(network: nn.Module, example: Tensor) -> Mapping[str, int]:
    """Positions of a channel, H * W, for the linear layers that read flattened images (C, H, W), by their name.

    Inputs c * H * W, ..., (c + 1) * H * W - 1 of such a layer belong to channel c.

    Args:
        network: whose steps are followed, also through activations and normalisations behind the flatten.
        example: images, at least one, (N, C, H, W).

    Raises:
        UserError: if the network cannot be followed.
    """
    graph = capture(network, example)
    found = {
        graph.sources[step.name]: _positions(graph, step.inputs[0])
        for step in graph.steps.values()
        if step.op == "linear"
    }
    return {name: positions for name, positions in found.items() if positions > 1}


def _positions(graph: Graph, name: str) -> int:
    """Of the channels that a value is the flattened form of; 1 for any other value."""
    while name in graph.steps and graph.steps[name].op in {*POINTWISE, "affine", "scale"}:
        name = graph.steps[name].inputs[0]
    if name not in graph.steps or graph.steps[name].op != "flatten":
        return 1
    return graph.shapes[name][0] // graph.shapes[graph.steps[name].inputs[0]][0]
