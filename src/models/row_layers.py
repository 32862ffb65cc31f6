"""Layers that have a row per input: what may become sparse in a network, and why the rest may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

SkipLayer = int | str
"""Layers with this number of inputs, or of these names, a comma between them."""


@dataclass(frozen=True)
class Projection:
    """A projection of an attention layer, which is a parameter and no layer of its own.

    Attributes:
        weight: (out, in); of ``in_proj`` queries, keys and values one below the other, (3 E, E), so that a row has all
            weights that leave an input feature.
    """

    weight: nn.Parameter


WeightLayer = nn.Conv1d | nn.Conv2d | nn.Linear
RowLayer = WeightLayer | Projection


def weight_layers(model: nn.Module) -> dict[str, WeightLayer]:
    """All convolutions and linear layers of a model, by name, in the order of definition."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, WeightLayer)}


def layers_with_rows(model: nn.Module) -> dict[str, RowLayer]:
    """Layers that have a row per input, read by all outputs, by name in the order of definition.

    Linear layers, convolutions of one and two dimensions without groups, and the projections of attention layers, as
    ``<layer>.in_proj``, or ``<layer>.q_proj``, ``k_proj`` and ``v_proj`` where their sizes differ, and
    ``<layer>.out_proj``.
    """
    return {name: layer for module in model.named_modules() for name, layer in _rows_of(*module)}


def _rows_of(name: str, module: nn.Module) -> Iterator[tuple[str, RowLayer]]:
    if isinstance(module, WeightLayer) and getattr(module, "groups", 1) == 1:
        yield name, module
    if isinstance(module, nn.MultiheadAttention):
        for part in ("in_proj", "q_proj", "k_proj", "v_proj"):
            weight = getattr(module, f"{part}_weight")
            if weight is not None:
                yield f"{name}.{part}".removeprefix("."), Projection(weight)


def number_of_inputs(layer: RowLayer) -> int:
    """Input channels of a convolution, input neurons of a linear layer or projection."""
    return layer.weight.shape[1]


def skipped(name: str, layer: RowLayer, skip_layer: SkipLayer) -> bool:
    """Whether ``skip_layer`` means a layer."""
    return name in names_in(skip_layer) if isinstance(skip_layer, str) else number_of_inputs(layer) == skip_layer


def names_in(skip_layer: SkipLayer) -> list[str]:
    """The names that are given; none for a number of inputs."""
    return [name.strip() for name in skip_layer.split(",")] if isinstance(skip_layer, str) else []


@dataclass(frozen=True)
class SparsePlan:
    """What may become sparse in a network.

    Attributes:
        rows: of each layer that may, by name.
        left: why a layer with weights stays as it is, by name.
    """

    rows: dict[str, int]
    left: dict[str, str]

    def lines(self) -> list[str]:
        """For people: what may become sparse, and what stays for which reason."""
        shown = ", ".join(f"{name} ({count} rows)" for name, count in self.rows.items())
        count = sum(self.rows.values())
        first = f"may become sparse, {count} rows in all: {shown}" if shown else "no layer may become sparse"
        reasons = dict.fromkeys(self.left.values())
        named = {why: [name for name, reason in self.left.items() if reason == why] for why in reasons}
        return [first, *(f"stays as it is: {', '.join(names)}: {why}" for why, names in named.items())]


def sparse_plan(
    model: nn.Module, parts: Sequence[nn.Module], skip_layer: SkipLayer, positions: Mapping[str, int] | None = None
) -> SparsePlan:
    """What may become sparse in the parts of a network, and why other layers with weights may not.

    Args:
        model: the network.
        parts: of it, that may become sparse: all but the heads.
        skip_layer: layers that are left out.
        positions: inputs that make one row together, by the name of the layer; 1 for the others.
    """
    positions = positions or {}
    inside = {id(module) for part in parts for module in part.modules()}
    rows, left = {}, {}
    for place, module in model.named_modules():
        found = dict(_rows_of(place, module))
        for name, layer in found.items():
            why = _why(name, layer, id(module) in inside, skip_layer)
            if why is None:
                rows[name] = number_of_inputs(layer) // positions.get(name, 1)
            else:
                left[name] = why
        if not found and _has_own_matrix(module):
            left[place or type(module).__name__] = _kind(module)
    return SparsePlan(rows, left)


def _why(name: str, layer: RowLayer, inside: bool, skip_layer: SkipLayer) -> str | None:
    if not inside:
        return "outside of the parts that may become sparse, as heads are"
    if skipped(name, layer, skip_layer):
        return "skip_layer names it" if isinstance(skip_layer, str) else f"skip_layer: it has {skip_layer} inputs"
    return None


def _has_own_matrix(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))


def _kind(module: nn.Module) -> str:
    """Why a layer with weights has no rows."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return "a convolution with groups, where an output does not read all inputs"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "an embedding, whose rows are no inputs"
    return f"rows of a {type(module).__name__} are not supported"
