"""Hard parameter sharing: one trunk for all tasks. With a single head it is single-task learning (STL)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from src.models.multi_task import TrunkNetwork


class HPS(TrunkNetwork):
    """Every head reads the same features, :math:`y_i = h_i(s(x))`.

    Args:
        trunk: maps images to features, shape (N, features).
        heads: one per task, from features to logits (N, number of classes).

    Source: Caruana, Multitask learning (1997).
    """

    def __init__(self, trunk: nn.Module, heads: Iterable[nn.Module]) -> None:
        super().__init__(trunk)
        self.heads = nn.ModuleList(heads)

    def predict(self, x: Any, shared: Tensor) -> list[Tensor]:
        return [head(shared) for head in self.heads]  # (N, features) -> (N, num_outs[i])

    @property
    def sparse_parts(self) -> list[nn.Module]:
        return [self.trunk]
