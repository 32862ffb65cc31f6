"""The paper's training method: modified weighted Chebyshev scalarization by an augmented Lagrangian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src.models.multi_task import MultiTaskNetwork
from src.utils.objectives.augmented_lagrangian import augmented_lagrangian, multipliers, optimal_t, project_simplex
from src.utils.objectives.chebyshev import chebyshev_terms
from src.utils.objectives.growl import growl_value
from src.utils.objectives.owl import owl_weights
from src.utils.sparsity.rows import to_rows
from src.utils.training.parameters import CRITERIA, TrainingParameters


@dataclass(frozen=True)
class MethodState:
    """What the method shows of itself after an epoch.

    Attributes:
        t: level of the Chebyshev terms.
        lam: multipliers, one per objective.
        mu: penalty coefficient.
    """

    t: float
    lam: list[float]
    mu: float


class ChebyshevMethod(nn.Module):
    """Turns the objectives of a batch into gradients, and the objectives of an epoch into multipliers.

    A phase has all objectives, or the tasks only. An objective out of play counts nowhere, not in the augmentation
    term either; one in play with preference 0 counts there only. The multipliers of both are 0.

    Args:
        model: the network; not kept as a submodule.
        parameters: preferences, reference point, epsilon, mu, rho, the GrOWL weights and how t is found.
        device: where multipliers and preferences live.
    """

    k: Tensor
    a: Tensor
    lam: Tensor
    mu: Tensor
    t: nn.Parameter | None

    def __init__(self, model: MultiTaskNetwork, parameters: TrainingParameters, device: torch.device) -> None:
        super().__init__()
        self._settings = parameters
        self._criterion = CRITERIA[parameters.criterion]
        self._weights = [layer.weight for layer in model.growl_layers(parameters.skip_layer).values()]
        self._theta = growl_thetas(model, parameters, device)
        k, a, mu = (
            torch.tensor(value, dtype=torch.get_default_dtype(), device=device)
            for value in (parameters.w, parameters.a, parameters.mu)
        )
        self.register_buffer("k", k)
        self.register_buffer("a", a)
        self.register_buffer("lam", (k > 0) / (k > 0).sum())
        self.register_buffer("mu", mu)
        trained = parameters.t_update == "optimizer"
        self.register_parameter("t", nn.Parameter(torch.zeros((), device=device)) if trained else None)
        self.start_phase(sparsity=parameters.with_sparsity)

    def start_phase(self, *, sparsity: bool) -> None:
        """Put the sparsity objective in or out of play; the multipliers left are projected onto the simplex."""
        self._in_play = slice(0 if sparsity else 1, None)
        active = torch.zeros_like(self.k, dtype=torch.bool)
        active[self._in_play] = self.k[self._in_play] > 0
        self._active = active.nonzero().flatten()
        lam = torch.zeros_like(self.lam)
        lam[self._active] = project_simplex(self.lam[self._active])
        self.lam.copy_(lam)

    def objectives(self, outputs: list[Tensor], labels: Tensor) -> Tensor:
        """:math:`f = (\\Omega, f_1, ..., f_m)`, shape (m + 1,), for logits and labels (N, m)."""
        losses = [self._criterion(output, labels[:, task]) for task, output in enumerate(outputs)]
        return torch.stack([self.sparsity_objective(), *losses])

    def sparsity_objective(self) -> Tensor:
        """:math:`f_0 = \\Omega`: GrOWL summed over the layers; out of play it has no gradient."""
        with torch.set_grad_enabled(self._has_sparsity and torch.is_grad_enabled()):
            values = [
                growl_value(to_rows(weight), theta) for weight, theta in zip(self._weights, self._theta, strict=True)
            ]
            return torch.stack(values).sum() if values else torch.zeros((), device=self.k.device)

    def terms(self, f: Tensor) -> Tensor:
        """Chebyshev terms c of all objectives, shape (m + 1,); 0 for one out of play."""
        c = torch.zeros_like(f)
        play = self._in_play
        c[play] = chebyshev_terms(f[play], self.k[play], self.a[play], self._settings.epsilon)
        return c

    def backward(self, model: MultiTaskNetwork, images: Tensor, labels: Tensor) -> Tensor:
        """Gradients of the augmented Lagrangian on one batch; returns the objectives, shape (m + 1,)."""
        f = self.objectives(model(images), labels)
        c = self.terms(f)[self._active]
        # With the optimal t the derivative in t is zero, so t may be held constant in the backward pass.
        t = self._level(c.detach())
        augmented_lagrangian(t, c - t, self.lam[self._active], self.mu).backward()
        return f.detach()

    @torch.no_grad()
    def end_iteration(self, f: Tensor) -> None:
        """Update the multipliers with the mean objectives of the last epoch, then mu."""
        self.lam[self._active] = self._estimate(f)
        self.mu *= self._settings.rho

    @torch.no_grad()
    def sparsity_weight(self, f: Tensor) -> float:
        """Multiplier estimate of the sparsity constraint at the given mean objectives; 0 out of play."""
        return float(self._estimate(f)[0]) if self._has_sparsity else 0.0

    @torch.no_grad()
    def state(self, f: Tensor) -> MethodState:
        """t, lambda and mu, with t for the given mean objectives."""
        t = self._level(self.terms(f)[self._active])
        return MethodState(float(t), self.lam.tolist(), float(self.mu))

    @property
    def _has_sparsity(self) -> bool:
        return self._in_play.start == 0

    def _level(self, c: Tensor) -> Tensor:
        return optimal_t(c, self.lam[self._active], self.mu) if self.t is None else self.t

    def _estimate(self, f: Tensor) -> Tensor:
        """Multipliers of the active constraints, updated with the mean objectives f."""
        c = self.terms(f)[self._active]
        return multipliers(c - self._level(c), self.lam[self._active], self.mu)


def growl_thetas(model: MultiTaskNetwork, parameters: TrainingParameters, device: torch.device) -> list[Tensor]:
    """GrOWL weights of every sparse layer, in the order of ``model.growl_layers``."""
    return [
        owl_weights(
            to_rows(layer.weight).shape[0], parameters.growl_type, parameters.beta1, parameters.beta2, device=device
        )
        for layer in model.growl_layers(parameters.skip_layer).values()
    ]
