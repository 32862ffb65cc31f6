"""Mean of noisy terms over the last batches, and what noise is left in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningMean(nn.Module):
    """Exponential average of vectors, without bias from its start, and an estimate of its error.

    .. math::
        n \\leftarrow \\beta n + 1, \\quad
        v \\leftarrow v + \\frac{(c - \\bar c)^2 - v}{n}, \\quad
        \\bar c \\leftarrow \\bar c + \\frac{c - \\bar c}{n}

    n is the number of vectors that count, from 1 up to :math:`1 / (1 - \\beta)`; v is the mean square by which a vector
    misses the average before it, elementwise: noise, and drift where there is any. With :math:`\\beta = 0` the mean is
    the last vector.

    Args:
        size: of the vectors.
        beta: share of the old vectors that is kept, in [0, 1).
        device: of the buffers, which go into the state dict and never leave the device.

    Attributes:
        mean: :math:`\\bar c`, shape (size,).
        square: v, shape (size,); 0 before the second vector.
        count: n, a scalar.

    Source: the average of Adam with its correction of the bias, written as a mean with a growing number of members.
    """

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, size: int, beta: float, device: torch.device) -> None:
        super().__init__()
        self._beta = beta
        self.register_buffer("mean", torch.zeros(size, device=device))
        self.register_buffer("square", torch.zeros(size, device=device))
        self.register_buffer("count", torch.zeros((), device=device))

    def reset(self) -> None:
        """Forget all vectors."""
        for buffer in (self.mean, self.square, self.count):
            buffer.zero_()

    @torch.no_grad()
    def update(self, c: Tensor) -> None:
        """Take one more vector, shape (size,), into the mean."""
        error = torch.where(self.count > 0, c - self.mean, 0.0)
        self.count.mul_(self._beta).add_(1)
        self.square.add_((error.square() - self.square) / self.count)
        self.mean.add_((c - self.mean) / self.count)

    @property
    def error(self) -> Tensor:
        """Standard error of the mean, :math:`\\sqrt{v / n}`, shape (size,): 0 for vectors that do not change."""
        return (self.square / self.count.clamp(min=1)).sqrt()
