"""The paper's training method: modified weighted Chebyshev scalarization by an augmented Lagrangian."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.models.multi_task import MultiTaskNetwork
from src.utils.objectives.augmented_lagrangian import multipliers, optimal_weights, project_simplex
from src.utils.objectives.chebyshev import chebyshev_terms
from src.utils.objectives.optimality import chebyshev_gap, kkt_residuals
from src.utils.training.method import Method, MethodState
from src.utils.training.parameters import LARGEST_MU


class ChebyshevMethod(Method):
    """Turns the objectives of a batch into gradients, and the objectives of an epoch into multipliers.

    A phase has all objectives, or the tasks only. An objective out of play counts nowhere, not in the augmentation
    term either; one in play with preference 0 counts there only. The multipliers of both are 0.

    Args:
        model: the network; not kept as a submodule.
        parameters: preferences, reference point, epsilon, mu, rho, the GrOWL weights and how t is found.
        device: where multipliers and preferences live.
        teachers: none.
    """

    a: Tensor
    lam: Tensor
    mu: Tensor
    used: Tensor
    seen: Tensor
    images: Tensor
    t: nn.Parameter | None
    uses_sparsity = True

    def _set_up(self, model: MultiTaskNetwork, teachers: Sequence[nn.Module]) -> None:
        parameters = self._settings
        self.register_buffer("a", self.k.new_tensor(parameters.a))
        self.register_buffer("lam", (self.k > 0) / (self.k > 0).sum())
        self.register_buffer("mu", self.k.new_tensor(parameters.mu))
        self.register_buffer("used", torch.zeros_like(self.k))
        self.register_buffer("images", self.k.new_zeros(()))
        self.register_buffer("seen", torch.zeros_like(self.k))
        trained = parameters.t_update == "optimizer"
        self.register_parameter("t", nn.Parameter(self.k.new_zeros(())) if trained else None)
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
        self.start_epoch()

    def start_epoch(self) -> None:
        """Start the means of the weights and the terms anew."""
        self.used.zero_()
        self.seen.zero_()
        self.images.zero_()

    def terms(self, f: Tensor) -> Tensor:
        """Chebyshev terms c of all objectives, shape (m + 1,); 0 for one out of play."""
        c = torch.zeros_like(f)
        play = self._in_play
        c[play] = chebyshev_terms(f[play], self.k[play], self.a[play], self._settings.epsilon)
        return c

    def backward(self, model: MultiTaskNetwork, images: Tensor, labels: Tensor) -> Tensor:
        """Gradients of the augmented Lagrangian on one batch; returns the objectives, shape (m + 1,)."""
        f = self.objectives(model(images), labels)
        c = self.terms(f)
        weights = self._weigh(c.detach())  # with the optimal t the derivative in t is zero: they are constants here
        self.used += weights * len(images)
        self.seen += c.detach() * len(images)
        self.images += len(images)
        lagrangian = weights @ c
        if self.t is not None:
            lagrangian = lagrangian + (1 - weights.sum()) * self.t
        lagrangian.backward()
        return f.detach()

    @torch.no_grad()
    def end_iteration(self) -> None:
        """Update the multipliers with the mean terms of the last epoch, then mu, which stops at LARGEST_MU."""
        self.lam.copy_(self._weigh(self.seen / self.images.clamp(min=1)))
        self.mu.copy_((self.mu * self._settings.rho).clamp(max=LARGEST_MU))

    @property
    def active(self) -> Tensor:
        """Numbers of the objectives in play that have a preference, shape (n,)."""
        return self._active

    @property
    def mean_weights(self) -> Tensor:
        """Weights of the objectives, mean over the epoch, shape (m + 1,)."""
        return torch.where(self.images > 0, self.used / self.images.clamp(min=1), self.lam)

    def sparsity_weight(self) -> float:
        """Weight of Omega in :math:`\\sum_i w_i c_i`, which is :math:`k_0 w_0 + \\epsilon \\sum_i k_i w_i`."""
        if not self._has_sparsity:
            return 0.0
        weighted = self.k * self.mean_weights
        return float(weighted[0] + self._settings.epsilon * weighted.sum())

    @torch.no_grad()
    def state(self, f: Tensor) -> MethodState:
        """Terms, multipliers, t and mu, and how well the given mean objectives solve the scalarized problem."""
        terms, lam = self.terms(f), self.mean_weights
        c = terms[self._active]
        t = (lam * terms).sum() if self.t is None else self.t
        residuals = kkt_residuals(c, t, lam[self._active])
        details = {
            "t": t,
            "mu": self.mu,
            "multiplier_sum": residuals.multiplier_sum,
            "complementarity": residuals.complementarity,
            "feasibility": residuals.feasibility,
            "chebyshev_gap": chebyshev_gap(c, lam[self._active]),
            "lambda_change": (lam - self.lam).abs().max(),
        }
        return MethodState(terms.tolist(), lam.tolist(), {name: float(value) for name, value in details.items()})

    @property
    def _has_sparsity(self) -> bool:
        return self._in_play.start == 0

    def _weigh(self, c: Tensor) -> Tensor:
        """Weights of the objectives at the terms c, shape (m + 1,)."""
        weights, c, lam = torch.zeros_like(c), c[self._active], self.lam[self._active]
        if self.t is None:
            weights[self._active] = optimal_weights(c, lam, self.mu)
        else:
            weights[self._active] = multipliers(c - self.t.detach(), lam, self.mu)
        return weights
