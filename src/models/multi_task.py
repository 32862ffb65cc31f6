"""What every multi-task network of this project offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from src.models.row_layers import RowLayer, SkipLayer, layers_with_rows, number_of_inputs, sparse_plan, weight_layers


class MultiTaskNetwork(nn.Module, ABC):
    """A network with one output per task that names its shared part and the layers that may become sparse.

    Attributes:
        positions: by the name of a linear layer how many of its inputs, one after the other, are the positions of one
            channel, for layers that read flattened images; None where nobody has looked.
    """

    positions: Mapping[str, int] | None = None

    @abstractmethod
    def forward(self, x: Any) -> list[Tensor]:
        """Outputs per task, shapes (N, num_outs[i]), for images of shape (N, C, H, W), or what else the data hold."""

    @property
    @abstractmethod
    def shared_part(self) -> nn.Module:
        """The part whose parameters all tasks use."""

    @property
    @abstractmethod
    def sparse_parts(self) -> list[nn.Module]:
        """The parts whose convolutions and linear layers may become sparse: all but the heads."""

    def growl_layers(self, skip_layer: SkipLayer) -> dict[str, RowLayer]:
        """Layers under GrOWL, by their name in the state dict.

        Args:
            skip_layer: layers with this number of inputs (neurons or channels), or of these names, are left out.
        """
        wanted = sparse_plan(self, self.sparse_parts, skip_layer).rows
        return {name: layer for name, layer in layers_with_rows(self).items() if name in wanted}


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

    def forward(self, x: Any) -> list[Tensor]:
        return self.predict(x, self.trunk(x))

    @abstractmethod
    def predict(self, x: Any, shared: Tensor) -> list[Tensor]:
        """Outputs per task for images and their shared representation, shape (N, features)."""

    @property
    def shared_part(self) -> nn.Module:
        return self.trunk

    @property
    def features(self) -> int:
        """Width of the shared representation: the number of inputs of a head's first layer."""
        first, *_ = weight_layers(self.heads[0]).values()
        return number_of_inputs(first)
