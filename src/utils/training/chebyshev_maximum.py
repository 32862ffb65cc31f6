"""Plain Chebyshev scalarization: the largest term of every batch, without multipliers."""

from __future__ import annotations

import torch
from torch import Tensor

from src.utils.training.chebyshev_method import ChebyshevMethod


class ChebyshevMaximum(ChebyshevMethod):
    """Minimises the largest Chebyshev term of every batch by its subgradient, a peer to compare with.

    .. math:: \\max_i c_i, \\quad w_i = 1 \\text{ for the first largest } c_i, \\; 0 \\text{ for the others}

    The mean over batches of the maximum is not the maximum of the means, see
    :class:`~src.utils.training.chebyshev_method.ChebyshevMethod`, whose arguments are the same; ``lam`` is the average
    of the weights and decides nothing, nor does mu.

    Source: Bowman, On the relationship of the Tchebycheff norm and the efficient frontier of multiple-criteria
    objectives (1976), for the scalarization.
    """

    def _weigh(self, c: Tensor) -> Tensor:
        weights = torch.zeros_like(c)
        weights[self._active[c[self._active].argmax()]] = 1
        return weights
