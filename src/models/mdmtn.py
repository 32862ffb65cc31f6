"""Monitored Deep Multi-Task Network: a shared trunk, and a monitor and a head per task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from src.models.multi_task import TrunkNetwork


class MDMTN(TrunkNetwork):
    """Head i reads a trained mixture of what the tasks share and what only task i sees.

    .. math:: y_i = h_i\\bigl(\\alpha_{i,0}\\, s(x) + \\alpha_{i,1}\\, m_i(x)\\bigr)

    with trunk :math:`s`, monitors :math:`m_i`, heads :math:`h_i`, and the mixture ``alphas``, shape (m, 2),
    trained from (1, 0).

    Args:
        trunk: maps images to features, shape (N, features).
        monitors: one per task, to features of the same shape.
        heads: one per task, from features to logits (N, number of classes).

    Source: Hotegni, Berkemeier, Peitz, Multi-Objective Optimization for Sparse Deep Multi-Task Learning, section 3.
    """

    def __init__(self, trunk: nn.Module, monitors: Iterable[nn.Module], heads: Iterable[nn.Module]) -> None:
        super().__init__(trunk)
        self.monitors = nn.ModuleList(monitors)
        self.heads = nn.ModuleList(heads)
        if len(self.monitors) != len(self.heads):
            raise ValueError(f"there are {len(self.monitors)} monitors for {len(self.heads)} heads; allowed: one each")
        self.alphas = nn.Parameter(torch.tensor([[1.0, 0.0]]).repeat(len(self.heads), 1))

    def predict(self, x: Any, shared: Tensor) -> list[Tensor]:
        return [
            head(alpha[0] * shared + alpha[1] * monitor(x))  # (N, features) -> (N, num_outs[i])
            for head, monitor, alpha in zip(self.heads, self.monitors, self.alphas, strict=True)
        ]

    @property
    def sparse_parts(self) -> list[nn.Module]:
        return [self.trunk, *self.monitors]
