"""Monitored Deep Multi-Task Network: a shared trunk, and a monitor and a head per task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.models.backbones import Backbone
from src.models.multi_task import MultiTaskNetwork


class MDMTN(MultiTaskNetwork):
    """Head i reads a trained mixture of what the tasks share and what only task i sees.

    .. math:: y_i = h_i\\bigl(\\alpha_{i,0}\\, s(x) + \\alpha_{i,1}\\, m_i(x)\\bigr)

    with trunk :math:`s`, monitors :math:`m_i`, heads :math:`h_i`, and the mixture ``alphas``, shape (m, 2),
    trained from (1, 0).

    Args:
        backbone: makes trunk and monitors.
        num_outs: number of classes per task.

    Source: Hotegni, Berkemeier, Peitz, Multi-Objective Optimization for Sparse Deep Multi-Task Learning, section 3.
    """

    def __init__(self, backbone: Backbone, num_outs: Sequence[int]) -> None:
        super().__init__()
        self.trunk = backbone.trunk()
        self.monitors = nn.ModuleList(backbone.monitor() for _ in num_outs)
        self.heads = nn.ModuleList(nn.Linear(backbone.features, outputs) for outputs in num_outs)
        self.alphas = nn.Parameter(torch.tensor([[1.0, 0.0]]).repeat(len(num_outs), 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        shared = self.trunk(x)  # (N, C, H, W) -> (N, features)
        return [
            head(alpha[0] * shared + alpha[1] * monitor(x))  # (N, features) -> (N, num_outs[i])
            for head, monitor, alpha in zip(self.heads, self.monitors, self.alphas, strict=True)
        ]

    @property
    def sparse_parts(self) -> list[nn.Module]:
        return [self.trunk, *self.monitors]
