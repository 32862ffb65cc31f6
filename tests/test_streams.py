"""Data that are read a batch at a time: the same runs as from tensors, continued ones included."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from Data_loaders.loaders import Splits, TaskData
from src.models.hps import HPS
from src.utils.errors import UserError
from src.utils.runs.results import Results
from src.utils.training.records import EpochRecord, Observer
from tests.conftest import one_line
from tests.mixed_problem import TASKS, mixed_data, mixed_network, mixed_parameters
from Train_and_Test import train_and_test


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tested elsewhere, and take longer than these trainings."""
    monkeypatch.setattr("src.utils.report.run.draw_run", lambda folder: [])


DATA = mixed_data()
PARTS = (DATA.train, DATA.validation, DATA.test)
BATCH = 40


class Samples(Dataset[Any]):
    """One sample at a time; labels in a tuple."""

    def __init__(self, data: TaskData, change: Callable[[Tensor], Any] = lambda x: x) -> None:
        self.data, self.change = data, change

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: int) -> tuple[Any, tuple[Tensor, ...]]:
        return self.change(self.data.images[place]), tuple(labels[place] for labels in self.data.labels)


class OrderOfTensors(Sampler[list[int]]):
    """Batches in the order that tensors are shuffled in with the same seed."""

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(torch.initial_seed())
        order = torch.randperm(len(DATA.train), generator=generator)
        yield from (part.tolist() for part in order.split(BATCH))

    def __len__(self) -> int:
        return -(-len(DATA.train) // BATCH)


def with_dropout() -> HPS:
    network = mixed_network()
    network.trunk = nn.Sequential(*network.trunk, nn.Dropout(0.2))  # type: ignore[misc]
    return network


def outcome(results: Results) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results.folder / "results.json").read_text())
    compression = content["compression"]
    if compression:
        for kind in ("dense", "compressed"):
            compression[kind].pop("latency_ms")
    return {name: value for name, value in content.items() if name != "seconds"}


def run(data: Any, folder: Path, **options: Any) -> dict[str, Any]:
    network = options.pop("network", with_dropout)()
    return outcome(train_and_test(network, data, mixed_parameters(), tasks=TASKS, output_dir=str(folder), **options))


def test_runs_from_loaders_and_data_sets_equal_the_run_from_tensors(tmp_path: Path) -> None:
    wanted = run(DATA, tmp_path / "tensors")
    train, *others = (Samples(part) for part in PARTS)
    evaluated = [DataLoader(part, batch_size=500) for part in (train, *others)]
    ordered = DataLoader(train, batch_sampler=OrderOfTensors())
    found = run((ordered, *evaluated[1:]), tmp_path / "loaders")
    for name in ("test_accuracy", "test_scores", "validation_losses", "best_epoch", "layers", "lambda", "mu"):
        assert found[name] == wanted[name], name  # the rest is measured on training data in another order
    assert run((train, *others), tmp_path / "data sets") == wanted


class Noisy:
    """Training inputs that differ from epoch to epoch."""

    def __call__(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)


class Interruption(Observer):
    """A user who gives up in an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def epoch_ends(self, record: EpochRecord) -> None:
        if record.epoch == self.epoch:
            raise KeyboardInterrupt


def loaders() -> tuple[DataLoader[Any], ...]:
    train, *others = (Samples(part, Noisy() if part is DATA.train else lambda x: x) for part in PARTS)
    return DataLoader(train, batch_size=BATCH, shuffle=True), *(DataLoader(part, batch_size=BATCH) for part in others)


def test_a_run_from_loaders_is_continued_bit_for_bit(tmp_path: Path) -> None:
    whole = run(loaders(), tmp_path / "whole")
    assert run(loaders(), tmp_path / "again") == whole
    assert run(loaders(), tmp_path / "other seed", seed=1) != whole
    with pytest.raises(KeyboardInterrupt):
        run(loaders(), tmp_path / "part", observer=Interruption(4))
    (folder,) = (tmp_path / "part" / "logs" / "own").iterdir()
    torch.manual_seed(99)  # whatever the random numbers are elsewhere
    assert run(loaders(), tmp_path / "part", resume=folder) == whole


class Halves(nn.Module):
    """Reads a tuple or a dict of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 16), nn.Linear(4, 16)

    def forward(self, x: Any) -> Tensor:
        left, right = (x["left"], x["right"]) if isinstance(x, dict) else x
        return torch.cat([self.left(left), self.right(right)], 1).relu()


INPUTS: dict[str, Callable[[Tensor], Any]] = {
    "tuple": lambda x: (x[..., :4], x[..., 4:]),
    "dict": lambda x: {"left": x[..., :4], "right": x[..., 4:]},
}


@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_may_be_a_tuple_or_a_dict(kind: str, tmp_path: Path) -> None:
    def network() -> HPS:
        torch.manual_seed(0)
        return HPS(nn.Sequential(Halves(), nn.Linear(32, 16), nn.ReLU()), [nn.Linear(16, n) for n in (3, 1, 1)])

    change = INPUTS[kind]
    train, validation, test = (TaskData(change(part.images), part.labels) for part in PARTS)
    wanted = run(Splits(train, validation, test), tmp_path / "tensors", network=network)
    assert wanted["compression"] is None  # of one tensor only
    assert run([Samples(part, change) for part in PARTS], tmp_path / "data sets", network=network) == wanted


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


GOOD = [DataLoader(Samples(part), batch_size=BATCH) for part in PARTS]
BAD: dict[str, tuple[Any, str]] = {
    "two": (GOOD[:2], "the data are 2 values; allowed: Splits, or three DataLoaders or data sets in a tuple"),
    "a tensor": (
        (DATA.train.images, *GOOD[1:]),
        "the train data are a Tensor; allowed: a DataLoader or a data set of (inputs, labels)",
    ),
    "no length": (
        (DataLoader(Endless(), batch_size=2), *GOOD[1:]),
        "the train data have no length; allowed: a loader that knows its number of batches",
    ),
    "workers that go on": (
        (DataLoader(Samples(DATA.train), num_workers=1, persistent_workers=True), *GOOD[1:]),
        "persistent_workers of the train loader is True; allowed: False, a continued run could not be the same",
    ),
    "no labels": (
        (DataLoader(DATA.train.images[:, 0].tolist()), *GOOD[1:]),  # type: ignore[arg-type]
        "the train data give no batches of (inputs, labels)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_gives_no_batches_is_refused(case: str, tmp_path: Path) -> None:
    data, message = BAD[case]
    with pytest.raises(UserError, match=re.escape(message)) as error:
        run(data, tmp_path)
    one_line(error)
    assert not any(tmp_path.iterdir())


def test_a_share_of_what_is_read_in_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train_share is 0.5; allowed for data that are read in batches: 1"):
        train_and_test(mixed_network(), GOOD, mixed_parameters(train_share=0.5), tasks=TASKS, output_dir=str(tmp_path))
