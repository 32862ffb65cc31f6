"""In-memory batches: the data are tensors on the device, a batch is an index into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from Data_loaders.batches import Batch, Inputs, Labels, leaves, rows, size
from Data_loaders.datasets import MultiTaskDataset
from src.utils.errors import UserError

SPLIT_SEED = 0


@dataclass(frozen=True)
class TaskData:
    """Inputs with labels, all in memory, on one device.

    Attributes:
        images: normalised images, shape (N, C, H, W), or what else the network reads: a tensor, or a tuple or dict of
            tensors, with N rows each.
        labels: shape (N, m), a column per task; or a tuple of tensors, one per task, or a dict of them by the names of
            the tasks.
    """

    images: Inputs
    labels: Labels

    def __post_init__(self) -> None:
        count = size(self.images)
        if isinstance(self.labels, Tensor) and (len(self.labels) != count or self.labels.ndim != 2):
            raise UserError(f"labels have shape {tuple(self.labels.shape)}; allowed: ({count}, number of tasks)")
        lengths = [len(tensor) if tensor.ndim else 0 for part in (self.images, self.labels) for tensor in leaves(part)]
        if any(length != count for length in lengths):
            raise UserError(f"inputs and labels have {lengths} rows; allowed: the same number each")

    def __len__(self) -> int:
        return size(self.images)

    def steps(self, batch_size: int) -> int:
        """Training batches in an epoch."""
        return -(-len(self) // batch_size)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """All data in order, unchanged: every pass gives identical tensors."""
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield rows(self.images, part), rows(self.labels, part)

    def first(self, count: int) -> Batch:
        """The first samples, or all where there are fewer."""
        return rows(self.images, slice(count)), rows(self.labels, slice(count))


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
    aside = _whole_groups(np.arange(count) if dataset.origins is None else dataset.origins, order, held_out)

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
    index = torch.from_numpy(chosen).to(next(leaves(splits.train.images)).device)
    return replace(splits, train=TaskData(rows(splits.train.images, index), rows(splits.train.labels, index)))


def normalise(x: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> Tensor:
    """uint8 images (N, H, W) or (N, H, W, C) to floats (N, C, H, W), :math:`(x / 255 - mean) / std` per channel."""
    images = torch.from_numpy(np.ascontiguousarray(x)).to(device)
    images = images.unsqueeze(-1) if images.ndim == 3 else images  # (N, H, W) -> (N, H, W, 1)
    scale, shift = (torch.tensor(value, device=device) for value in (std, mean))
    return ((images.float() / 255 - shift) / scale).permute(0, 3, 1, 2)  # channels stay last in memory


def training_batches(splits: Splits, batch_size: int, seed: int, num_batches: int | None = None) -> Iterator[Batch]:
    """One epoch of shuffled, augmented training batches.

    Args:
        splits: the data.
        batch_size: images per batch; the last batch may be smaller.
        seed: of the order and the rotations of this epoch.
        num_batches: stop after so many; None takes all.
    """
    data = splits.train
    generator = torch.Generator().manual_seed(seed)
    device = next(leaves(data.images)).device
    order = torch.randperm(len(data), generator=generator).to(device)
    angles = (2 * torch.rand(len(data), generator=generator) - 1).mul(splits.max_rotation).to(device)
    for number, index in enumerate(order.split(batch_size)):
        if number == num_batches:
            return
        images = rows(data.images, index)
        if splits.max_rotation:
            images = rotate(images, angles[index], splits.black)
        yield images, rows(data.labels, index)


def rotate(images: Tensor, degrees: Tensor, fill: Tensor | float = 0.0) -> Tensor:
    """Turn every image about its centre by its own angle, bilinear, as if ``fill`` went on for ever around it.

    .. math:: y(u, v) = x(u \\cos\\alpha - v \\sin\\alpha,\\; u \\sin\\alpha + v \\cos\\alpha)

    with u and v across and down from the centre. A grid of sums of one row and one column of products takes a fifth of
    the time of PyTorch's product of all positions with a matrix per image.

    Args:
        images: square ones, shape (N, C, H, H).
        degrees: shape (N,), counter-clockwise.
        fill: value of the pixels outside, a number or shape (C, 1, 1).
    """
    angle, size = torch.deg2rad(degrees)[:, None], images.shape[-1]
    centres = (2 * torch.arange(size, device=images.device, dtype=images.dtype) + 1) / size - 1  # from -1 to 1
    along, across = angle.cos() * centres, angle.sin() * centres  # (N, H) each
    u = along[:, None, :] - across[:, :, None]  # (N, H, H)
    v = across[:, None, :] + along[:, :, None]
    grid = torch.stack([u, v], dim=1).permute(0, 2, 3, 1)  # (N, 2, H, H) -> (N, H, H, 2)
    planes = images.contiguous() - fill  # 0 outside is now the fill; a value per channel is subtracted fast from planes
    turned = grid_sample(planes, grid, padding_mode="zeros", align_corners=False)
    return turned.add_(fill).contiguous(memory_format=torch.channels_last)  # as the images were before
