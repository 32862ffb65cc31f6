"""A problem whose batches are noisy and whose solution is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from src.models.multi_task import MultiTaskNetwork
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.parameters import TrainingParameters

NO_IMAGES = torch.zeros(1)


class Point(MultiTaskNetwork):
    """A network that is a point x of the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([0.8, -0.5]))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.x]

    @property
    def shared_part(self) -> nn.Module:
        return self

    @property
    def sparse_parts(self) -> list[nn.Module]:
        return []


def true_losses(x: Tensor, objectives: int) -> Tensor:
    """Losses that are all 1 at x = 0, where their gradients, weighted by lambda, cancel.

    Two objectives: lambda = (2/3, 1/3). Three: (1/2, 1/3, 1/6).
    """
    a, b = x
    if objectives == 2:
        return torch.stack([1 + a + (a**2 + b**2) / 2, 1 - 2 * a + a**2 + b**2])
    return torch.stack([1 + a + a**2 + b**2, 1 - 1.5 * a + b + a**2 + b**2, 1 - 2 * b + a**2 + b**2])


def noisy(method: type[ChebyshevMethod], noise: float, seed: int) -> type[ChebyshevMethod]:
    """The method with the losses above, and normal noise of this size on those of a batch."""
    generator = torch.Generator().manual_seed(seed)

    class Noisy(method):  # type: ignore[misc,valid-type]
        def task_losses(self, outputs: list[Tensor], labels: Tensor) -> list[Tensor]:
            losses = true_losses(outputs[0], len(self.k) - 1)
            self.counts = [1] * len(losses)
            return list(losses + noise * torch.randn(len(losses), generator=generator))

    return Noisy


def parameters_for(objectives: int, **values: Any) -> TrainingParameters:
    """Equal preferences for so many tasks, without sparsity."""
    k = (0.0, *(1 / objectives for _ in range(objectives)))
    defaults = {"w": k, "a": (0.0,) * len(k), "lr": 0.05}
    return TrainingParameters(**{**defaults, **values})


def solve(
    method: type[ChebyshevMethod], noise: float, objectives: int, *, seed: int = 0, epochs: int = 30, **values: Any
) -> tuple[Tensor, ChebyshevMethod]:
    """True losses at the end, shape (objectives,), and the method; an epoch has 200 steps."""
    network, parameters = Point(), parameters_for(objectives, **values)
    solver = noisy(method, noise, seed)(network, parameters, torch.device("cpu"))
    optimizer = torch.optim.SGD([*network.parameters(), *solver.parameters()], lr=parameters.lr)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = parameters.lr * 0.8**epoch
        solver.start_epoch(200, 0.8**epoch)
        for _ in range(200):
            optimizer.zero_grad()
            solver.backward(network, NO_IMAGES, NO_IMAGES)
            optimizer.step()
        solver.end_iteration()
    with torch.no_grad():
        return true_losses(network.x, objectives), solver
