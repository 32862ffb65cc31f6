"""A sparse network as a smaller one with the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src.models.compact import CompactNetwork
from src.utils.program import Program
from src.utils.sparsity.capture import capture
from src.utils.sparsity.fold import fold, why_left
from src.utils.sparsity.graph import LAYERS, Graph, is_padded
from src.utils.sparsity.prune import constants, prune
from src.utils.sparsity.rows import row_labels, to_rows
from src.utils.sparsity.siblings import join_siblings
from src.utils.sparsity.ties import flatten_channels_last, merge_rows


@dataclass(frozen=True)
class LayerSize:
    """Inputs and outputs of a layer before and after; a layer that is gone has 0 of both.

    Attributes:
        inputs, outputs: of the given network.
        read: inputs that are still read.
        different: rows that are stored: equal ones count once.
        kept: outputs that are left.
    """

    inputs: int
    outputs: int
    read: int
    different: int
    kept: int


@dataclass(frozen=True)
class Compressed:
    """A network in evaluation mode as a program.

    Attributes:
        program: its steps.
        state: the tensors of the steps, by ``<step>.<tensor>``.
        modules: layers that no step stands for, by the name of their step.
        layers: what became of every linear layer and convolution, by its name.
        left: what stays as it is, by the name of the layer, and why.
    """

    program: Program
    state: Mapping[str, Tensor]
    modules: Mapping[str, nn.Module]
    layers: Mapping[str, LayerSize]
    left: Mapping[str, str]

    def network(self) -> CompactNetwork:
        """The compressed network, in evaluation mode."""
        return CompactNetwork(self.program, self.state, self.modules).eval()


def compress(network: nn.Module, example: Tensor) -> Compressed:
    """Rewrite a network for evaluation, exactly but for rounding.

    Zero rows drop their inputs, equal rows share one (their inputs are added first); filters that nobody reads go with
    their bias and batch normalisation, and what is constant moves into the next layer's bias; batch normalisation and
    factors move into the layers around them, branches with a factor of zero go; convolutions side by side become one.
    Sums are made in float64 and rounded to the type of the network.

    Args:
        network: left untouched. Supported are Linear, Conv2d without groups, BatchNorm1d and 2d, ReLU, Sigmoid, Tanh,
            MaxPool2d, AvgPool2d, Flatten, Dropout, Identity, sums, differences and products of branches or with
            numbers, and concatenation of channels; what is not supported is left and named.
        example: images, at least one, (N, C, H, W).

    Raises:
        UserError: if the network cannot be followed.
    """
    graph = capture(network, example)
    sizes = {
        name: tuple(graph.tensors[name]["weight"].shape)
        for name, step in graph.steps.items()
        if step.op in LAYERS and not graph.rigid(step)
    }
    before = None
    while graph.size() != before:
        before = graph.size()
        fold(graph)
        graph = prune(graph)
    _explain(graph)
    layers = {graph.sources[name]: _size(graph, name, shape) for name, shape in sizes.items()}
    flatten_channels_last(graph)
    join_siblings(graph)
    merge_rows(graph)
    dtype = next((tensor.dtype for tensor in network.parameters()), torch.get_default_dtype())
    used = {name: module for name, module in graph.modules.items() if name in graph.steps}
    return Compressed(graph.program(), graph.state(dtype), used, layers, dict(graph.left))


def _size(graph: Graph, name: str, shape: tuple[int, ...]) -> LayerSize:
    if name not in graph.steps or graph.steps[name].op not in LAYERS:
        return LayerSize(shape[1], shape[0], 0, 0, 0)
    weight = graph.tensors[name]["weight"]
    labels = row_labels(to_rows(weight))
    return LayerSize(shape[1], shape[0], int((labels >= 0).sum()), int(labels.max()) + 1, len(weight))


def _explain(graph: Graph) -> None:
    """Name what could not be taken in or out."""
    known = constants(graph)
    for step in graph.steps.values():
        source = graph.sources.get(step.name, step.name)
        if step.op == "affine":
            graph.left[source] = why_left(graph, step)
        elif step.op == "conv2d" and not graph.rigid(step) and is_padded(step):
            values = known[step.inputs[0]]
            count = int((~values.isnan() & (values != 0)).sum())
            if count:
                graph.left[source] = f"{count} constant input channels stay, since the zeros around the image are not"
