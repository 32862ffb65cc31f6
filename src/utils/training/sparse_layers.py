"""The layers under GrOWL with their rows, and what GrOWL weighs these with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from src.models.multi_task import MultiTaskNetwork
from src.utils.errors import UserError
from src.utils.objectives.growl import group_weights
from src.utils.objectives.owl import owl_weights
from src.utils.sparsity.rows import with_rows
from src.utils.training.parameters import TrainingParameters


@dataclass(frozen=True)
class SparseLayer:
    """A layer under GrOWL.

    Attributes:
        parameter: its weight, as the optimizer knows it.
        positions: inputs that make one row together.
    """

    parameter: Tensor
    positions: int

    @property
    def weight(self) -> Tensor:
        """The weight with its rows along the second axis, in the memory of the parameter."""
        return with_rows(self.parameter, self.positions)


def sparse_layers(model: MultiTaskNetwork, parameters: TrainingParameters) -> dict[str, SparseLayer]:
    """The layers under GrOWL by name, in the order of ``model.growl_layers``.

    Raises:
        UserError: if channels are to be rows and it is not known which inputs belong to one.
    """
    channels = parameters.row_groups == "channel"
    if channels and model.positions is None:
        raise UserError("row_groups is 'channel'; allowed for a network whose positions are not set: neuron")
    positions = (model.positions if channels else None) or {}
    layers = model.growl_layers(parameters.skip_layer)
    return {name: SparseLayer(layer.weight, positions.get(name, 1)) for name, layer in layers.items()}


def growl_thetas(model: MultiTaskNetwork, parameters: TrainingParameters, device: torch.device) -> list[Tensor]:
    """GrOWL weights of every sparse layer, in the order of :func:`sparse_layers`, those of groups scaled."""
    kind, beta1, beta2 = parameters.growl_type, parameters.beta1, parameters.beta2
    thetas = []
    for layer in sparse_layers(model, parameters).values():
        theta = owl_weights(layer.weight.shape[1], kind, beta1, beta2, device=device).to(layer.parameter.dtype)
        thetas.append(group_weights(theta, layer.positions))
    return thetas
