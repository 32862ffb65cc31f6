"""The layers of each data set: the only code that knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from src.models.image_linear import ImageLinear


@dataclass(frozen=True)
class Backbone:
    """How to make the parts of a network for one kind of image.

    Attributes:
        input_shape: of one image, (C, H, W).
        stages: makes the shared part stage by stage: convolution stages, and a last one that maps their output to
            ``features`` numbers.
        monitor: makes a task's own part; its output has ``features`` numbers.
        features: width of the representation the heads read.
    """

    input_shape: tuple[int, int, int]
    stages: Callable[[], list[nn.Sequential]]
    monitor: Callable[[], nn.Sequential]
    features: int

    def trunk(self) -> nn.Sequential:
        """A new shared part, all layers of its stages in a row; its output has ``features`` numbers."""
        return nn.Sequential(*(layer for stage in self.stages() for layer in stage))

    def heads(self, num_outs: Sequence[int]) -> list[nn.Module]:
        """A linear head per task."""
        return [nn.Linear(self.features, outputs) for outputs in num_outs]


def _convolution(inputs: int, outputs: int, kernel: int, *, batch_norm: bool) -> nn.Sequential:
    """Convolution, 2x2 maximum pooling, batch normalisation where asked for, ReLU."""
    norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel), nn.MaxPool2d(2), *norm, nn.ReLU())


def _linear(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(ImageLinear(inputs, outputs), nn.ReLU())


MULTIMNIST = Backbone(
    input_shape=(1, 28, 28),
    stages=lambda: [
        _convolution(1, 10, 5, batch_norm=False),
        _convolution(10, 20, 5, batch_norm=False),
        _linear(320, 50),
    ],
    monitor=lambda: nn.Sequential(*_convolution(1, 20, 5, batch_norm=False), *_linear(2880, 50)),
    features=50,
)

CIFAR10MNIST = Backbone(
    input_shape=(3, 32, 32),
    stages=lambda: [
        _convolution(3, 16, 3, batch_norm=True),
        _convolution(16, 32, 3, batch_norm=True),
        _linear(1152, 32),
    ],
    monitor=lambda: nn.Sequential(*_convolution(3, 32, 3, batch_norm=True), *_linear(7200, 32)),
    features=32,
)

BACKBONES = {"MultiMnist": MULTIMNIST, "Cifar10Mnist": CIFAR10MNIST}
