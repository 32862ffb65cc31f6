"""The paper's training method: modified weighted Chebyshev scalarization by an augmented Lagrangian."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.models.multi_task import MultiTaskNetwork
from src.utils.objectives.augmented_lagrangian import multipliers, optimal_weights, project_simplex
from src.utils.objectives.chebyshev import chebyshev_terms
from src.utils.objectives.optimality import chebyshev_gap, kkt_residuals
from src.utils.objectives.running_mean import RunningMean
from src.utils.training.method import Method, MethodState
from src.utils.training.parameters import LARGEST_MU

AVERAGING = 0.98
"""Share of the old batches in the average of the terms: about the last 50 count."""
NOISE_IN_WEIGHTS = 0.02
"""Largest standard error of the averaged terms times the penalty coefficient: what noise may move of the weights."""


class ChebyshevMethod(Method):
    """Turns the objectives of a batch into gradients, and the weights of an epoch into multipliers.

    The terms of a batch are noisy, and the mean of the maximum of noisy terms is not the maximum of their means. So
    the weights of a step come from the average :math:`\\bar c` of the terms over the last batches, and the multipliers
    of the next iteration are the mean of the weights that the last epoch of this one really used:

    .. math::
        w = P_\\Delta(\\lambda + \\mu \\bar c), \\quad
        \\mu = \\min\\Bigl(\\frac{\\hat\\mu}{\\max_i \\bar c_i}, \\frac{\\kappa}{\\max_i \\sigma_i}\\Bigr), \\quad
        \\lambda \\leftarrow \\operatorname{mean}(w), \\quad \\hat\\mu \\leftarrow \\rho \\hat\\mu

    with :math:`\\sigma` the standard error of :math:`\\bar c` and :math:`\\kappa` = ``NOISE_IN_WEIGHTS``. The penalty
    grows as the terms and their noise shrink, and noise moves the weights by a few percent at most. Without noise and
    averaging it is the method of multipliers with t eliminated.

    A phase has all objectives, or the tasks only. An objective out of play counts nowhere, not in the augmentation
    term either; one in play with preference 0 counts there only. The multipliers of both are 0.

    Args:
        model: the network; not kept as a submodule.
        parameters: preferences, reference point, epsilon, mu (:math:`\\hat\\mu` at the start), rho, the GrOWL weights
            and how t is found.
        device: where multipliers and preferences live.
        teachers: none.
    """

    a: Tensor
    lam: Tensor
    mu: Tensor
    used: Tensor
    steps: Tensor
    t: nn.Parameter | None
    uses_sparsity = True

    def _set_up(self, model: MultiTaskNetwork, teachers: Sequence[nn.Module]) -> None:
        parameters = self._settings
        self.register_buffer("a", self.k.new_tensor(parameters.a))
        self.register_buffer("lam", (self.k > 0) / (self.k > 0).sum())
        self.register_buffer("mu", self.k.new_tensor(parameters.mu))
        self.register_buffer("used", torch.zeros_like(self.k))
        self.register_buffer("steps", self.k.new_zeros(()))
        self.average = RunningMean(len(self.k), AVERAGING, self.k.device)
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
        self.average.reset()
        self.start_epoch()

    def start_epoch(self) -> None:
        """Start the mean of the weights anew."""
        self.used.zero_()
        self.steps.zero_()

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
        self.average.update(c.detach())
        weights = self._weigh(self.average.mean)
        self.used += weights
        self.steps += 1
        lagrangian = weights @ c
        if self.t is not None:
            lagrangian = lagrangian + (1 - weights.sum()) * self.t
        lagrangian.backward()
        return f.detach()

    @torch.no_grad()
    def end_iteration(self) -> None:
        """The multipliers become the mean weights of the last epoch; then mu grows."""
        self.lam.copy_(self.mean_weights)
        self.mu.copy_((self.mu * self._settings.rho).clamp(max=LARGEST_MU))

    @property
    def active(self) -> Tensor:
        """Numbers of the objectives in play that have a preference, shape (n,)."""
        return self._active

    @property
    def mean_weights(self) -> Tensor:
        """Weights of the objectives, mean over the steps of the epoch, shape (m + 1,)."""
        return torch.where(self.steps > 0, self.used / self.steps.clamp(min=1), self.lam)

    @property
    def penalty(self) -> Tensor:
        """The penalty coefficient of the next step: mu over the largest term, less where the terms are noisy."""
        tiny = torch.finfo(self.mu.dtype).tiny
        scale = self.average.mean[self._active].abs().max().clamp(min=tiny)
        noise = self.average.error[self._active].max().clamp(min=tiny)
        return torch.minimum(self.mu / scale, NOISE_IN_WEIGHTS / noise).clamp(max=1e30)

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
            "mu": self.penalty,
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
        """Weights of the objectives at the averaged terms c, shape (m + 1,)."""
        weights, c, lam = torch.zeros_like(c), c[self._active], self.lam[self._active]
        if self.t is None:
            weights[self._active] = optimal_weights(c, lam, self.penalty)
        else:
            weights[self._active] = multipliers(c - self.t.detach(), lam, self.penalty)
        return weights
