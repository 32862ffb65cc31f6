"""Inputs that share their weights are added first; then a layer as wide as the number of different rows is enough."""

from __future__ import annotations

import torch
from torch import Tensor

from src.utils.program import Step
from src.utils.sparsity.graph import LAYERS, Graph
from src.utils.sparsity.rows import row_labels, to_rows

MERGED_SHARE = 0.5
"""Up to this share of different ones among its input channels a convolution reads sums of channels. Adding images costs
as much as about half a convolution of ten to twenty channels, so above it only the filters are stored once."""


def flatten_channels_last(graph: Graph) -> None:
    """Features in the order (H, W, C), as convolutions leave them in memory, where only linear layers read them.

    Feature c * H * W + p becomes p * C + c, and so do the columns of the layers' weights.
    """
    for step in list(graph.steps.values()):
        readers = graph.readers(step.name)
        if step.op != "flatten" or step.name in graph.outputs or any(reader.op != "linear" for reader in readers):
            continue
        shape = graph.shapes[step.inputs[0]]  # (C, H, W)
        order = torch.arange(graph.channels(step.name)).view(shape[0], -1).T.flatten()
        graph.set_inputs(step.name, *step.inputs, channels_last=True)
        for reader in readers:
            graph.tensors[reader.name]["weight"] = graph.tensors[reader.name]["weight"][:, order]


def merge_rows(graph: Graph) -> None:
    r"""Give every layer its different nonzero rows only.

    .. math:: \sum_c w_c x_c = \sum_k w_k \sum_{c: w_c = w_k} x_c

    A linear layer reads a "select" (no equal rows) or "merge" of its inputs. A convolution does so where it does not
    read all channels or becomes much smaller; otherwise its filters are stored once and spread over the channels by an
    index, ``columns``.
    """
    for step in list(graph.steps.values()):
        if step.op not in LAYERS or graph.rigid(step):
            continue
        weight = graph.tensors[step.name]["weight"]
        labels = row_labels(to_rows(weight))  # (in,)
        different = int(labels.max()) + 1
        if different == len(labels) or different == 0:
            continue
        so_far = torch.cat([labels.new_tensor([-1]), labels.cummax(0).values[:-1]])
        first = (labels > so_far).nonzero().flatten()  # (different,)
        graph.tensors[step.name]["weight"] = weight[:, first].contiguous()
        if step.op == "linear" or different <= MERGED_SHARE * len(labels) or bool((labels < 0).any()):
            _insert(graph, step, labels, first)
        else:
            graph.tensors[step.name]["columns"] = labels.int()
    graph.sort()


def _insert(graph: Graph, step: Step, labels: Tensor, first: Tensor) -> None:
    """Put the "select" or "merge" before a layer."""
    is_rest = labels >= 0
    is_rest[first] = False
    rest = is_rest.nonzero().flatten()
    before = step.inputs[0]
    shape = (len(first), *graph.shapes[before][1:])
    if len(rest):
        tensors = {"first": first.int(), "rest": rest.int(), "target": labels[rest].int()}
        name = graph.add(f"{step.name}_merge", "merge", (before,), shape, tensors)
    else:
        name = graph.add(f"{step.name}_select", "select", (before,), shape, {"index": first.int()})
    graph.set_inputs(step.name, name)
