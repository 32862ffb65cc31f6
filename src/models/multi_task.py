"""What every multi-task network of this project offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class MultiTaskNetwork(nn.Module, ABC):
    """A network with one output per task that names its shared part and the layers that may become sparse.

    Attributes:
        positions: by the name of a linear layer how many of its inputs, one after the other, are the positions of one
            channel, for layers that read flattened images; None where nobody has looked.
    """

    positions: Mapping[str, int] | None = None

    @abstractmethod
    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits per task, shapes (N, num_outs[i]), for images of shape (N, C, H, W)."""

    @property
    @abstractmethod
    def shared_part(self) -> nn.Module:
        """The part whose parameters all tasks use."""

    @property
    @abstractmethod
    def sparse_parts(self) -> list[nn.Module]:
        """The parts whose convolutions and linear layers may become sparse: all but the heads."""

    def growl_layers(self, skip_layer: int) -> dict[str, nn.Conv2d | nn.Linear]:
        """Layers under GrOWL, by their name in the state dict.

        Args:
            skip_layer: layers with this number of inputs (neurons or channels) are left out.
        """
        parts = {id(layer) for part in self.sparse_parts for layer in part.modules()}
        return {
            name: layer
            for name, layer in layers_with_rows(self).items()
            if id(layer) in parts and number_of_inputs(layer) != skip_layer
        }


class TrunkNetwork(MultiTaskNetwork):
    """A network whose tasks share one representation, the output of a trunk.

    Args:
        trunk: maps images to features, shape (N, features).

    Attributes:
        heads: one per task, each reads ``features`` numbers; made by the subclass.
    """

    heads: nn.ModuleList

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.predict(x, self.trunk(x))

    @abstractmethod
    def predict(self, x: Tensor, shared: Tensor) -> list[Tensor]:
        """Logits per task for images and their shared representation, shape (N, features)."""

    @property
    def shared_part(self) -> nn.Module:
        return self.trunk

    @property
    def features(self) -> int:
        """Width of the shared representation: the number of inputs of a head's first layer."""
        first, *_ = weight_layers(self.heads[0]).values()
        return number_of_inputs(first)


def weight_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """All convolutions and linear layers of a model, by name, in the order of definition."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def layers_with_rows(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Those of :func:`weight_layers` that have a row per input, read by all outputs: not convolutions with groups."""
    return {name: layer for name, layer in weight_layers(model).items() if getattr(layer, "groups", 1) == 1}


def number_of_inputs(layer: nn.Conv2d | nn.Linear) -> int:
    """Input channels of a convolution, input neurons of a linear layer."""
    return layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features
