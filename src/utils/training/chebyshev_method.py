"""The paper's training method: modified weighted Chebyshev scalarization by an augmented Lagrangian."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from Data_loaders.batches import Labels
from src.models.multi_task import MultiTaskNetwork
from src.utils.objectives.augmented_lagrangian import multipliers, optimal_weights, project_simplex
from src.utils.objectives.chebyshev import chebyshev_terms
from src.utils.objectives.optimality import chebyshev_gap, kkt_residuals
from src.utils.objectives.running_mean import RunningMean
from src.utils.training.method import Batch, Method, MethodState
from src.utils.training.parameters import LARGEST_MU

TERMS_MEMORY = 0.2
"""Epochs at the initial learning rate that the averages of the terms remember."""
NOISE_IN_WEIGHTS = 0.08
"""Largest standard error of the averaged terms times the penalty coefficient: what noise may move of the weights."""


class ChebyshevMethod(Method):
    """Turns the objectives of a batch into gradients and multipliers: a method of multipliers for noisy objectives.

    The terms of a batch are noisy, and the mean of the maximum of noisy terms is not the maximum of their means. So
    the weights w of a step come from the fading average :math:`\\bar c` of the terms, and the multipliers are the
    fading average of the weights that were used:

    .. math::
        w = P_\\Delta(\\lambda + \\mu_b \\bar c), \\quad
        \\mu_b = \\min\\Bigl(\\frac{\\mu}{\\max_i |\\bar c_i|}, \\frac{\\kappa}{\\max_i \\sigma_i}\\Bigr), \\quad
        \\lambda \\leftarrow \\lambda + \\tau (w - \\lambda), \\quad
        \\tau = \\frac{1}{M B} \\sqrt{\\frac{\\eta}{\\eta_0}}

    with :math:`\\sigma` the standard error of :math:`\\bar c`, :math:`\\kappa` = ``NOISE_IN_WEIGHTS``, B steps in an
    epoch, the learning rate :math:`\\eta`, :math:`\\eta_0` at its start, and M = ``lambda_memory`` epochs; in
    :math:`\\bar c` M is ``TERMS_MEMORY``. mu is relative to the size of the terms, and noise moves the weights by a
    few percent only. Where the learning rate falls, averages and multipliers take in more batches, so that their
    noise fades; they slow down less than the network, or they would not follow it. Where weights move the losses
    little, multipliers that follow fast swing from one task to the other; a longer memory M damps that. At rest
    :math:`w = \\lambda`: all terms with a multiplier are equal, and the largest. One step per epoch at the full rate is
    the method of multipliers without noise, :math:`\\lambda \\leftarrow P_\\Delta(\\lambda + \\mu_b c)`, with t
    eliminated.

    A phase has all objectives, or the tasks only. An objective out of play counts nowhere, not in the augmentation
    term either; one in play with preference 0 counts there only. The multipliers of both are 0.

    With a ``normalisation`` the terms are made of :math:`(f_i - a_i) / s_i`, in units s that :meth:`measure_in` sets,
    so that objectives of any size meet in one problem; without one s is 1.

    Args:
        model: the network; not kept as a submodule.
        parameters: preferences, reference point, epsilon, mu, rho, lambda_memory, the GrOWL weights and how t is found.
        device: where multipliers and preferences live.
        teachers: none.

    Source: Rockafellar (1973) for the method of multipliers; Borkar, Stochastic approximation with two time scales
    (1997), for multipliers that follow noisy steps.
    """

    a: Tensor
    units: Tensor
    lam: Tensor
    lam_before: Tensor
    mu: Tensor
    t: nn.Parameter | None
    uses_sparsity = True
    stackable = True

    def _set_up(self, model: MultiTaskNetwork, teachers: Sequence[nn.Module]) -> None:
        parameters = self._settings
        self.register_buffer("a", self.k.new_tensor(parameters.a))
        self.register_buffer("units", torch.ones_like(self.k))
        self.register_buffer("lam", (self.k > 0) / (self.k > 0).sum())
        self.register_buffer("lam_before", self.lam.clone())
        self.register_buffer("mu", self.k.new_tensor(parameters.mu))
        self.average = RunningMean(len(self.k), self.k.device)
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
        self.lam_before.copy_(lam)
        self.mu.fill_(self._settings.mu)
        self.average.reset()
        self.start_epoch(steps=1, rate=1.0)

    def start_epoch(self, steps: int, rate: float) -> None:
        """The averages move at a pace that the steps of the epoch and its learning rate give."""
        self._pace = math.sqrt(rate) / steps

    def terms(self, f: Tensor) -> Tensor:
        """Chebyshev terms c of all objectives, shape (m + 1,); 0 for one out of play."""
        c = torch.zeros_like(f)
        play = self._in_play
        f, a = f / self.units, self.a / self.units
        c[play] = chebyshev_terms(f[play], self.k[play], a[play], self._settings.epsilon)
        return c

    def measure_in(self, units: Sequence[float]) -> None:
        """Measure the distance of each objective from the reference point in these units, above 0."""
        self.units.copy_(self.units.new_tensor(units))

    def forward(self, outputs: Sequence[Tensor], labels: Labels, weights: Sequence[Tensor] | None = None) -> Batch:
        """Objectives and augmented Lagrangian of one batch, which averages and multipliers take in."""
        f = self.objectives(outputs, labels, weights)
        c = self.terms(f)
        self.average.update(c.detach(), max(0.0, 1 - self._pace / TERMS_MEMORY))
        w = self._weigh(c.detach())  # constants: with the optimal t the derivative in t is zero
        self.lam += min(1.0, self._pace / self._settings.lambda_memory) * (w - self.lam)
        lagrangian = w @ c
        if self.t is not None:
            lagrangian = lagrangian + (1 - w.sum()) * self.t
        return Batch(f, lagrangian)

    @torch.no_grad()
    def end_iteration(self) -> None:
        """The penalty coefficient grows, up to LARGEST_MU."""
        self.lam_before.copy_(self.lam)
        self.mu.copy_((self.mu * self._settings.rho).clamp(max=LARGEST_MU))

    @property
    def active(self) -> Tensor:
        """Numbers of the objectives in play that have a preference, shape (n,)."""
        return self._active

    @property
    def penalty(self) -> Tensor:
        """The penalty coefficient :math:`\\mu_b` of the next step: mu over the largest term, less where it is noisy."""
        tiny = torch.finfo(self.mu.dtype).tiny
        scale = self.average.mean[self._active].abs().max().clamp(min=tiny)
        noise = self.average.error[self._active].max().clamp(min=tiny)
        return torch.minimum(self.mu / scale, NOISE_IN_WEIGHTS / noise).clamp(max=1e30)

    def sparsity_weight(self) -> float:
        """Weight of Omega in the Lagrangian, :math:`(k_0 \\lambda_0 + \\epsilon \\sum_i k_i \\lambda_i) / s_0`."""
        if not self._has_sparsity:
            return 0.0
        weighted = self.k * self.lam
        return float((weighted[0] + self._settings.epsilon * weighted.sum()) / self.units[0])

    @torch.no_grad()
    def state(self, f: Tensor) -> MethodState:
        """Terms, multipliers, t and mu, and how well the given mean objectives solve the scalarized problem."""
        terms, lam = self.terms(f), self.lam
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
            "lambda_change": (lam - self.lam_before).abs().max(),
        }
        return MethodState(terms.tolist(), lam.tolist(), {name: float(value) for name, value in details.items()})

    @property
    def _has_sparsity(self) -> bool:
        return self._in_play.start == 0

    def _weigh(self, c: Tensor) -> Tensor:
        """Weights of the objectives, (m + 1,), after a batch with the terms c, of which here the average counts."""
        weights, c, lam = torch.zeros_like(c), self.average.mean[self._active], self.lam[self._active]
        if self.t is None:
            weights[self._active] = optimal_weights(c, lam, self.penalty)
        else:
            weights[self._active] = multipliers(c - self.t.detach(), lam, self.penalty)
        return weights
