"""In-memory batches: the data are tensors on the device, a batch is an index into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from Data_loaders.datasets import MultiTaskDataset
from src.utils.errors import UserError

SPLIT_SEED = 0


@dataclass(frozen=True)
class TaskData:
    """Normalised images, shape (N, C, H, W), with labels, shape (N, m), on one device."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels) or self.labels.ndim != 2:
            raise UserError(
                f"labels have shape {tuple(self.labels.shape)}; allowed: ({len(self.images)}, number of tasks)"
            )

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All data in order, unchanged: every pass gives identical tensors."""
        yield from zip(self.images.split(batch_size), self.labels.split(batch_size), strict=True)


@dataclass(frozen=True)
class Splits:
    """Training, validation and test data on one device.

    Attributes:
        max_rotation: training images are turned by up to this many degrees, either way; 0 for data that are no images.
        black: what a black pixel is after the normalisation, a number or of shape (C, 1, 1); it fills the corners of
            turned images.
    """

    train: TaskData
    validation: TaskData
    test: TaskData
    max_rotation: float = 0.0
    black: Tensor | float = 0.0


def make_splits(dataset: MultiTaskDataset, device: torch.device) -> Splits:
    """Normalise once, move to the device and set ``dataset.validation_size`` images aside, always the same ones.

    No image that is trained on has the origin of one that is set aside; of large groups of the same origin fewer images
    may be set aside.

    Args:
        dataset: the raw data.
        device: where all batches come from.
    """
    count = len(dataset.x_train)
    held_out = round(count / 6) if dataset.validation_size is None else dataset.validation_size
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    aside = np.isin(np.arange(count), order[:held_out])
    if dataset.origins is not None:
        aside = _whole_groups(dataset.origins, order, held_out)

    def part(x: np.ndarray, y: np.ndarray) -> TaskData:
        return TaskData(normalise(x, dataset.mean, dataset.std, device), torch.from_numpy(y).to(device))

    return Splits(
        part(dataset.x_train[~aside], dataset.y_train[~aside]),
        part(dataset.x_train[aside], dataset.y_train[aside]),
        part(dataset.x_test, dataset.y_test),
        dataset.max_rotation,
        normalise(np.zeros((1, 1, 1, len(dataset.mean)), np.uint8), dataset.mean, dataset.std, device)[0],
    )


def _whole_groups(origins: NDArray[np.int64], order: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Which images are set aside: whole groups of the same origin, in the given order, as far as they fit into size."""
    counts = dict(zip(*np.unique(origins, return_counts=True), strict=True))
    chosen, left = [], size
    for origin in dict.fromkeys(origins[order].tolist()):
        if counts[origin] <= left:
            chosen.append(origin)
            left -= counts[origin]
    return np.isin(origins, chosen)


def share_of_training(splits: Splits, share: float, seed: int) -> Splits:
    """The same data with a random share of the training images, at least one; all of them for share 1.

    Args:
        splits: the data.
        share: above 0, at most 1.
        seed: of the choice.
    """
    if share == 1:
        return splits
    count = max(1, round(share * len(splits.train)))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(splits.train))[:count])
    index = torch.from_numpy(chosen).to(splits.train.images.device)
    return replace(splits, train=TaskData(splits.train.images[index], splits.train.labels[index]))


def normalise(x: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> Tensor:
    """uint8 images (N, H, W) or (N, H, W, C) to floats (N, C, H, W), :math:`(x / 255 - mean) / std` per channel."""
    images = torch.from_numpy(np.ascontiguousarray(x)).to(device)
    images = images.unsqueeze(-1) if images.ndim == 3 else images  # (N, H, W) -> (N, H, W, 1)
    scale, shift = (torch.tensor(value, device=device) for value in (std, mean))
    return ((images.float() / 255 - shift) / scale).permute(0, 3, 1, 2)  # channels stay last in memory


def training_batches(
    splits: Splits, batch_size: int, seed: int, num_batches: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled, augmented training batches.

    Args:
        splits: the data.
        batch_size: images per batch; the last batch may be smaller.
        seed: of the order and the rotations of this epoch.
        num_batches: stop after so many; None takes all.
    """
    data = splits.train
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator).to(data.images.device)
    angles = (2 * torch.rand(len(data), generator=generator) - 1).mul(splits.max_rotation).to(data.images.device)
    for number, index in enumerate(order.split(batch_size)):
        if number == num_batches:
            return
        images = data.images[index]
        if splits.max_rotation:
            images = rotate(images, angles[index], splits.black)
        yield images, data.labels[index]


def rotate(images: Tensor, degrees: Tensor, fill: Tensor | float = 0.0) -> Tensor:
    """Turn every image about its centre by its own angle, bilinear, as if ``fill`` went on for ever around it.

    Args:
        images: square ones, shape (N, C, H, H).
        degrees: shape (N,), counter-clockwise.
        fill: value of the pixels outside, a number or shape (C, 1, 1).
    """
    angle = torch.deg2rad(degrees)
    zero = torch.zeros_like(angle)
    turn = torch.stack([angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero], dim=1).view(-1, 2, 3)
    grid = affine_grid(turn, list(images.shape), align_corners=False)
    turned = grid_sample(images - fill, grid, padding_mode="zeros", align_corners=False)  # 0 outside is now the fill
    return (turned + fill).contiguous(memory_format=torch.channels_last)  # as the images were before
