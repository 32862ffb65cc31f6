"""The loop, the two phases, the multipliers, and interrupted runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from Data_loaders.loaders import Splits, share_of_training
from src.models.hps import HPS
from src.utils.errors import CheckpointError, UserError
from src.utils.files import read_torch, write_torch
from src.utils.objectives.chebyshev import chebyshev_terms
from src.utils.objectives.growl import growl_prox
from src.utils.runs.config import Run, RunConfig
from src.utils.runs.run import train_run
from src.utils.sparsity.metrics import count_layers, total, zero_row_rate
from src.utils.sparsity.rows import to_rows, zero_rows
from src.utils.training import two_phase
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.engine import Trainer
from src.utils.training.evaluation import evaluate
from src.utils.training.methods import make_method
from src.utils.training.records import EpochRecord, Observer
from src.utils.training.sparse_layers import growl_thetas
from src.utils.training.sparsity_reached import binding_k0
from src.utils.training.two_phase import train
from tests.conftest import CPU, equal_states, make_network, one_line, short


def make_trainer(splits: Splits, observer: Observer | None = None, *, seed: int = 0, **values: Any) -> Trainer:
    checkpoint: Path | None = values.pop("checkpoint", None)
    parameters = short(**values)
    network = make_network(splits, seed)
    method = ChebyshevMethod(network, parameters, CPU)
    return Trainer(network, method, splits, parameters, seed=seed, observer=observer, checkpoint=checkpoint)


def chebyshev(trainer: Trainer) -> ChebyshevMethod:
    assert isinstance(trainer.method, ChebyshevMethod)
    return trainer.method


def untimed(history: list[EpochRecord]) -> list[EpochRecord]:
    return [replace(record, seconds=0.0) for record in history]


def gradients(trainer: Trainer) -> dict[str, torch.Tensor | None]:
    return {name: parameter.grad for name, parameter in trainer.model.named_parameters()}


@pytest.mark.parametrize("t_update", ["exact", "optimizer"])
def test_every_trainable_number_is_in_one_group_and_zero_grad_reaches_it(splits: Splits, t_update: str) -> None:
    trainer = make_trainer(splits, t_update=t_update)
    optimizer = trainer.make_optimizer()
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    wanted = [id(parameter) for part in (trainer.model, trainer.method) for parameter in part.parameters()]
    assert sorted(grouped) == sorted(wanted)
    trainer.method.backward(trainer.model, splits.train.images[:9], splits.train.labels[:9])
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert all(parameter.grad is not None for parameter in parameters)
    optimizer.zero_grad()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in parameters)


def test_state_dict_of_the_method_has_t_and_the_multipliers(splits: Splits) -> None:
    trainer = make_trainer(splits, t_update="optimizer")
    assert {"t", "lam", "mu"} <= set(trainer.method.state_dict())


def test_sparsity_objective_sends_a_gradient_to_every_sparse_layer(splits: Splits) -> None:
    trainer = make_trainer(splits)
    trainer.method.sparsity_objective().backward()
    found = {name for name, gradient in gradients(trainer).items() if gradient is not None and gradient.any()}
    assert found == {f"{name}.weight" for name in trainer.model.growl_layers(1)}


def test_without_k0_the_sparsity_objective_has_no_gradient(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.0, 0.5, 0.5))
    assert trainer.method.sparsity_objective() > 0
    assert not trainer.method.sparsity_objective().requires_grad


def test_gradient_is_the_one_of_the_weighted_terms(splits: Splits) -> None:
    trainer = make_trainer(splits, epsilon=0.0)
    images, labels = splits.train.images[:20], splits.train.labels[:20]
    method = chebyshev(trainer)
    before = method.lam.clone()
    method.backward(trainer.model, images, labels)
    found = gradients(trainer)
    with torch.no_grad():
        c = method.terms(method.objectives(trainer.model(images), labels))
        mu = method.mu / c.max()  # after one batch the average is its terms, their noise unknown
        v = (before + mu * c).double()
        low, high = v.min() - 1, v.max()  # the weights max(0, v - s) sum to 1 for one s: bisection
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if (v - middle).clamp(min=0).sum() > 1 else (low, middle)
        weights = (v - low).clamp(min=0).float()
    trainer.model.zero_grad()
    f = trainer.method.objectives(trainer.model(images), labels)
    (weights * trainer.method.k * f).sum().backward()
    for name, gradient in gradients(trainer).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_multipliers_move_stay_on_the_simplex_and_skip_objectives_without_preference(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.0, 0.1, 0.9), rho=1.5)
    kept = train(trainer).best.record
    lam = chebyshev(trainer).lam
    assert lam[0] == 0
    assert lam[2] > lam[1] >= 0
    torch.testing.assert_close(lam.sum(), torch.tensor(1.0))
    parameters = trainer.parameters  # mu is that of the iteration the kept model comes from
    assert float(chebyshev(trainer).mu) == pytest.approx(parameters.mu * parameters.rho ** (kept.iteration - 1))


def test_larger_k0_gives_a_smaller_penalty_or_more_zero_rows(splits: Splits) -> None:
    def outcome(k0: float) -> tuple[float, float]:
        trainer = make_trainer(splits, w=(k0, 0.3, 0.7), max_layerSRate=1.0, min_sparsRate=0.0)
        train(trainer)
        rate = total(count_layers(trainer.sparse_weights).values()).sparsity_rate
        return float(trainer.method.sparsity_objective()), rate

    (omega_small, rate_small), (omega_large, rate_large) = outcome(1e-4), outcome(1e-1)
    assert omega_large < omega_small
    assert rate_large >= rate_small


class PatternWatch(Observer):
    """Looks at the rows after every step of phase 2."""

    def __init__(self) -> None:
        self.trainer: Trainer | None = None
        self.retraining = False
        self.steps = 0
        self.rates: set[float] = set()
        self.uniques: set[int] = set()

    def phase_starts(self, name: str, epochs: int, done: int) -> None:
        self.retraining = name == "retrain"

    def batch_ends(self, share: float) -> None:
        if self.retraining and self.trainer is not None:
            counts = total(count_layers(self.trainer.sparse_weights).values())
            self.rates.add(counts.sparsity_rate)
            self.uniques.add(counts.unique)
            self.steps += 1


def test_zeros_and_ties_hold_after_every_step_of_phase_2(splits: Splits) -> None:
    watch = PatternWatch()
    trainer = make_trainer(splits, watch, sim_preference=0.6)
    watch.trainer = trainer
    outcome = train(trainer)
    assert watch.steps == 2 * 2 * 6
    assert len(watch.rates) == len(watch.uniques) == 1
    counts = total(count_layers(trainer.sparse_weights).values())
    assert counts.sparsity_rate > 0
    assert counts.parameter_sharing > 1
    assert outcome.best.record.sparsity_rate == pytest.approx(counts.sparsity_rate)


def test_reimposing_the_pattern_changes_nothing(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the last bits of the means of shared rows: what is kept is what was trained, not what the pattern makes."""
    rules: list[two_phase.PatternRule] = []

    class Kept(two_phase.PatternRule):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            rules.append(self)

    monkeypatch.setattr(two_phase, "PatternRule", Kept)
    trainer = make_trainer(splits, sim_preference=0.6)
    outcome = train(trainer)
    before = copy.deepcopy(trainer.model.state_dict())
    counts = count_layers(trainer.sparse_weights)
    assert 0 < total(counts.values()).sparsity_rate < 100
    assert total(counts.values()).parameter_sharing > 1
    (rule,) = rules
    rule.after_step()
    torch.testing.assert_close(trainer.model.state_dict(), before, rtol=1e-6, atol=1e-7)
    assert count_layers(trainer.sparse_weights) == counts
    found = evaluate(trainer.model, splits.validation)
    assert found.accuracy == outcome.best.record.validation_accuracy
    assert found.losses == pytest.approx(outcome.best.record.validation_losses, rel=1e-5)


def test_layer_cap_holds_and_grows(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.5, 0.25, 0.25), max_layerSRate=0.4)
    train(trainer)
    search = [record.sparsity_rate for record in trainer.history if record.phase == "search"]
    assert all(rate <= 100 * 0.4 * (epoch + 1) / 4 + 1e-6 for epoch, rate in enumerate(search))
    for weight in trainer.sparse_weights.values():
        assert zero_rows(to_rows(weight)).float().mean() <= 0.4


class Messages(Observer):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def test_asked_for_sparsity_is_reached(splits: Splits) -> None:
    outcome = train(trainer := make_trainer(splits, min_sparsRate=70.0, max_iter_search=3))
    assert outcome.reached_min_sparsRate
    assert total(count_layers(trainer.sparse_weights).values()).sparsity_rate >= 70


def test_sparsity_that_cannot_be_reached_is_said_aloud(splits: Splits) -> None:
    messages = Messages()
    outcome = train(make_trainer(splits, messages, min_sparsRate=90.0, max_layerSRate=0.5))
    assert outcome.reached_min_sparsRate is False
    assert outcome.sparsity_advice is not None
    assert "less than min_sparsRate = 90 %" in outcome.sparsity_advice
    assert outcome.sparsity_advice.endswith(": raise max_layerSRate")
    assert messages.texts == [outcome.sparsity_advice]


@pytest.mark.parametrize("min_rate", [0.0, 15.0])
def test_a_training_without_zero_rows_says_what_to_change(splits: Splits, min_rate: float) -> None:
    messages = Messages()
    short: dict[str, Any] = {"w": (1e-9, 0.4, 0.6), "max_iter_search": 1, "num_epochs": 1, "lr": 1e-12}
    outcome = train(trainer := make_trainer(splits, messages, min_sparsRate=min_rate, **short))
    assert zero_row_rate(trainer.sparse_weights) == 0
    assert outcome.sparsity_advice is not None
    assert outcome.sparsity_advice.startswith("phase 1 ends with no zero rows")
    assert "k_0, 1e-09 now" in outcome.sparsity_advice
    assert "num_epochs, 1 now" in outcome.sparsity_advice
    assert messages.texts == [outcome.sparsity_advice]


@pytest.mark.parametrize("study", [True, False])
def test_a_given_model_without_zero_rows_is_announced(splits: Splits, study: bool) -> None:
    messages = Messages()
    mode: dict[str, Any] = {"Sparsity_study": False} if study else {"is_search": False}
    outcome = train(make_trainer(splits, messages, max_iter=1, max_iter_retrain=1, num_epochs=1, **mode))
    assert outcome.sparsity_advice is not None
    assert outcome.sparsity_advice.startswith("the given model has no zero rows; ")
    assert messages.texts == [outcome.sparsity_advice]
    given = zeroed(make_trainer(splits, min_sparsRate=0.0, max_iter=1, max_iter_retrain=1, num_epochs=1, **mode))
    assert train(given).sparsity_advice is None


def test_phase_1_ends_with_its_last_model(splits: Splits) -> None:
    trainer = make_trainer(splits, max_iter_search=3, tol_epochs=1)
    found = train(trainer).found
    assert found is not None
    assert found.record == [record for record in trainer.history if record.phase == "search"][-1]
    assert found.record.epoch == 6


def test_without_sparsity_there_is_one_phase_and_no_zero_row(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.0, 0.5, 0.5))
    outcome = train(trainer)
    assert {record.phase for record in trainer.history} == {"train"}
    assert len(trainer.history) == 2 * 2
    assert outcome.found is None
    assert outcome.reached_min_sparsRate is None
    assert total(count_layers(trainer.sparse_weights).values()).sparsity_rate == 0


def test_best_model_is_the_most_accurate_on_validation_data(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.0, 0.5, 0.5), max_iter=3)
    outcome = train(trainer)
    assert outcome.best.record.mean_accuracy == max(record.mean_accuracy for record in trainer.history)
    assert equal_states(trainer.model.state_dict(), outcome.best.model)


def test_training_learns(splits: Splits) -> None:
    outcome = train(make_trainer(splits, w=(0.0, 0.5, 0.5), max_iter=6))
    assert outcome.best.record.mean_accuracy > 40  # chance is 10


def test_same_seed_gives_the_same_run_and_another_seed_another(splits: Splits) -> None:
    first, second, other = (make_trainer(splits, seed=seed) for seed in (3, 3, 4))
    for trainer in (first, second, other):
        train(trainer)
    assert untimed(first.history) == untimed(second.history)
    assert equal_states(first.model.state_dict(), second.model.state_dict())
    assert untimed(first.history) != untimed(other.history)


def test_a_training_in_bf16_learns_keeps_its_weights_in_fp32_and_repeats(splits: Splits) -> None:
    first, second = (make_trainer(splits, w=(0.0, 0.5, 0.5), max_iter=6, precision="bf16") for _ in range(2))
    outcome = train(first)
    assert outcome.best.record.mean_accuracy > 40  # chance is 10
    assert {value.dtype for value in first.model.state_dict().values()} == {torch.float32}
    train(second)
    assert untimed(first.history) == untimed(second.history)
    assert equal_states(first.model.state_dict(), second.model.state_dict())


class StopAt(Observer):
    """Interrupts a run in the middle of an epoch, without any warning: nothing of the epoch is kept."""

    def __init__(self, epoch: int) -> None:
        self.left = epoch - 1

    def epoch_ends(self, record: EpochRecord) -> None:
        self.left -= 1

    def batch_ends(self, share: float) -> None:
        if self.left == 0 and share > 0.5:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [2, 4, 5, 6, 8])
def test_continued_run_equals_an_undisturbed_one(splits: Splits, tmp_path: Path, epoch: int) -> None:
    undisturbed = make_trainer(splits, t_update="optimizer")
    train(undisturbed)
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(make_trainer(splits, StopAt(epoch), checkpoint=file, t_update="optimizer"))
    continued = make_trainer(splits, checkpoint=file, t_update="optimizer", seed=0)
    continued.resume()
    assert len(continued.history) == epoch - 1
    train(continued)
    assert untimed(continued.history) == untimed(undisturbed.history)
    assert equal_states(continued.model.state_dict(), undisturbed.model.state_dict())
    assert equal_states(continued.method.state_dict(), undisturbed.method.state_dict())


@pytest.mark.parametrize("epoch", [3, 5])  # in phase 1, and in phase 2
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", None])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    splits: Splits, tmp_path: Path, epoch: int, damage: Callable[[bytes], bytes] | None
) -> None:
    undisturbed = make_trainer(splits)
    train(undisturbed)
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(make_trainer(splits, StopAt(epoch), checkpoint=file))
    if damage:
        content = file.read_bytes()
        file.unlink()  # as a rename does, it makes another file, of which the old one knows nothing
        file.write_bytes(damage(content))
    messages = Messages()
    continued = make_trainer(splits, messages, checkpoint=file)
    continued.resume()
    assert len(continued.history) == (epoch - 2 if damage else epoch - 1)
    assert messages.texts[-1] == f"going on after epoch {len(continued.history)}"
    assert [text.endswith("; going on from the checkpoint before it") for text in messages.texts[:-1]] == (
        [True] if damage else []
    )
    train(continued)
    assert untimed(continued.history) == untimed(undisturbed.history)
    assert equal_states(continued.model.state_dict(), undisturbed.model.state_dict())


def zeroed(trainer: Trainer) -> Trainer:
    """Every other row of the sparse layers zero: something to retrain."""
    with torch.no_grad():
        for weight in trainer.sparse_weights.values():
            weight[:, ::2] = 0
    return trainer


@pytest.mark.parametrize("study", [True, False])
def test_interrupted_retraining_keeps_the_pattern_of_the_network_it_started_from(
    study: bool, splits: Splits, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"is_search": False, "Sparsity_study": study, "sim_preference": 0.2, "lr": 1e-2}
    whole = zeroed(make_trainer(splits, **values))
    train(whole)
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(zeroed(make_trainer(splits, StopAt(2), checkpoint=file, **values)))
    continued = zeroed(make_trainer(splits, checkpoint=file, **values))
    continued.resume()
    train(continued)
    assert equal_states(continued.model.state_dict(), whole.model.state_dict())
    assert untimed(continued.history) == untimed(whole.history)


@pytest.mark.parametrize(("name", "w"), [("Chebyshev", (0.1, 0.3, 0.6)), ("MGDA", (0.0, 1.0, 1.0))])
def test_interrupted_after_the_last_epoch_the_results_are_the_same(
    name: str, w: tuple[float, ...], splits: Splits, tmp_path: Path
) -> None:
    def trainer() -> Trainer:
        parameters, network = short(method=name, w=w), make_network(splits)
        method = make_method(network, parameters, CPU)
        return Trainer(network, method, splits, parameters, checkpoint=tmp_path / "checkpoint.pt")

    whole, continued = trainer(), trainer()
    first = train(whole)
    continued.resume()
    second = train(continued)
    assert (second.best.record, second.found and second.found.record) == (
        first.best.record,
        first.found and first.found.record,
    )
    assert second.reached_min_sparsRate == first.reached_min_sparsRate
    assert equal_states(continued.model.state_dict(), whole.model.state_dict())
    assert equal_states(continued.method.state_dict(), whole.method.state_dict())
    f = torch.tensor([3.0, 2.0, 1.0])
    assert continued.method.state(f) == whole.method.state(f)
    assert evaluate(continued.model, splits.test) == evaluate(whole.model, splits.test)


def test_a_checkpoint_of_another_network_is_refused(splits: Splits, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    train(make_trainer(splits, checkpoint=file))
    other = make_trainer(splits, checkpoint=file)
    other.model.extra = torch.nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match="is of another version, network or method: start anew"):
        other.resume()


@pytest.mark.parametrize("content", [b"", b"half a checkpoint"])
def test_a_damaged_checkpoint_is_refused(splits: Splits, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be read"):
        make_trainer(splits, checkpoint=file).resume()


@pytest.mark.parametrize("damage", ["another method", "no history", "no method", "no members"])
def test_a_refused_checkpoint_leaves_the_trainer_as_it_was(splits: Splits, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "checkpoint.pt"
    values: dict[str, Any] = {"w": (0.0, 0.5, 0.5), "max_iter": 1, "num_epochs": 1, "checkpoint": file}
    train(make_trainer(splits, **values))
    content = read_torch(file)
    (member,) = content["members"]
    if damage == "another method":
        member["method"] = {**member["method"], "k": member["method"]["k"] + 1, "other": torch.zeros(1)}
    elif damage == "no members":
        del content["members"]
    else:
        del member[damage.removeprefix("no ")]
    write_torch(file, content)
    trainer = make_trainer(splits, **values)
    before = [copy.deepcopy(part.state_dict()) for part in (trainer.model, trainer.method)]
    with pytest.raises(CheckpointError):
        trainer.resume()
    assert (trainer.history, trainer.finished) == ([], {})
    for part, state in zip((trainer.model, trainer.method), before, strict=True):
        assert equal_states(part.state_dict(), state)


def test_without_a_checkpoint_a_run_starts_from_the_beginning(splits: Splits, tmp_path: Path) -> None:
    values: dict[str, Any] = {"w": (0.0, 0.5, 0.5), "max_iter": 1, "num_epochs": 1}
    plain = make_trainer(splits, **values)
    train(plain)
    for checkpoint in (None, tmp_path / "missing.pt"):
        trainer = make_trainer(splits, checkpoint=checkpoint, **values)
        trainer.resume()
        assert trainer.history == []
        train(trainer)
        assert untimed(trainer.history) == untimed(plain.history)


def test_checkpoint_loads_without_running_code(splits: Splits, tmp_path: Path) -> None:
    train(make_trainer(splits, checkpoint=tmp_path / "checkpoint.pt"))
    torch.load(tmp_path / "checkpoint.pt", weights_only=True)


def test_learning_rate_follows_the_scheduler(splits: Splits) -> None:
    for scheduled, wanted in ((True, [0.1, 0.1, 0.05, 0.05]), (False, [0.1] * 4)):
        trainer = make_trainer(
            splits, w=(0.0, 0.5, 0.5), base_optimizer="SGD", lr=0.1, LR_scheduler=scheduled, num_batchEpoch=1
        )
        train(trainer)
        assert [record.lr for record in trainer.history] == pytest.approx(wanted)


def test_fast_learning_rate_falls_with_every_step_to_zero_and_stays_in_the_search(splits: Splits) -> None:
    fast: dict[str, Any] = {"schedule": "fast", "lr": 0.1, "num_epochs": 2, "num_batchEpoch": 4}
    dense = make_trainer(splits, w=(0.0, 0.5, 0.5), max_iter=2, base_optimizer="SGD", momentum=0.0, **fast)
    optimizer, used = dense.make_optimizer(), []
    optimizer.register_step_pre_hook(lambda which, *_: used.append(which.param_groups[0]["lr"]))
    with patch.object(dense, "make_optimizer", return_value=optimizer):
        train(dense)
    assert used == pytest.approx([0.1 * (1 - step / 16) for step in range(16)])
    assert [record.lr for record in dense.history] == pytest.approx([0.1, 0.075, 0.05, 0.025])
    sparse = make_trainer(splits, max_iter_search=2, max_iter_retrain=1, **fast)
    train(sparse)
    assert [record.lr for record in sparse.history] == pytest.approx([0.1] * 4 + [0.1, 0.05])
    constant = make_trainer(splits, w=(0.0, 0.5, 0.5), max_iter=2, LR_scheduler=False, **fast)
    train(constant)
    assert [record.lr for record in constant.history] == pytest.approx([0.1] * 4)


class Shares(Observer):
    """Keeps what share of the epoch is done after each batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def batch_ends(self, share: float) -> None:
        self.seen.append(share)


def test_num_batch_epoch_limits_the_batches(splits: Splits) -> None:
    shares = Shares()
    train(make_trainer(splits, shares, w=(0.0, 0.5, 0.5), num_batchEpoch=2, max_iter=1, num_epochs=1))
    assert shares.seen == [0.5, 1.0]


def test_tol_epochs_ends_a_phase_without_improvement(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.0, 0.5, 0.5), lr=1e-12, tol_epochs=2, max_iter=5)
    train(trainer)
    assert len(trainer.history) == 3  # the first is the best, two more do not beat it


def test_divergence_is_one_clear_error(splits: Splits) -> None:
    with pytest.raises(UserError, match=r"training diverged in epoch 1, .* lower lr"):
        train(make_trainer(splits, w=(0.0, 0.5, 0.5), base_optimizer="SGD", lr=1e12))


def test_what_diverges_is_named_with_its_first_batch(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(splits, num_epochs=2, batch_size=20, num_batchEpoch=9)
    original, calls = ChebyshevMethod.task_losses, []

    def infinite(self: ChebyshevMethod, outputs: Any, labels: Any) -> list[torch.Tensor]:
        first, second = original(self, outputs, labels)
        calls.append(1)
        return [first, second * float("inf") if len(calls) >= 9 + 4 else second]

    monkeypatch.setattr(ChebyshevMethod, "task_losses", infinite)
    wanted = (
        "training diverged in epoch 2, objective 2 from batch 4 on being infinite or no number; epoch 1 is the last "
        "good one: lower lr, 0.0025 in this epoch, for instance with --lr 0.00125"
    )
    with pytest.raises(UserError, match=wanted) as error:
        train(trainer)
    one_line(error)


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD"])
def test_every_optimizer_trains(splits: Splits, optimizer: str) -> None:
    trainer = make_trainer(splits, w=(0.0, 0.5, 0.5), base_optimizer=optimizer, max_iter=1, num_epochs=3, lr=1e-3)
    assert type(trainer.make_optimizer()).__name__ == optimizer
    before = copy.deepcopy(trainer.model.state_dict())
    train(trainer)
    losses = [sum(record.objectives[1:]) for record in trainer.history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]
    same = [name for name, weight in trainer.model.state_dict().items() if torch.equal(weight, before[name])]
    assert same == []


def test_retraining_only_keeps_the_zero_rows_it_starts_from(splits: Splits) -> None:
    for study in (True, False):
        trainer = make_trainer(splits, is_search=False, Sparsity_study=study, min_sparsRate=0.0)
        with torch.no_grad():
            for weight in trainer.sparse_weights.values():
                weight[:, ::2] = 0
        train(trainer)
        assert {record.phase for record in trainer.history} == {"retrain"}
        for weight in trainer.sparse_weights.values():
            zeros = zero_rows(to_rows(weight))
            assert zeros[::2].all()
            assert not zeros[1::2].any()


def test_a_pareto_study_keeps_the_epoch_that_is_what_k_asks_for(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.0, 0.9, 0.1), Sparsity_study=False, max_iter=4, num_epochs=1, lr=0.02)
    outcome = train(trainer)
    values = [max(0.9 * record.validation_losses[0], 0.1 * record.validation_losses[1]) for record in trainer.history]
    assert outcome.best.record.epoch == values.index(min(values)) + 1


def test_validation_losses_are_measured_on_the_validation_data(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.0, 0.5, 0.5), max_iter=1)
    train(trainer)
    best = max(trainer.history, key=lambda record: record.mean_accuracy)
    assert evaluate(trainer.model, splits.validation).losses == pytest.approx(best.validation_losses, rel=1e-5)


def test_history_has_the_multipliers_of_its_epoch_and_their_residuals_and_gap(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.0, 0.3, 0.7), max_iter=2, mu=1.0)
    train(trainer)
    for record, before in zip(trainer.history[1:], trainer.history[:-1], strict=True):
        c = torch.tensor(record.weighted_objectives[1:], dtype=torch.float64)
        lam = torch.tensor(record.lam[1:], dtype=torch.float64)
        assert float(lam.sum()) == pytest.approx(1, abs=1e-5)
        assert record.details["multiplier_sum"] == pytest.approx(0, abs=1e-5)
        gap = float((c.max() - c[lam > 1e-3].min()) / c.max())
        assert record.details["chebyshev_gap"] == pytest.approx(gap, abs=1e-4)
        g = c - record.details["t"]
        assert record.details["t"] == pytest.approx(float(lam @ c), abs=1e-5)
        assert record.details["feasibility"] == pytest.approx(max(0.0, float(g.max())), abs=1e-5)
        assert record.details["complementarity"] == pytest.approx(float((lam * g).abs().max()), abs=1e-5)
        if record.iteration > before.iteration:  # the multipliers in force are the weights of the epoch before
            change = float((lam - torch.tensor(before.lam[1:], dtype=torch.float64)).abs().max())
            assert record.details["lambda_change"] == pytest.approx(change, abs=1e-5)


def test_a_share_of_the_training_images_is_a_fixed_random_part(splits: Splits) -> None:
    half, again, other = (share_of_training(splits, 0.5, seed) for seed in (0, 0, 1))
    assert len(half.train) == round(len(splits.train) / 2)
    assert torch.equal(half.train.images, again.train.images)
    assert not torch.equal(half.train.labels, other.train.labels)
    assert share_of_training(splits, 1.0, 0) is splits
    assert half.validation is splits.validation


def test_the_proximal_step_has_the_weight_of_omega_in_the_lagrangian(
    splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def recorded(rows: torch.Tensor, theta: torch.Tensor, step: float) -> torch.Tensor:
        steps.append(step)
        return growl_prox(rows, theta, step)

    monkeypatch.setattr(two_phase, "growl_prox", recorded)
    trainer = make_trainer(splits, w=(0.005, 0.4, 0.595), max_iter_search=2, num_epochs=1, max_iter_retrain=1)
    train(trainer)
    layers, parameters = len(trainer.sparse_weights), trainer.parameters
    assert len(steps) == 2 * layers  # in phase 1 only
    for epoch, record in enumerate(trainer.history[:2]):
        k, lam = torch.tensor(parameters.w), torch.tensor(record.lam)
        weight = float(k[0] * lam[0] + parameters.epsilon * (k * lam).sum())
        expected = two_phase.HORIZON * record.lr * weight
        assert steps[epoch * layers : (epoch + 1) * layers] == pytest.approx([expected] * layers, rel=1e-4)
    assert trainer.method.sparsity_weight() == 0


def test_weight_of_omega_is_its_part_in_the_gradient(splits: Splits) -> None:
    trainer = make_trainer(splits, w=(0.2, 0.3, 0.5), epsilon=0.1)
    trainer.method.backward(trainer.model, splits.train.images[:20], splits.train.labels[:20])
    lam = torch.tensor(trainer.method.state(trainer.method.k).lam)
    f = torch.ones(3, requires_grad=True)
    (lam @ chebyshev(trainer).terms(f)).backward()
    assert f.grad is not None
    assert trainer.method.sparsity_weight() == pytest.approx(float(f.grad[0]), rel=1e-5)


def test_rows_that_are_zeroed_are_those_of_the_proximal_operator_in_the_metric_of_the_optimizer(
    splits: Splits,
) -> None:
    trainer = make_trainer(splits, max_layerSRate=1.0)
    optimizer = trainer.make_optimizer()
    for images, labels in splits.train.batches(60):
        trainer.method.backward(trainer.model, images, labels)
        optimizer.step()
    weights = list(trainer.sparse_weights.values())
    thetas = growl_thetas(trainer.model, trainer.parameters, CPU)
    before = [weight.detach().clone() for weight in weights]
    metric = [two_phase.preconditioner(optimizer, weight) for weight in weights]
    sizes = torch.cat([to_rows(old * d).norm(dim=1) for old, d in zip(before, metric, strict=True)])
    weight_of_omega = 1.01 * float(sizes.median()) / 0.2 / two_phase.HORIZON / trainer.parameters.lr
    wanted = []
    for weight, theta in zip(weights, thetas, strict=True):
        state = optimizer.state[weight]
        d = (state["exp_avg_sq"] / (1 - 0.999 ** float(state["step"]))).sqrt() + 1e-8
        step = two_phase.HORIZON * trainer.parameters.lr * weight_of_omega
        wanted.append(zero_rows(growl_prox(to_rows(weight.detach() * d), theta, step)))
    two_phase.SearchRule(trainer.model, trainer.parameters).after_epoch(9, weight_of_omega, optimizer)
    assert any(0 < int(zeros.sum()) < len(zeros) for zeros in wanted)
    for weight, old, zeros in zip(weights, before, wanted, strict=True):
        assert torch.equal(zero_rows(to_rows(weight)), zeros)
        assert torch.equal(to_rows(weight)[~zeros], to_rows(old)[~zeros])


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_preconditioner_turns_a_steady_gradient_into_the_step(splits: Splits, optimizer: str) -> None:
    trainer = make_trainer(splits, base_optimizer=optimizer, lr=1e-3)
    weight = next(iter(trainer.sparse_weights.values()))
    made = trainer.make_optimizer()
    gradient = torch.linspace(0.1, 2, weight.numel()).reshape(weight.shape)
    for _ in range(150):  # until the momentum is that of a steady gradient
        before = weight.detach().clone()
        weight.grad = gradient.clone()
        made.step()
    expected = 1e-3 * gradient / two_phase.preconditioner(made, weight)
    torch.testing.assert_close(before - weight.detach(), expected, rtol=1e-3, atol=1e-6)


class ZeroRows(Observer):
    """Which rows are zero after every step of phase 1."""

    def __init__(self) -> None:
        self.trainer: Trainer | None = None
        self.searching = False
        self.returned = 0
        self.zeros: list[torch.Tensor] = []

    def phase_starts(self, name: str, epochs: int, done: int) -> None:
        self.searching = name == "search"

    def batch_ends(self, share: float) -> None:
        if self.searching and self.trainer is not None:
            now = [zero_rows(to_rows(weight)) for weight in self.trainer.sparse_weights.values()]
            if self.zeros:
                self.returned += sum(int((old & ~new).sum()) for old, new in zip(self.zeros, now, strict=True))
            self.zeros = now


@pytest.mark.parametrize("w", [(1e-3, 0.3, 0.699), (0.5, 0.25, 0.25)])
def test_zero_rows_never_return_in_phase_1(splits: Splits, w: tuple[float, ...]) -> None:
    watch = ZeroRows()
    trainer = make_trainer(splits, watch, w=w, max_iter_search=6, num_epochs=1)
    watch.trainer = trainer
    train(trainer)
    assert watch.returned == 0
    assert sum(int(zeros.sum()) for zeros in watch.zeros) > 0


class HostCalls(TorchDispatchMode):
    """Counts what makes a host wait for a device, or copies numbers to it."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "lift_fresh", "unique", "bincount")

    def __init__(self) -> None:
        super().__init__()
        self.count: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += int(func.name().removeprefix("aten::").split(".")[0].startswith(self.WAITS))
        return func(*args, **(kwargs or {}))


def host_calls(splits: Splits, batches: int, **values: Any) -> int:
    parameters = short(max_iter_search=1, num_epochs=1, num_batchEpoch=batches, batch_size=20, **values)
    network = make_network(splits, 0)
    trainer = Trainer(network, make_method(network, parameters, CPU), splits, parameters)
    with HostCalls() as calls:
        train(trainer)
    return int(calls.count)


@pytest.mark.parametrize(
    "values",
    [
        {"max_iter_retrain": 1},
        {"method": "WeightedSum", "w": (0.0, 0.5, 0.5), "max_iter": 1},
        {"method": "SmoothChebyshev", "w": (0.0, 0.5, 0.5), "max_iter": 1},
    ],
    ids=["two phases", "weighted sum", "smooth Chebyshev"],
)
def test_no_step_makes_the_host_wait_for_the_device(splits: Splits, values: dict[str, Any]) -> None:
    assert host_calls(splits, 3, **values) == host_calls(splits, 9, **values) > 0


def test_a_step_that_waits_is_seen(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.utils.training.engine.all_labelled", lambda data: False)  # every batch is looked at
    few, many = (host_calls(splits, count, max_iter_retrain=1) for count in (3, 9))
    assert many > few


def test_a_longer_phase_1_begins_as_a_shorter_one(splits: Splits) -> None:
    def search(iterations: int) -> list[EpochRecord]:
        values: dict[str, Any] = {
            "w": (0.5, 0.25, 0.25),
            "max_iter_search": iterations,
            "num_epochs": 1,
            "max_iter_retrain": 1,
        }
        trainer = make_trainer(splits, max_layerSRate=0.6, min_sparsRate=0.0, **values)
        train(trainer)
        return untimed([record for record in trainer.history if record.phase == "search"])

    short_one, long_one = search(3), search(6)
    assert long_one[:3] == short_one
    assert search(2)[:1] != short_one[:1]  # within the first iterations the cap does depend on how many there are
    assert long_one[-1].sparsity_rate >= short_one[-1].sparsity_rate > 0


@pytest.mark.parametrize(
    ("k0", "lr", "cap", "binds", "text"),
    [
        (0.5, 1e-5, 1.0, True, "the sparsity constraint still binds"),
        (1e-5, 2.5e-3, 1.0, False, "the sparsity constraint is slack"),
        (0.5, 2.5e-3, 0.1, True, "max_layerSRate = 0.1 is reached in every layer"),
    ],
)
def test_the_end_of_phase_1_says_what_decides(
    splits: Splits, k0: float, lr: float, cap: float, binds: bool, text: str
) -> None:
    messages = Messages()
    outcome = train(make_trainer(splits, messages, w=(k0, 0.4, 0.6), lr=lr, max_layerSRate=cap, min_sparsRate=0.0))
    assert outcome.sparsity_binds is binds
    assert any(text in message for message in messages.texts)


def test_without_phase_1_nothing_is_said_of_the_sparsity_constraint(splits: Splits) -> None:
    assert train(make_trainer(splits, w=(0.0, 0.5, 0.5), max_iter=1)).sparsity_binds is None


def test_a_weighted_sum_has_no_constraint_to_speak_of(splits: Splits) -> None:
    messages = Messages()
    values: dict[str, Any] = {"w": (1e-5, 0.4, 0.6), "max_iter_search": 1, "max_iter_retrain": 1, "num_epochs": 1}
    outcome = train(make_trainer(splits, messages, method="WeightedSum", min_sparsRate=0.0, **values))
    assert outcome.sparsity_binds is None
    assert not any("constraint" in message for message in messages.texts)


def test_the_k0_from_which_the_sparsity_constraint_binds_is_where_its_term_is_the_largest(splits: Splits) -> None:
    values: dict[str, Any] = {"w": (1e-5, 0.4, 0.6), "max_iter_search": 1, "max_iter_retrain": 1, "num_epochs": 1}
    trainer = make_trainer(splits, min_sparsRate=0.0, **values)
    train(trainer)
    record = next(record for record in trainer.history if record.phase == "search")
    least = binding_k0(record, 1e-5)
    f = torch.tensor(record.objectives)
    for factor, largest in ((0.99, False), (1.01, True)):
        c = chebyshev_terms(f, f.new_tensor([factor * least, 0.4, 0.6]), torch.zeros(3), trainer.parameters.epsilon)
        assert (int(c.argmax()) == 0) is largest


def test_retraining_from_a_sparse_model_without_k0_keeps_its_zero_rows(splits: Splits) -> None:
    trainer = zeroed(make_trainer(splits, w=(0.0, 0.4, 0.6), is_search=False))
    before = zero_row_rate(trainer.sparse_weights)
    train(trainer)
    assert zero_row_rate(trainer.sparse_weights) == pytest.approx(before)
    assert before > 0


def test_nothing_of_a_run_needs_more_memory_than_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lower batch_size is what a user is told to take, so all that sees samples follows it."""
    seen: dict[bool, int] = {True: 0, False: 0}
    forward = HPS.forward

    def watched(self: HPS, x: Any) -> Any:
        seen[torch.is_grad_enabled()] = max(seen[torch.is_grad_enabled()], len(x))
        return forward(self, x)

    monkeypatch.setattr(HPS, "forward", watched)
    config = RunConfig(script="few", architecture="HPS", dataset="MultiDigits", device="cpu", output_dir=str(tmp_path))
    parameters = short(num_epochs=1, max_iter_search=1, max_iter_retrain=1, num_batchEpoch=2, batch_size=32)
    train_run(Run.among_many(config, parameters, tmp_path / "run"), Observer())
    assert seen == {True: 32, False: 64}
