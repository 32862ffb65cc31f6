"""Knowledge distillation: where its gradients go, its teachers, and interrupted runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from Data_loaders.loaders import Splits
from src.models.multi_task import MultiTaskNetwork, TrunkNetwork
from src.models.registry import Architecture
from src.utils.errors import UserError
from src.utils.training.engine import Trainer
from src.utils.training.kdmtl import ADAPTOR_WEIGHT_DECAY, KDMTL
from src.utils.training.methods import check_method, make_method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Observer
from src.utils.training.two_phase import train
from tests.conftest import CPU, equal_states, one_line, short
from tests.test_training import StopAt, untimed

STUDENTS = ["HPS", "MDMTN"]


def network(name: str, num_outs: tuple[int, ...], seed: int, backbone: str = "MultiMnist") -> MultiTaskNetwork:
    torch.manual_seed(seed)
    return Architecture(name, backbone, num_outs).build()


def make_teachers(backbone: str = "MultiMnist") -> tuple[TrunkNetwork, ...]:
    made = [network("STL", (10,), seed, backbone) for seed in (11, 12)]
    return tuple(teacher for teacher in made if isinstance(teacher, TrunkNetwork))


def parameters(**values: Any) -> TrainingParameters:
    return short(**{"method": "KDMTL", "w": (0.0, 1.0, 1.0), "distillation": (0.5, 0.25), **values})


def make(student: str = "HPS", backbone: str = "MultiMnist", **values: Any) -> tuple[TrunkNetwork, KDMTL]:
    model = network(student, (10, 10), 0, backbone)
    method = make_method(model, parameters(**values), CPU, make_teachers(backbone))
    assert isinstance(model, TrunkNetwork)
    assert isinstance(method, KDMTL)
    return model, method


def make_trainer(splits: Splits, observer: Observer | None = None, *, student: str = "HPS", **values: Any) -> Trainer:
    checkpoint: Path | None = values.pop("checkpoint", None)
    model, method = make(student, **values)
    return Trainer(model, method, splits, parameters(**values), observer=observer, checkpoint=checkpoint)


def batch(splits: Splits, size: int = 20) -> tuple[Tensor, Tensor]:
    return splits.train.images[:size], splits.train.labels[:size]


def first_layer(adaptor: nn.Module) -> nn.Linear:
    layer = next(adaptor.children())
    assert isinstance(layer, nn.Linear)
    return layer


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.grad.clone()
        for name, value in module.named_parameters()
        if value.grad is not None and value.grad.any()
    }


@pytest.mark.parametrize("student", STUDENTS)
def test_distillation_alone_trains_trunk_and_adaptors_and_nothing_else(splits: Splits, student: str) -> None:
    model, method = make(student)
    images, _ = batch(splits)
    method.distillation_losses(images, model.trunk(images)).sum().backward()
    assert set(gradients(model)) == {f"trunk.{name}" for name, _ in model.trunk.named_parameters()}
    assert set(gradients(method)) == {name for name, _ in method.named_parameters()}
    assert all(p.grad is None for teacher in method._teachers for p in teacher.parameters())


def test_each_distillation_loss_reaches_its_own_adaptor_only(splits: Splits) -> None:
    for task in (0, 1):
        model, method = make()
        images, _ = batch(splits)
        method.distillation_losses(images, model.trunk(images))[task].backward()
        assert gradients(method.adaptors[task])
        assert not gradients(method.adaptors[1 - task])
        assert gradients(model.trunk)


def test_distillation_loss_is_two_minus_two_cosines(splits: Splits) -> None:
    model, method = make()
    images, _ = batch(splits)
    with torch.no_grad():
        found = method.distillation_losses(images, model.trunk(images))
        for task, teacher in enumerate(make_teachers()):
            linear = first_layer(method.adaptors[task])
            a = (model.trunk(images) @ linear.weight.T + linear.bias).clamp(min=0)
            cosine = torch.cosine_similarity(a, teacher.trunk(images))
            torch.testing.assert_close(found[task], (2 - 2 * cosine).mean())


@pytest.mark.parametrize("student", STUDENTS)
def test_gradient_is_the_one_of_the_whole_loss(splits: Splits, student: str) -> None:
    model, method = make(student, w=(0.0, 0.3, 0.7), distillation=(2.0, 5.0))
    images, labels = batch(splits)
    returned = method.backward(model, images, labels)
    found = {**gradients(model), **gradients(method)}
    for module in (model, method):
        module.zero_grad()
    losses = [nn.functional.cross_entropy(output, labels[:, i]) for i, output in enumerate(model(images))]
    d = method.distillation_losses(images, model.trunk(images))
    (0.3 * losses[0] + 0.7 * losses[1] + 2 * d[0] + 5 * d[1]).backward()
    wanted = {**gradients(model), **gradients(method)}
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(returned[1:], torch.stack(losses).detach())
    assert not returned.requires_grad


def test_without_distillation_the_network_gets_the_weighted_sums_gradient(splits: Splits) -> None:
    images, labels = batch(splits)
    model, method = make(distillation=(0.0, 0.0))
    other = network("HPS", (10, 10), 0)
    plain = make_method(other, short(method="WeightedSum", w=(0.0, 1.0, 1.0)), CPU)
    method.backward(model, images, labels)
    plain.backward(other, images, labels)
    for name, gradient in gradients(other).items():
        torch.testing.assert_close(gradients(model)[name], gradient)


def test_adaptors_have_their_own_group_and_are_saved_and_teachers_are_not(splits: Splits) -> None:
    trainer = make_trainer(splits)
    first, second = trainer.make_optimizer().param_groups
    assert {id(p) for p in first["params"]} == {id(p) for p in trainer.model.parameters()}
    assert {id(p) for p in second["params"]} == {id(p) for p in trainer.method.parameters()}
    assert (first["weight_decay"], second["weight_decay"]) == (0, ADAPTOR_WEIGHT_DECAY)
    adaptors = {f"adaptors.{task}.0.{name}" for task in (0, 1) for name in ("weight", "bias")}
    assert set(trainer.method.state_dict()) == adaptors | {"k", "last", "distillation", "distillation_sum", "images"}


def test_one_step_changes_trunk_heads_and_adaptors(splits: Splits) -> None:
    trainer = make_trainer(splits, max_iter=1, num_epochs=1, num_batchEpoch=1)
    parts = (trainer.model, trainer.method)
    before = [{name: value.clone() for name, value in part.named_parameters()} for part in parts]
    train(trainer)
    for part, old in zip(parts, before, strict=True):
        assert all(not torch.equal(value, old[name]) for name, value in part.named_parameters())


@pytest.mark.parametrize("student", STUDENTS)
def test_distillation_loss_falls_and_teachers_stay_what_they_are(splits: Splits, student: str) -> None:
    trainer = make_trainer(splits, student=student, max_iter=3)
    train(trainer)
    values = [record.details["distillation"] for record in trainer.history]
    assert values[-1] < 0.7 * values[0]
    assert isinstance(trainer.method, KDMTL)
    for teacher, untouched in zip(trainer.method._teachers, make_teachers(), strict=True):
        assert not teacher.training
        assert equal_states(teacher.state_dict(), untouched.state_dict())
    assert trainer.history[-1].lam == [0.0, 1.0, 1.0]


def test_teachers_with_batch_norm_keep_their_statistics() -> None:
    model, method = make(backbone="Cifar10Mnist")
    images, labels = torch.randn(8, 3, 32, 32), torch.zeros(8, 2, dtype=torch.long)
    method.train()
    method.backward(model.train(), images, labels)
    for teacher, untouched in zip(method._teachers, make_teachers("Cifar10Mnist"), strict=True):
        assert equal_states(teacher.state_dict(), untouched.state_dict())


def test_epoch_mean_counts_every_image_once(splits: Splits) -> None:
    model, method = make()
    (images, labels), size = batch(splits, 30), 20
    method.start_epoch(1, 1.0)
    method.backward(model, images[:size], labels[:size])
    method.backward(model, images[size:], labels[size:])
    with torch.no_grad():
        wanted = float(method.distillation_losses(images, model.trunk(images)).sum())
    assert method.state(torch.zeros(3)).details == {"distillation": pytest.approx(wanted, rel=1e-4)}
    method.start_epoch(1, 1.0)
    assert method.state(torch.zeros(3)).details == {"distillation": 0.0}


@pytest.mark.parametrize("epoch", [2, 4])
def test_continued_run_equals_an_undisturbed_one(splits: Splits, tmp_path: Path, epoch: int) -> None:
    undisturbed = make_trainer(splits)
    train(undisturbed)
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(make_trainer(splits, StopAt(epoch), checkpoint=file))
    continued = make_trainer(splits, checkpoint=file)
    assert isinstance(continued.method, KDMTL)
    with torch.no_grad():
        first_layer(continued.method.adaptors[0]).weight.zero_()
    continued.resume()
    train(continued)
    assert untimed(continued.history) == untimed(undisturbed.history)
    assert equal_states(continued.model.state_dict(), undisturbed.model.state_dict())
    assert equal_states(continued.method.state_dict(), undisturbed.method.state_dict())


@pytest.mark.parametrize("number", [0, 1, 3])
def test_another_number_of_teachers_is_refused(number: int) -> None:
    check_method(parameters(), teachers=2)
    with pytest.raises(UserError) as error:
        check_method(parameters(), teachers=number)
    assert f"there are {number} teachers; allowed for method KDMTL: 2" in one_line(error)


@pytest.mark.parametrize("distillation", [(), (0.1,), (0.1, 0.2, 0.3)])
def test_another_number_of_weights_is_refused(distillation: tuple[float, ...]) -> None:
    with pytest.raises(UserError) as error:
        check_method(parameters(distillation=distillation), teachers=2)
    assert f"distillation is {list(distillation)}; allowed for method KDMTL: 2 numbers" in one_line(error)


def test_sparsity_is_refused() -> None:
    with pytest.raises(UserError, match="allowed for method KDMTL: 0 for sparsity"):
        check_method(parameters(w=(0.1, 0.4, 0.5)), teachers=2)


def test_networks_without_a_trunk_are_refused() -> None:
    with pytest.raises(UserError) as error:
        make_method(network("MTAN", (10, 10), 0), parameters(), CPU, make_teachers())
    assert "network is MTAN; allowed for method KDMTL: a network with a single trunk" in one_line(error)
    teachers = (make_teachers()[0], nn.Linear(3, 4))
    with pytest.raises(UserError) as error:
        make_method(network("HPS", (10, 10), 0), parameters(), CPU, teachers)
    assert "teacher of task 1 is Linear; allowed" in one_line(error)


def test_teachers_may_have_another_width(splits: Splits) -> None:
    class Narrow(TrunkNetwork):
        def __init__(self) -> None:
            super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(784, 7)))
            self.heads = nn.ModuleList([nn.Linear(7, 10)])

        def predict(self, x: Tensor, shared: Tensor) -> list[Tensor]:
            return [head(shared) for head in self.heads]

        @property
        def sparse_parts(self) -> list[nn.Module]:
            return [self.trunk]

    model = network("MDMTN", (10, 10), 0)
    method = make_method(model, parameters(), CPU, (Narrow(), make_teachers()[1]))
    method.backward(model, *batch(splits))
    assert set(gradients(method)) == {name for name, _ in method.named_parameters()}
