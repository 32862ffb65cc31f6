"""What every multi-task network of this project offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class MultiTaskNetwork(nn.Module, ABC):
    """A network with one output per task that names the layers the sparsity objective may act on."""

    @abstractmethod
    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits per task, shapes (N, num_outs[i]), for images of shape (N, C, H, W)."""

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
            for name, layer in weight_layers(self).items()
            if id(layer) in parts and number_of_inputs(layer) != skip_layer
        }


def weight_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """All convolutions and linear layers of a model, by name, in the order of definition."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def number_of_inputs(layer: nn.Conv2d | nn.Linear) -> int:
    """Input channels of a convolution, input neurons of a linear layer."""
    return layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features
