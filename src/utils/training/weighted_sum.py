"""The plain reference: a weighted sum of the objectives, equal weighting among them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from Data_loaders.batches import Labels
from src.models.multi_task import MultiTaskNetwork
from src.utils.training.method import Batch, Method, MethodState


class WeightedSum(Method):
    """Minimises :math:`\\sum_i k_i f_i`; with equal :math:`k_1, ..., k_m` this is equal weighting.

    The arguments are those of :class:`~src.utils.training.method.Method`.
    """

    lam: Tensor
    uses_sparsity = True
    stackable = True

    def _set_up(self, model: MultiTaskNetwork, teachers: Sequence[nn.Module]) -> None:
        self.register_buffer("lam", self.k.clone())
        self.start_phase(sparsity=self._settings.with_sparsity)

    def start_phase(self, *, sparsity: bool) -> None:
        """Put the sparsity objective in or out of play."""
        self._in_play = sparsity
        self.lam[0] = self.k[0] * sparsity

    def forward(self, outputs: Sequence[Tensor], labels: Labels, weights: Sequence[Tensor] | None = None) -> Batch:
        """Objectives and their weighted sum."""
        f = self.objectives(outputs, labels, weights)
        return Batch(f, (self.lam * f).sum())

    def sparsity_weight(self) -> float:
        """:math:`k_0` where the sparsity objective is in play."""
        return float(self.lam[0])

    def state(self, f: Tensor) -> MethodState:
        """Weights and weighted objectives."""
        return MethodState((self.lam * f).tolist(), self.lam.tolist())

    @property
    def _has_sparsity(self) -> bool:
        return self._in_play
