"""All vectors of a study as one stacked network: each is trained as it would be alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from Data_loaders.loaders import Splits, TaskData
from src.models.hps import HPS
from src.models.registry import Architecture
from src.utils.errors import UserError
from src.utils.files import read_torch
from src.utils.tasks import classifications
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.engine import Trainer
from src.utils.training.lsuv import initialise_lsuv
from src.utils.training.methods import make_method
from src.utils.training.records import EpochRecord, Observer
from src.utils.training.stack import StackTrainer
from src.utils.training.stackable import check_stackable_network
from src.utils.training.together import train_together
from src.utils.training.two_phase import train
from tests.conftest import CPU, equal_states, one_line, short
from tests.test_pareto_study import MODEL, table_of
from tests.test_scripts import run
from tests.test_training import untimed

VECTORS = ((0.01, 0.2, 0.79), (0.01, 0.5, 0.49), (0.01, 0.9, 0.09))
TOLERANCE = 1e-4


def sparse_hps(splits: Splits) -> HPS:
    """An HPS with every other row of its sparse layers zero."""
    torch.manual_seed(0)
    network = Architecture("HPS", "MultiMnist", (10, 10)).build()
    assert isinstance(network, HPS)
    initialise_lsuv(network, splits.train.images[:100])
    with torch.no_grad():
        for layer in network.growl_layers(short().skip_layer).values():
            layer.weight[:, ::2] = 0
    return network


def trainers(splits: Splits, vectors: Sequence[tuple[float, ...]] = VECTORS, **values: Any) -> list[Trainer]:
    """One per vector, as a study makes them."""
    made = []
    for w in vectors:
        parameters = short(w=w, Sparsity_study=False, max_iter=2, num_epochs=1, **values)
        network = sparse_hps(splits)
        torch.manual_seed(0)
        method = make_method(network, parameters, CPU)
        made.append(Trainer(network, method, splits, parameters, seed=0))
    return made


@pytest.mark.parametrize(
    "values", [{}, {"t_update": "optimizer"}, {"method": "WeightedSum"}, {"base_optimizer": "SGD"}], ids=str
)
def test_networks_that_are_trained_as_one_are_those_trained_alone(values: dict[str, Any], splits: Splits) -> None:
    alone, together = trainers(splits, **values), trainers(splits, **values)
    for trainer in alone:
        train(trainer)
    outcomes = train_together(StackTrainer(together))
    assert all(outcome is not None for outcome in outcomes)
    for first, second in zip(alone, together, strict=True):
        assert len(first.history) == len(second.history) == 2
        for one, other in zip(first.history, second.history, strict=True):
            assert_close(one, other)
        for name, weight in first.sparse_weights.items():
            kept = second.sparse_weights[name]
            assert torch.equal(weight == 0, kept == 0)
    shown = [tuple(trainer.history[-1].validation_losses) for trainer in together]
    assert len(set(shown)) == len(VECTORS)  # each follows its own vector


def doubled(splits: Splits) -> Splits:
    parts = (splits.train, splits.validation, splits.test)
    train_data, validation, test = (TaskData(part.images.double(), part.labels) for part in parts)
    return Splits(train_data, validation, test, splits.max_rotation, splits.black)


def test_what_differs_is_rounding(splits: Splits) -> None:
    """In double precision next to nothing does: one that is trained alone and a stack are the same mathematics."""
    exact = doubled(splits)
    alone, together = ([in_double(trainer, exact) for trainer in trainers(splits)] for _ in range(2))
    for trainer in alone:
        train(trainer)
    train_together(StackTrainer(together))
    for first, second in zip(alone, together, strict=True):
        assert second.history[-1].validation_losses == pytest.approx(first.history[-1].validation_losses, rel=1e-9)


def in_double(trainer: Trainer, splits: Splits) -> Trainer:
    network = trainer.model.double()
    method = make_method(network, trainer.parameters, CPU).double()
    return Trainer(network, method, splits, trainer.parameters, seed=0)


def assert_close(one: EpochRecord, other: EpochRecord) -> None:
    assert (one.phase, one.iteration, one.epoch, one.lr) == (other.phase, other.iteration, other.epoch, other.lr)
    assert one.sparsity_rate == other.sparsity_rate > 0
    for name in ("objectives", "validation_losses", "lam"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=TOLERANCE, rel=TOLERANCE)


class StopAfter(Observer):
    """Ends the first member's training, and with it all, after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def epoch_ends(self, record: EpochRecord) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_an_interrupted_stack_goes_on_to_the_bit(splits: Splits, tmp_path: Path) -> None:
    whole = trainers(splits)
    train_together(StackTrainer(whole))
    broken = trainers(splits)
    broken[0].observer = StopAfter(1)
    with pytest.raises(KeyboardInterrupt):
        train_together(StackTrainer(broken, checkpoint=tmp_path / "checkpoint.pt"))
    assert len(read_torch(tmp_path / "checkpoint.pt")["members"]) == len(VECTORS)
    continued = trainers(splits)
    stack = StackTrainer(continued, checkpoint=tmp_path / "checkpoint.pt")
    stack.resume()
    assert stack.epochs == 1
    train_together(stack)
    for first, second in zip(whole, continued, strict=True):
        assert untimed(first.history) == untimed(second.history)
        assert equal_states(first.model.state_dict(), second.model.state_dict())


def test_one_that_diverges_leaves_the_others_as_they_are(splits: Splits) -> None:
    alone, together = trainers(splits), trainers(splits)
    with torch.no_grad():
        next(together[1].model.parameters()).fill_(float("nan"))
    outcomes = train_together(StackTrainer(together))
    assert [outcome is None for outcome in outcomes] == [False, True, False]
    assert together[1].failure is not None
    assert "training diverged in epoch 1" in together[1].failure
    train(alone[2])
    assert together[2].history[-1].validation_losses == pytest.approx(alone[2].history[-1].validation_losses, abs=1e-4)


def test_where_all_diverge_that_is_an_error(splits: Splits) -> None:
    together = trainers(splits)
    for trainer in together:
        with torch.no_grad():
            next(trainer.model.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="training diverged in epoch 1") as error:
        train_together(StackTrainer(together))
    one_line(error)


def test_members_of_other_tasks_are_refused(splits: Splits) -> None:
    with pytest.raises(ValueError, match="do not train the same tasks"):
        StackTrainer(trainers(splits, ((0.01, 0.5, 0.49), (0.01, 0.0, 0.99))))


class Branching(nn.Module):
    """What torch.vmap cannot map: a decision by a number."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_network_that_cannot_be_mapped_is_refused_by_its_name(splits: Splits) -> None:
    network = sparse_hps(splits)
    tasks = classifications(("left", "right"), (10, 10))
    check_stackable_network(network, splits, tasks, short())
    branching = HPS(nn.Sequential(network.trunk, Branching()), network.heads)
    with pytest.raises(UserError, match="network HPS cannot be one of several that are trained as one: ") as error:
        check_stackable_network(branching, splits, tasks, short())
    one_line(error)


STUDY = "Pareto_front_study_HPS_MM.py"
FLAGS = ["--demo", "--num_epochs", "1", "--max_iter", "1", "--resolution", "4", "--num_batchEpoch", "4"]


def test_the_command_leaves_what_a_study_leaves_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders: dict[str, Path] = {name: tmp_path / name for name in ("apart", "batched")}
    sizes: dict[str, Callable[[], list[str]]] = {"apart": list, "batched": lambda: ["--batched"]}
    start = [*MODEL, "--output-dir", str(folders["apart"]), "--quiet"]
    assert run(monkeypatch, "Example_HPS_MM_withSparsity.py", *start) == 0
    shutil.copytree(folders["apart"] / "src", folders["batched"] / "src")
    for name, folder in folders.items():
        assert run(monkeypatch, STUDY, *FLAGS, *sizes[name](), "--output-dir", str(folder), "--quiet") == 0
    first, second = (table_of(folder) for folder in folders.values())
    assert len(first) == len(second) == 3
    for one, other in zip(first, second, strict=True):
        for task in (1, 2):
            name = f"validation_losses_{task}"
            assert float(other[name]) == pytest.approx(float(one[name]), rel=1e-3)  # rounding, through Adam's signs
    trained = [sorted(path.name for path in folder.glob("logs/pareto_*/k*/*")) for folder in folders.values()]
    assert [name for name in trained[1] if name != "output.txt"] == [
        name for name in trained[0] if name != "output.txt"
    ]
    capsys.readouterr()
    assert run(monkeypatch, STUDY, *FLAGS, "--batched", "--output-dir", str(folders["batched"]), "--quiet") == 0
    assert "3 of 3 trainings are done" in capsys.readouterr().err
    (record,) = folders["batched"].glob("logs/pareto_*/sweep.json")
    assert json.loads(record.read_text())["failures"] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--jobs", "2"], "not allowed beside it: --jobs"),
        (["--method", "MGDA"], "method is 'MGDA'; allowed"),
    ],
)
def test_what_cannot_be_batched_is_refused_before_any_work(
    flags: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, STUDY, *FLAGS, "--batched", *flags, "--output-dir", str(tmp_path)) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_the_step_of_a_stack_has_the_multipliers_of_each(splits: Splits) -> None:
    members = trainers(splits)
    train_together(StackTrainer(members))
    lam = [member.method.lam for member in members if isinstance(member.method, ChebyshevMethod)]
    assert len({tuple(values.tolist()) for values in lam}) == len(VECTORS)
    assert all(float(values.sum()) == pytest.approx(1) for values in lam)
