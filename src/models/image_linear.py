"""A linear layer that reads images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ImageLinear(nn.Linear):
    """What :class:`torch.nn.Flatten` and :class:`torch.nn.Linear` are one behind the other, but faster.

    .. math:: y_n = b + \\sum_{c, h, w} W_{:, (c H + h) W + w}\\, x_{n, c, h, w}

    Convolutions leave the channels of a position side by side in memory. To flatten them in the order of the columns
    copies all images, and their gradients come back in an order that slows down the layers before. Here a copy of
    the weight has the order of the images.

    The arguments are those of :class:`torch.nn.Linear`; ``in_features`` is C * H * W of images of shape (N, C, H, W).
    """

    def forward(self, input: Tensor) -> Tensor:
        channels = input.shape[1]
        weight = self.weight.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1)  # (out, C H W) -> (out, H W C)
        return functional.linear(input.permute(0, 2, 3, 1).flatten(1), weight, self.bias)
