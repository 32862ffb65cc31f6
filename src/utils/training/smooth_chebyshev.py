"""Smooth Chebyshev scalarization: the maximum of the terms replaced by its smooth upper bound."""

from __future__ import annotations

import torch
from torch import Tensor

from src.utils.training.chebyshev_method import ChebyshevMethod


class SmoothChebyshev(ChebyshevMethod):
    """Minimises a smooth bound of the largest Chebyshev term instead of constraining all of them by multipliers.

    .. math:: \\frac1\\mu \\log \\sum_i \\exp(\\mu c_i), \\quad w = \\operatorname{softmax}(\\mu \\bar c)

    The bound is at most :math:`\\log(n) / \\mu` above the maximum, and terms with the weights :math:`w_i, w_j` differ
    by :math:`\\log(w_i / w_j) / \\mu` at its minimum. The average :math:`\\bar c` of the terms, :math:`\\mu` and its
    growth are those of :class:`~src.utils.training.chebyshev_method.ChebyshevMethod`, as are the arguments; ``lam``
    is the average of the weights and decides nothing.

    Source: Lin et al., Smooth Tchebycheff scalarization for multi-objective optimization (2024).
    """

    def _weigh(self, c: Tensor) -> Tensor:
        weights = torch.zeros_like(c)
        weights[self._active] = torch.softmax(self.penalty * self.average.mean[self._active], dim=0)
        return weights
