"""Multi-Task Attention Network: shared convolution stages, and attention modules of each task's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from src.models.multi_task import MultiTaskNetwork


class TaskAttention(nn.Module):
    """The part of MTAN that one task owns: it picks from the shared features of every stage what the task needs.

    .. math::
        a_j = \\sigma\\bigl(\\mathrm{BN}(h_j\\, \\mathrm{ReLU}(\\mathrm{BN}(g_j\\, [u_j; v_{j-1}])))\\bigr), \\qquad
        v_j = f_j(a_j \\odot p_j), \\quad j = 1, ..., J

    with 1x1 convolutions :math:`g_j, h_j`, ``transitions`` :math:`f_j`, the shared features :math:`p_j` of stage j,
    shape (N, C_j, H_j, W_j), masks :math:`a_j` in (0, 1) of the same shape, and nothing in place of :math:`v_0`. In
    the paper :math:`u_j` comes after the first and :math:`p_j` after the last convolution of a stage; stages of a
    single convolution have :math:`u_j = p_j`.

    Args:
        channels: :math:`C_1, ..., C_J`.
        transitions: the first J - 1 map the size of a stage to the next one's, (N, C_j, H_j, W_j) to
            (N, C_{j+1}, H_{j+1}, W_{j+1}); the last maps to the features of the task's head, (N, features).

    Source: Liu, Johns, Davison, End-to-end multi-task learning with attention (2019), section 3.
    """

    def __init__(self, channels: Sequence[int], transitions: Iterable[nn.Module]) -> None:
        super().__init__()
        carried = [0, *channels[1:]]  # channels of v_{j-1}
        self.masks = nn.ModuleList(_mask(own + before, own) for own, before in zip(channels, carried, strict=True))
        self.transitions = nn.ModuleList(transitions)
        if len(self.transitions) != len(self.masks):
            raise ValueError(
                f"there are {len(self.transitions)} transitions for {len(self.masks)} stages; allowed: one each"
            )

    def forward(self, shared: Sequence[Tensor]) -> Tensor:
        """Features for the task's head, shape (N, features), from :math:`p_1, ..., p_J`."""
        attended: list[Tensor] = []
        for p, mask, transition in zip(shared, self.masks, self.transitions, strict=True):
            a = mask(torch.cat([p, *attended], dim=1))  # (N, C_j [+ C_j], H_j, W_j) -> (N, C_j, H_j, W_j)
            attended = [transition(a * p)]
        return attended[0]


class MTAN(MultiTaskNetwork):
    """Every task attends to the features of the same stages with attention modules of its own.

    .. math:: y_i = h_i\\bigl(v_{i,J}(p_1(x), ..., p_J(x))\\bigr), \\quad p_j = s_j(p_{j-1}), \\; p_0 = x

    with shared stages :math:`s_j`, the attended features :math:`v_{i,J}` of task i (see :class:`TaskAttention`) and
    heads :math:`h_i`.

    Args:
        stages: the shared network; each holds at least one convolution and keeps the channels of its last one.
        transitions: for each task one per stage, modules that no other task has.
        heads: one per task, from features to logits (N, number of classes).

    Source: Liu, Johns, Davison, End-to-end multi-task learning with attention (2019), section 3.
    """

    def __init__(
        self, stages: Iterable[nn.Module], transitions: Iterable[Iterable[nn.Module]], heads: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        channels = [_channels(stage) for stage in self.stages]
        self.attention = nn.ModuleList(TaskAttention(channels, own) for own in transitions)
        self.heads = nn.ModuleList(heads)
        if len(self.attention) != len(self.heads):
            raise ValueError(
                f"there are transitions for {len(self.attention)} tasks and {len(self.heads)} heads; allowed: one each"
            )

    def forward(self, x: Tensor) -> list[Tensor]:
        shared = []
        for stage in self.stages:
            x = stage(x)
            shared.append(x)  # (N, C_j, H_j, W_j)
        return [head(attend(shared)) for attend, head in zip(self.attention, self.heads, strict=True)]

    @property
    def shared_part(self) -> nn.Module:
        return self.stages

    @property
    def sparse_parts(self) -> list[nn.Module]:
        return [self.stages, self.attention]


def _mask(inputs: int, outputs: int) -> nn.Sequential:
    """Attention mask from the channels of the shared and of the carried features."""
    return nn.Sequential(
        *(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
        *(nn.Conv2d(outputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.Sigmoid()),
    )


def _channels(stage: nn.Module) -> int:
    """Channels of a stage's output, those of its last convolution."""
    convolutions = [layer for layer in stage.modules() if isinstance(layer, nn.Conv2d)]
    if not convolutions:
        raise ValueError(f"stage {stage} has no convolution; allowed: at least one")
    return convolutions[-1].out_channels
