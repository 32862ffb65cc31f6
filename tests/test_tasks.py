"""Tasks of all kinds: their losses and metrics, missing labels, and what is refused of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn
from torch.nn import functional

from Data_loaders.loaders import Splits, TaskData
from src.models.hps import HPS
from src.utils.errors import UserError
from src.utils.runs.own import own_problem
from src.utils.runs.problem import check_problem
from src.utils.runs.results import read_results
from src.utils.tasks import MISSING, Task
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.engine import Trainer
from src.utils.training.evaluation import evaluate
from src.utils.training.losses import task_labels
from src.utils.training.methods import make_method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.two_phase import train
from tests.conftest import CPU, one_line, quiet
from tests.mixed_problem import TASKS, changed_labels, mixed_data, mixed_network, mixed_parameters, with_labels
from Train_and_Test import train_and_test


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tested elsewhere, and take longer than these trainings."""
    monkeypatch.setattr("src.utils.report.run.draw_run", lambda folder: [])


NAN = float("nan")


class Fixed(nn.Module):
    """Whose outputs are its inputs."""

    def forward(self, x: dict[str, Tensor]) -> list[Tensor]:
        return list(x.values())


def scores(task: Task, outputs: Tensor, labels: Tensor, **changed: Any) -> Any:
    return evaluate(Fixed(), TaskData({"x": outputs}, (labels,)), [replace(task, **changed)], batch_size=3)


def loss_of_batch(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    parameters = TrainingParameters(w=(0.0, 1.0), skip_layer=8)
    network = mixed_network(outputs=(task.outputs,))
    method = ChebyshevMethod(network, parameters, CPU, tasks=[task])
    return method.task_losses([outputs], (labels,))[0]


def test_losses_and_metrics_are_those_of_torch_and_scikit_learn_on_the_labels_there_are() -> None:
    torch.manual_seed(0)
    logits, classes = torch.randn(10, 3), torch.tensor([0, 1, 2, 0, 1, MISSING, 2, 0, MISSING, 1])
    known = classes != MISSING
    task = Task("kind", "classification", 3)
    assert torch.equal(loss_of_batch(task, logits, classes), functional.cross_entropy(logits[known], classes[known]))
    found = scores(task, logits, classes)
    right = metrics.accuracy_score(classes[known], logits[known].argmax(1))
    assert found.accuracy[0] == pytest.approx(100 * right)
    assert found.losses[0] == pytest.approx(float(functional.cross_entropy(logits[known], classes[known])), rel=1e-6)
    wanted = metrics.balanced_accuracy_score(classes[known], logits[known].argmax(1))
    assert scores(task, logits, classes, metric="balanced_accuracy").accuracy[0] == pytest.approx(100 * wanted)

    yes, truth = torch.randn(8, 1), torch.tensor([0.0, 1, 1, NAN, 0, 1, NAN, 0])
    known = ~truth.isnan()
    task = Task("sign", "binary", 1)
    wanted = functional.binary_cross_entropy_with_logits(yes[known, 0], truth[known])
    assert loss_of_batch(task, yes, truth) == pytest.approx(float(wanted))
    found = scores(task, yes, truth).metrics[0]
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(truth[known], yes[known, 0]))
    assert found["f1"] == pytest.approx(metrics.f1_score(truth[known], yes[known, 0] >= 0))
    whole = torch.tensor([0, 1, 1, MISSING, 0, 1, MISSING, 0])  # -100 is the same as NaN
    assert scores(task, yes, whole) == scores(task, yes, truth)

    many = torch.randn(9, 2)
    labels = torch.tensor([[0, 1], [1, MISSING], [1, 0], [0, 0], [MISSING, 1], [1, 1], [0, 1], [0, 0], [1, 0]])
    task, known = Task("tags", "multilabel", 2), labels != MISSING
    wanted = functional.binary_cross_entropy_with_logits(many[known], labels[known].float())
    assert loss_of_batch(task, many, labels) == pytest.approx(float(wanted))
    per_label = [metrics.average_precision_score(labels[k, i], many[k, i]) for i, k in enumerate(known.T)]
    assert scores(task, many, labels).accuracy[0] == pytest.approx(50 * sum(per_label))

    numbers, values = torch.randn(7, 2), torch.randn(7, 2)
    values[2, 0] = values[5, 1] = NAN
    task, known = Task("size", "regression", 2), ~values.isnan()
    assert loss_of_batch(task, numbers, values) == pytest.approx(
        float(functional.mse_loss(numbers[known], values[known]))
    )
    found = scores(task, numbers, values)
    r2 = [metrics.r2_score(values[k, i], numbers[k, i]) for i, k in enumerate(known.T)]
    rmse = [metrics.root_mean_squared_error(values[k, i], numbers[k, i]) for i, k in enumerate(known.T)]
    assert found.metrics[0] == pytest.approx({"r2": sum(r2) / 2, "rmse": sum(rmse) / 2})
    assert found.losses[0] == pytest.approx(float(functional.mse_loss(numbers[known], values[known])), rel=1e-6)
    assert scores(task, numbers, values, metric="rmse").accuracy == found.accuracy  # grows where the error falls


def test_functions_of_ones_own_see_whole_samples() -> None:
    seen: list[Any] = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append((outputs.shape, targets.shape))
        return (outputs - targets).abs().max()

    def metric(targets: Any, predictions: Any) -> float:
        seen.append((targets.shape, predictions.shape))
        return 0.25

    values = torch.tensor([[1.0, NAN], [2.0, 3.0], [4.0, 6.0]])
    task = Task("size", "regression", 2, loss, metric)
    assert float(loss_of_batch(task, torch.zeros(3, 2), values)) == 6
    assert scores(task, torch.zeros(3, 2), values).accuracy == [25.0]
    assert set(seen) == {((2, 2), (2, 2))}
    assert task.metrics == ("metric",)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_a_missing_label_has_no_gradient(task: Task) -> None:
    outputs = torch.randn(5, task.outputs, requires_grad=True)
    labels = {"classification": torch.tensor([0, MISSING, 1, 2, MISSING])}.get(
        task.kind, torch.tensor([1.0, NAN, 0.0, 1.0, NAN])
    )
    loss_of_batch(task, outputs, labels).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    assert (outputs.grad.abs().sum(1) > 0).tolist() == [True, False, True, True, False]


def test_in_a_batch_without_labels_a_task_has_its_last_loss_and_no_gradient() -> None:
    network, data, parameters = mixed_network(), mixed_data(missing=0.0).train, mixed_parameters()
    method = ChebyshevMethod(network, parameters, CPU, tasks=TASKS)
    inputs, labels = data.first(20)
    before = method.backward(network, inputs, labels)
    network.zero_grad()
    f = method.backward(network, inputs, (*labels[:2], torch.full((20,), NAN)))
    assert f[3] == before[3] > 0
    assert method.counts == [20, 20, 0]
    assert not network.heads[2].weight.grad.any()  # type: ignore[union-attr, operator]
    assert network.heads[1].weight.grad.any()  # type: ignore[union-attr, operator]


def test_objectives_of_an_epoch_are_means_over_the_labels() -> None:
    """With learning rate next to 0 they are those of the whole split, whatever batches the labels fell into."""
    splits, parameters = mixed_data(missing=0.6), mixed_parameters(w=(0.0, 1.0, 1.0, 1.0), lr=1e-12, max_iter=1)
    network = mixed_network()
    trainer = Trainer(network, make_method(network, parameters, CPU, tasks=TASKS), splits, parameters)
    train(trainer)
    whole = evaluate(network, splits.train, TASKS)
    assert trainer.history[0].objectives[1:] == pytest.approx(whole.losses, rel=1e-4)


@pytest.mark.parametrize("method", ["Chebyshev", "WeightedSum", "MGDA"])
def test_mixed_tasks_are_trained_and_reported(method: str, tmp_path: Path) -> None:
    k0 = 0.0 if method == "MGDA" else 0.05
    parameters = mixed_parameters(method=method, w=(k0, 0.4, 0.3, 0.25), num_epochs=8)
    data = with_labels(mixed_data(), lambda part: (*part.labels[:2], (part.labels[2] - 4000) / 500))
    results = train_and_test(mixed_network(), data, parameters, tasks=TASKS, output_dir=str(tmp_path))
    assert results.score_name == "score"
    assert results.scores is not None
    found = results.scores.test_scores
    assert list(found) == ["kind", "sign", "mass"]
    assert set(found["mass"]) == {"r2", "rmse"}
    assert results.test_accuracy == pytest.approx(
        [100 * found["kind"]["accuracy"], 100 * found["sign"]["average_precision"], 100 * found["mass"]["r2"]]
    )
    assert min(results.test_accuracy) > 40
    content = json.loads((results.folder / "results.json").read_text())
    assert content["test_scores"] == found
    assert [task["kind"] for task in content["tasks"]] == ["classification", "binary", "regression"]
    assert read_results(results.folder).scores == results.scores


def test_classifications_leave_what_they_always_left(tmp_path: Path) -> None:
    splits = with_labels(mixed_data(missing=0.0), lambda part: part.labels[0][:, None])
    parameters = mixed_parameters(w=(0.0, 1.0), max_iter=1)
    network = lambda: mixed_network(outputs=(3,))  # noqa: E731
    named = [Task("task 1", "classification", 3)]
    first = train_and_test(network(), splits, parameters, output_dir=str(tmp_path))
    second = train_and_test(network(), splits, parameters, tasks=named, output_dir=str(tmp_path))
    contents = [json.loads((results.folder / "results.json").read_text()) for results in (first, second)]
    for content in contents:
        content.pop("seconds")
    assert contents[0] == contents[1]
    assert not {"tasks", "test_scores", "validation_scores"} & set(contents[0])


def test_a_test_split_without_labels_of_a_task_has_no_score(tmp_path: Path) -> None:
    data = mixed_data()
    data = changed_labels(data, "test", 1, torch.full_like(data.test.labels[1], NAN))
    results = train_and_test(
        mixed_network(), data, mixed_parameters(max_iter_search=1, max_iter_retrain=1), tasks=TASKS,
        output_dir=str(tmp_path),
    )  # fmt: skip
    content = json.loads((results.folder / "results.json").read_text())
    assert content["test_accuracy"][1] is None
    assert content["test_scores"]["sign"]["f1"] is None
    known = [content["test_accuracy"][0], content["test_accuracy"][2]]
    assert content["test_accuracy_mean"] == pytest.approx(sum(known) / 2)
    assert read_results(results.folder).mean_test_accuracy == content["test_accuracy_mean"]


BAD_TASKS: dict[str, tuple[Callable[[], Task], str]] = {
    "kind": (lambda: Task("a", "ranking", 1), "kind of task a is 'ranking'; allowed: classification, binary"),
    "name": (lambda: Task("", "binary", 1), "the name of a task is ''; allowed: a text that is not empty"),
    "classes": (lambda: Task("a", "classification", 1), "outputs of task a is 1; allowed for classification: a whole"),
    "binary": (lambda: Task("a", "binary", 2), "outputs of task a is 2; allowed for binary: 1"),
    "outputs": (
        lambda: Task("a", "regression", 0),
        "outputs of task a is 0; allowed for regression: a whole number >= 1",
    ),
    "loss": (
        lambda: Task("a", "regression", 1, loss="bce"),
        "loss of task a is 'bce'; allowed for regression: mse, mae",
    ),
    "metric": (
        lambda: Task("a", "binary", 1, metric="r2"),
        "metric of task a is 'r2'; allowed for binary: average_prec",
    ),
}


@pytest.mark.parametrize("case", BAD_TASKS)
def test_tasks_that_cannot_be_are_refused(case: str) -> None:
    make, message = BAD_TASKS[case]
    with pytest.raises(UserError, match=re.escape(message)) as error:
        make()
    one_line(error)


DATA = mixed_data()
COUNT = len(DATA.train)
Changed = tuple[Callable[[], tuple[Splits, tuple[Task, ...]]], str]


def other(number: int, labels: Tensor, split: str = "train", **task: Any) -> Callable[[], Any]:
    """The mixed problem with other labels, and another task, in one place."""
    tasks = (*TASKS[:number], replace(TASKS[number], **task), *TASKS[number + 1 :])
    return lambda: (changed_labels(DATA, split, number, labels), tasks)


MASS = DATA.train.labels[2]
BAD_LABELS: dict[str, Changed] = {
    "type of classes": (
        other(0, torch.zeros(COUNT)),
        "train labels of task 0 (kind) are torch.float32; allowed for classification: torch.int64",
    ),
    "type of numbers": (
        other(2, torch.ones(COUNT, dtype=torch.int64)),
        "train labels of task 2 (mass) are torch.int64; allowed for regression: floats",
    ),
    "shape": (
        other(2, torch.ones(COUNT, 2)),
        f"train labels of task 2 (mass) have shape ({COUNT}, 2); allowed for regression: (N, 1) or (N,), N samples",
    ),
    "class out of range": (
        other(0, torch.full((COUNT,), 3)),
        "train labels of task 0 (kind) range from 3 to 3; allowed: 0 to 2, as the network has 3 outputs for it",
    ),
    "negative class": (other(0, torch.full((COUNT,), -1)), "range from -1 to -1; allowed: 0 to 2"),
    "no yes or no": (other(1, torch.full((COUNT,), 2.0)), "range from 2 to 2; allowed for binary: 0 and 1"),
    "negative counts": (
        other(2, -MASS, loss="poisson"),
        "train labels of task 2 (mass) go down to -",
    ),
    "no positive number": (
        other(2, torch.zeros(COUNT), loss="gamma"),
        "train labels of task 2 (mass) go down to 0; allowed for its loss: numbers > 0",
    ),
    "negative counts for torch's own": (
        other(2, -MASS, loss=functional.poisson_nll_loss),
        "allowed for its loss: numbers >= 0",
    ),
    "infinite": (other(2, torch.full((COUNT,), float("inf"))), "are infinite in places; allowed: finite numbers"),
    "no labels at all": (
        other(0, torch.full((COUNT,), MISSING)),
        "there are 0 train labels of task 0 (kind); allowed: 1 or more, the others may be missing",
    ),
    "no validation labels": (
        other(2, torch.full((60,), NAN), "validation"),
        "there are 0 validation labels of task 2 (mass); allowed: 2 or more",
    ),
    "loss that is no number": (
        other(2, MASS, loss=lambda outputs, targets: (outputs - targets).abs()),
        "the loss of task mass is Tensor on a batch; allowed: a finite scalar tensor with a gradient",
    ),
    "loss that is not finite": (
        other(2, -MASS, loss=lambda outputs, targets: (outputs * 0 + targets.log()).mean()),
        "the loss of task mass is nan on a batch",
    ),
    "metric that fails": (
        other(2, MASS, metric=metrics.f1_score),
        "loss or metric of mass cannot be computed: ",
    ),
    "labels of two tasks": (
        lambda: (replace(DATA, train=replace(DATA.train, labels=DATA.train.labels[:2])), TASKS),
        "data have images of shape (8,) and 3 labels each; allowed, as in training: (8,) and 2",
    ),
    "outputs": (
        lambda: (DATA, (*TASKS[:2], Task("mass", "regression", 2))),
        "allowed for task mass, regression: (N, 2)",
    ),
    "the same name twice": (lambda: (DATA, (*TASKS[:2], Task("kind", "regression", 1))), "allowed: a name of its own"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_do_not_fit_are_refused_before_anything_is_written(case: str, tmp_path: Path) -> None:
    make, message = BAD_LABELS[case]
    splits, tasks = make()
    with pytest.raises(UserError, match=re.escape(message)) as error:
        train_and_test(mixed_network(), splits, mixed_parameters(), tasks=tasks, output_dir=str(tmp_path))
    one_line(error)
    assert not any(tmp_path.iterdir())


def test_labels_by_name_are_the_same_as_in_order() -> None:
    named = with_labels(DATA, lambda part: dict(zip(("kind", "sign", "mass"), part.labels, strict=True)))
    found = [evaluate(mixed_network(), splits.validation, TASKS) for splits in (DATA, named)]
    assert found[0] == found[1]
    check_problem(own_problem("named", mixed_network(), named, TASKS), mixed_parameters(), quiet)


def test_a_loss_sees_nothing_of_what_is_missing() -> None:
    found = task_labels(TASKS[2], torch.zeros(3, 1), torch.tensor([1.0, NAN, 2.0]))
    assert found.targets.tolist() == [1.0, 2.0]
    assert found.count == 2


def test_a_class_that_no_training_label_has_is_said() -> None:
    known = with_labels(DATA, lambda part: (part.labels[0].clamp(max=1), *part.labels[1:]))
    said: list[str] = []
    check_problem(own_problem("few", mixed_network(), known, TASKS), mixed_parameters(), said.append)
    assert said == ["no training label of kind is of class 2: the network cannot learn it"]


def normalising_network() -> HPS:
    network = mixed_network()
    return HPS(torch.nn.Sequential(network.trunk, torch.nn.BatchNorm1d(16)), network.heads)


@pytest.mark.parametrize(("batch_size", "num_batches", "good"), [(40, None, True), (239, None, False), (239, 1, True)])
def test_a_last_batch_of_one_sample_is_refused_where_it_cannot_be_normalised(
    batch_size: int, num_batches: int | None, good: bool
) -> None:
    parameters = mixed_parameters(batch_size=batch_size, num_batchEpoch=num_batches)
    assert len(DATA.train) == 240
    check_problem(own_problem("plain", mixed_network(), DATA, TASKS), parameters, quiet)
    problem = own_problem("normalised", normalising_network(), DATA, TASKS)
    if good:
        check_problem(problem, parameters, quiet)
    else:
        with pytest.raises(UserError, match="batch_size is 239; allowed for 240 training images: one that") as error:
            check_problem(problem, parameters, quiet)
        one_line(error)


def test_validation_data_of_one_sample_are_enough(tmp_path: Path) -> None:
    data = mixed_data(missing=0)
    one = TaskData(data.validation.images[:1], tuple(part[:1] for part in data.validation.labels))
    classes = (Task("kind", "classification", 3),)
    train_data, validation, test = (TaskData(part.images, (part.labels[0],)) for part in (data.train, one, data.test))
    single = Splits(train_data, validation, test)
    parameters = mixed_parameters(w=(0.05, 0.95), max_iter_search=1, max_iter_retrain=1, num_epochs=1)
    found = train_and_test(mixed_network(outputs=(3,)), single, parameters, tasks=classes, output_dir=str(tmp_path))
    assert found.validation_accuracy in ((0.0,), (100.0,))
