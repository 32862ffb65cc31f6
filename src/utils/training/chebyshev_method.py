"""The paper's training method: modified weighted Chebyshev scalarization by an augmented Lagrangian."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.models.multi_task import MultiTaskNetwork
from src.utils.objectives.augmented_lagrangian import augmented_lagrangian, multipliers, optimal_t, project_simplex
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
    t: nn.Parameter | None
    uses_sparsity = True

    def _set_up(self, model: MultiTaskNetwork, teachers: Sequence[nn.Module]) -> None:
        parameters = self._settings
        self.register_buffer("a", self.k.new_tensor(parameters.a))
        self.register_buffer("lam", (self.k > 0) / (self.k > 0).sum())
        self.register_buffer("mu", self.k.new_tensor(parameters.mu))
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
        """Update the multipliers with the mean objectives of the last epoch, then mu, which stops at LARGEST_MU."""
        self.lam[self._active] = self._estimate(f)
        self.mu.copy_((self.mu * self._settings.rho).clamp(max=LARGEST_MU))

    @torch.no_grad()
    def sparsity_weight(self, f: Tensor) -> float:
        """Multiplier estimate of the sparsity constraint at the given mean objectives; 0 out of play."""
        return float(self._estimate(f)[0]) if self._has_sparsity else 0.0

    @torch.no_grad()
    def state(self, f: Tensor) -> MethodState:
        """Terms, multipliers, t and mu, and how well the given mean objectives solve the scalarized problem.

        The residuals are those of the multipliers updated with f. Stationarity in the weights of the network is not
        measured: the gradient of a batch is noise around it, and that of all data would cost an epoch.
        """
        terms, estimate = self.terms(f), self._estimate(f)
        c = terms[self._active]
        t = self._level(c)
        residuals = kkt_residuals(c, t, estimate)
        details = {
            "t": t,
            "mu": self.mu,
            "multiplier_sum": residuals.multiplier_sum,
            "complementarity": residuals.complementarity,
            "feasibility": residuals.feasibility,
            "chebyshev_gap": chebyshev_gap(c, estimate),
        }
        return MethodState(terms.tolist(), self.lam.tolist(), {name: float(value) for name, value in details.items()})

    @property
    def _has_sparsity(self) -> bool:
        return self._in_play.start == 0

    def _level(self, c: Tensor) -> Tensor:
        return optimal_t(c, self.lam[self._active], self.mu) if self.t is None else self.t

    def _estimate(self, f: Tensor) -> Tensor:
        """Multipliers of the active constraints, updated with the mean objectives f."""
        c = self.terms(f)[self._active]
        return multipliers(c - self._level(c), self.lam[self._active], self.mu)
