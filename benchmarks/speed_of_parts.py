"""What :mod:`benchmarks.speed` measures beside the steps of a training: data, and what grows with the problem."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from src.models.hps import HPS
from src.models.multi_task import TrunkNetwork
from src.utils.objectives.growl import growl_prox
from src.utils.objectives.min_norm import min_norm_weights
from src.utils.runs.problem import Problem
from src.utils.training.engine import Trainer
from src.utils.training.methods import make_method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.stack import StackTrainer

Works = Mapping[str, Callable[[], object]]
ROWS, TASKS, VECTORS = (1000, 10_000, 100_000), (2, 4, 8, 16, 32), (1, 2, 4, 8)
WIDTH, CLASSES, IMAGES = 50, 10, 256


class _Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Images as PIL pictures with torchvision's transforms, as tutorials read them."""

    def __init__(self, problem: Problem) -> None:
        dataset = problem.dataset
        assert dataset is not None
        self._images, self._labels = dataset.x_train, torch.from_numpy(dataset.y_train)
        self._change = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomRotation(dataset.max_rotation),
                transforms.ToTensor(),
                transforms.Normalize(dataset.mean, dataset.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        return self._change(self._images[place]), self._labels[place]


def batches_from_loader(problem: Problem, batch_size: int) -> Iterator[list[Tensor]]:
    """Shuffled batches of a DataLoader in this process, with rotations."""
    loader = DataLoader(_Pictures(problem), batch_size, shuffle=True)
    while True:
        yield from loader


def torchjd_step(
    network: TrunkNetwork, optimizer: torch.optim.Optimizer, batches: Iterator[tuple[Tensor, Tensor]]
) -> Callable[[], object] | None:
    """A step by multiple gradient descent of TorchJD, one gradient at a time; None where that is not installed."""
    if find_spec("torchjd") is None:
        return None
    autojac, aggregator = import_module("torchjd.autojac"), import_module("torchjd.aggregation").MGDA()
    shared = list(network.shared_part.parameters())

    def step() -> None:
        images, labels = next(batches)
        optimizer.zero_grad()
        features = network.trunk(images)
        outputs = network.predict(images, features)
        losses = [cross_entropy(output, labels[:, task]) for task, output in enumerate(outputs)]
        autojac.mtl_backward(losses, features=features, parallel_chunk_size=1)
        autojac.jac_to_grad(shared, aggregator)
        optimizer.step()

    return step


def growth_with_rows(device: torch.device) -> Works:
    """GrOWL's proximal operator of a layer with so many rows."""
    works: dict[str, Callable[[], object]] = {}
    for count in ROWS:
        rows = torch.randn(count, WIDTH, device=device)
        theta = torch.linspace(1.0, 0.1, count, device=device)
        works[f"{count:,} rows"] = lambda rows=rows, theta=theta: growl_prox(rows, theta, 0.1)  # type: ignore[misc]
    return works


def growth_with_tasks(device: torch.device, *, min_norm: bool = False) -> Works:
    """Losses, terms, multipliers and their gradients for so many tasks, without the network; or min-norm weights."""
    works: dict[str, Callable[[], object]] = {}
    for tasks in TASKS:
        if min_norm:
            gradients = torch.randn(tasks, 4 * tasks, device=device)
            gram = gradients @ gradients.T
            works[f"{tasks} tasks"] = lambda gram=gram: min_norm_weights(gram)  # type: ignore[misc]
        else:
            works[f"{tasks} tasks"] = _objectives(tasks, device)
    return works


def _objectives(tasks: int, device: torch.device) -> Callable[[], object]:
    network = HPS(nn.Sequential(nn.Linear(8, WIDTH), nn.ReLU()), [nn.Linear(WIDTH, CLASSES) for _ in range(tasks)])
    parameters = TrainingParameters(w=(0.01, *(0.99 / tasks for _ in range(tasks))), skip_layer=0)
    method = make_method(network.to(device), parameters, device)
    outputs = [torch.randn(IMAGES, CLASSES, device=device, requires_grad=True) for _ in range(tasks)]
    labels = torch.randint(CLASSES, (IMAGES, tasks), device=device)
    return lambda: method(outputs, labels).minimised.backward()


def growth_with_vectors(problem: Problem, parameters: TrainingParameters) -> Works:
    """A step for each of so many preference vectors, one network after the other and as one."""
    images, labels = problem.splits.train.first(parameters.batch_size)

    def members(count: int) -> list[Trainer]:
        found = []
        for number in range(count):
            network, share = copy.deepcopy(problem.network), (number + 1) / (count + 1)
            own = parameters.changed(w=(0.0, share, 1 - share))
            method = make_method(network, own, images.device)
            found.append(Trainer(network, method, problem.splits, own))
        return found

    def in_turn(trainers: list[Trainer]) -> Callable[[], object]:
        return lambda: [trainer.method.backward(trainer.model, images, labels) for trainer in trainers]

    works: dict[str, Callable[[], object]] = {}
    for count in VECTORS:
        stack = StackTrainer(members(count))
        works[f"{count} in turn"] = in_turn(members(count))
        works[f"{count} as one, `--batched`"] = lambda stack=stack: stack.gradients(images, labels)  # type: ignore[misc]
    return works
