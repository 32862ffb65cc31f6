"""Mean of noisy terms over the last batches, and what noise is left in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningMean(nn.Module):
    """Fading average of vectors, without bias from its start, and an estimate of its error.

    .. math::
        n \\leftarrow \\beta n + 1, \\quad
        q \\leftarrow \\beta^2 q + 1, \\quad
        \\bar c \\leftarrow \\bar c + \\frac{c - \\bar c}{n}, \\quad
        v \\leftarrow v + \\frac{(c - c')^2 / 2 - v}{n}

    with c' the vector before c. n is the sum of the weights of all vectors and q that of their squares, so that
    independent noise of variance v leaves :math:`v q / n^2` in the mean. v comes from successive differences, in which
    a slow change of the terms does not count as noise. With :math:`\\beta = 0` the mean is the last vector.

    Args:
        size: of the vectors.
        device: of the buffers, which go into the state dict and never leave the device.

    Attributes:
        mean: :math:`\\bar c`, shape (size,).
        last: c', shape (size,).
        variance: v, shape (size,); 0 before the second vector.
        count: n, a scalar.
        squares: q, a scalar.

    Source: the average of Adam with its correction of the bias (Kingma, Ba 2015); von Neumann, Distribution of the
    ratio of the mean square successive difference to the variance (1941).
    """

    mean: Tensor
    last: Tensor
    variance: Tensor
    count: Tensor
    squares: Tensor

    def __init__(self, size: int, device: torch.device) -> None:
        super().__init__()
        for name in ("mean", "last", "variance"):
            self.register_buffer(name, torch.zeros(size, device=device))
        for name in ("count", "squares"):
            self.register_buffer(name, torch.zeros((), device=device))

    def reset(self) -> None:
        """Forget all vectors."""
        for buffer in self.buffers():
            buffer.zero_()

    @torch.no_grad()
    def update(self, c: Tensor, beta: float) -> None:
        """Take one more vector into the mean.

        Args:
            c: the vector, shape (size,).
            beta: share of the old vectors that is kept, in [0, 1].
        """
        half_square = torch.where(self.count > 0, (c - self.last).square() / 2, 0.0)
        self.count.mul_(beta).add_(1)
        self.squares.mul_(beta**2).add_(1)
        self.variance.add_((half_square - self.variance) / self.count)
        self.mean.add_((c - self.mean) / self.count)
        self.last.copy_(c)

    @property
    def error(self) -> Tensor:
        """Standard error of the mean, :math:`\\sqrt{v q} / n`, shape (size,): 0 for vectors that do not change."""
        return (self.variance * self.squares).sqrt() / self.count.clamp(min=1)
