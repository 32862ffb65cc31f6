"""Training parameters and run configurations: what is refused, in which words, and how they are written and read."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.utils.checked import allowed, fields_of, from_plain, shown, to_plain
from src.utils.errors import UserError
from src.utils.objectives.min_norm import NORMALISATIONS
from src.utils.objectives.owl import WEIGHT_TYPES
from src.utils.runs.config import RunConfig
from src.utils.training.losses import CRITERIA
from src.utils.training.parameters import Mode, TrainingParameters
from tests.conftest import one_line

K = "w (the preference vector k)"
YES_OR_NO = "yes or no (True or False)"
CONFIG: dict[str, Any] = {"script": "mine", "architecture": "HPS", "dataset": "MultiDigits"}

# Parameter, impossible value, and the message: what is shown of the value, and what is allowed.
BAD: list[tuple[str, Any, str]] = [
    ("method", None, "method is None; allowed: a text"),
    ("w", (0.1, -0.2, 0.9), f"{K} is [0.1, -0.2, 0.9]; allowed: numbers >= 0, not all zero"),
    ("w", (0.0, 0.0, 0.0), f"{K} is [0.0, 0.0, 0.0]; allowed: numbers >= 0, not all zero"),
    ("w", (1.0, 0.0, 0.0), f"{K} is [1.0, 0.0, 0.0]; allowed: at least one task with a preference above 0"),
    ("w", (0.5,), f"{K} is [0.5]; allowed: at least one task with a preference above 0"),
    ("w", (), f"{K} is []; allowed: numbers >= 0, not all zero"),
    ("w", (0.1, math.nan, 0.9), f"{K} is nan; allowed: finite numbers"),
    ("w", (0.1, math.inf, 0.9), f"{K} is inf; allowed: finite numbers"),
    ("w", ("a", "b", "c"), f"{K} is 'a'; allowed: finite numbers"),
    ("w", 0.5, f"{K} is 0.5; allowed: finite numbers"),
    ("a", (0.0, 0.0), "a has 2 numbers [0.0, 0.0]; allowed: 3, as k has, or none"),
    ("a", (0.0, math.inf, 0.0), "a is inf; allowed: finite numbers"),
    ("epsilon", -1e-3, "epsilon is -0.001; allowed: a finite number from 0 to 1"),
    ("epsilon", 2.0, "epsilon is 2.0; allowed: a finite number from 0 to 1"),
    ("num_tasks", 1, "num_tasks is 1; allowed: a whole number >= 2, or none"),
    ("num_tasks", 4, "num_tasks is 4; allowed: 3, as k has 3 numbers"),
    ("max_iter", 0, "max_iter is 0; allowed: a whole number >= 1"),
    ("max_iter_search", 1.5, "max_iter_search is 1.5; allowed: a whole number >= 1"),
    ("max_iter_retrain", True, "max_iter_retrain is True; allowed: a whole number >= 1"),
    ("num_epochs", 0, "num_epochs is 0; allowed: a whole number >= 1"),
    ("tol_epochs", 0, "tol_epochs is 0; allowed: a whole number >= 1, or none"),
    ("num_batchEpoch", -1, "num_batchEpoch is -1; allowed: a whole number >= 1, or none"),
    ("train_share", 0.0, "train_share is 0.0; allowed: a finite number > 0 and <= 1"),
    ("train_share", 1.5, "train_share is 1.5; allowed: a finite number > 0 and <= 1"),
    ("batch_size", 0, "batch_size is 0; allowed: a whole number >= 1"),
    ("base_optimizer", "adam", "base_optimizer is 'adam'; allowed: Adam, AdamW, SGD"),
    ("schedule", "slow", "schedule is 'slow'; allowed: reference, fast"),
    ("precision", "fp16", "precision is 'fp16'; allowed: fp32, bf16"),
    ("lr", 0.0, "lr is 0.0; allowed: a finite number > 0"),
    ("lr", "1e-3", "lr is '1e-3'; allowed: a finite number > 0"),
    ("lr", math.nan, "lr is nan; allowed: a finite number > 0"),
    ("momentum", 1.0, "momentum is 1.0; allowed: a finite number >= 0 and < 1"),
    ("LR_scheduler", "yes", f"LR_scheduler is 'yes'; allowed: {YES_OR_NO}"),
    ("lr_sched_coef", 0.0, "lr_sched_coef is 0.0; allowed: a finite number > 0 and <= 1"),
    ("normalisation", "nadir", "normalisation is 'nadir'; allowed: none, initial, range"),
    ("nadir", (1.0, 1.0), "nadir has 2 numbers [1.0, 1.0]; allowed: 3, or none"),
    ("criterion", "mse", "criterion is 'mse'; allowed: cross_entropy, multi_margin_loss"),
    ("mu", 0.0, "mu is 0.0; allowed: a finite number from 1e-10 to 10000"),
    ("rho", -2.0, "rho is -2.0; allowed: a finite number >= 1"),
    ("lambda_memory", 0.0, "lambda_memory is 0.0; allowed: a finite number > 0"),
    ("t_update", "sometimes", "t_update is 'sometimes'; allowed: exact, optimizer"),
    ("gradient_normalisation", "l1", "gradient_normalisation is 'l1'; allowed: none, l2, loss, loss+"),
    ("mgda_ub", "yes", f"mgda_ub is 'yes'; allowed: {YES_OR_NO}"),
    ("distillation", (0.01, -0.01), "distillation is [0.01, -0.01]; allowed: numbers >= 0"),
    ("growl_type", "flat", "growl_type is 'flat'; allowed: spike, linear, Dejiao"),
    ("beta1", -0.1, "beta1 is -0.1; allowed: a finite number >= 0"),
    ("beta2", math.inf, "beta2 is inf; allowed: a finite number >= 0"),
    ("skip_layer", -1, "skip_layer is -1; allowed: a whole number >= 0, or a text"),
    ("row_groups", "filter", "row_groups is 'filter'; allowed: neuron, channel"),
    ("min_sparsRate", 101.0, "min_sparsRate is 101.0; allowed: a finite number from 0 to 100"),
    ("max_layerSRate", 80.0, "max_layerSRate is 80.0; allowed: a finite number from 0 to 1"),
    ("sim_preference", 2.0, "sim_preference is 2.0; allowed: a finite number from -1 to 1"),
    ("is_search", 1, f"is_search is 1; allowed: {YES_OR_NO}"),
    ("Sparsity_study", None, f"Sparsity_study is None; allowed: {YES_OR_NO}"),
    ("num_model", -1, "num_model is -1; allowed: a whole number >= 0"),
]


# What is refused


def make_new(values: dict[str, Any]) -> TrainingParameters:
    return TrainingParameters(**values)


def make_changed(values: dict[str, Any]) -> TrainingParameters:
    return TrainingParameters().changed(**values)


@pytest.mark.parametrize(("name", "value", "message"), BAD, ids=[f"{name}={value}" for name, value, _ in BAD])
def test_impossible_value_is_refused(name: str, value: Any, message: str) -> None:
    for make in (make_new, make_changed):
        with pytest.raises(UserError) as error:
            make({name: value})
        assert one_line(error) == message


def test_every_parameter_has_an_impossible_value_above() -> None:
    assert {name for name, _, _ in BAD} == set(fields_of(TrainingParameters))


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    for make in (make_new, make_changed, lambda values: from_plain(TrainingParameters, values)):
        with pytest.raises(UserError, match=r"unknown parameter learning_rate; known: .*\blr\b") as error:
            make({"learning_rate": 0.1})
        one_line(error)
    with pytest.raises(UserError, match="unknown parameter colour; known: script, architecture, dataset"):
        from_plain(RunConfig, {**CONFIG, "colour": "red"})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("script", None, "script is None; allowed: a text"),
        ("script", "a/b", "script is 'a/b'; allowed: a name without folders"),
        ("dataset", "../data", "dataset is '../data'; allowed: a name without folders"),
        ("task", 0.5, "task is 0.5; allowed: a whole number, or none"),
        ("seed", -1, "seed is -1; allowed: a whole number >= 0 and < 4294967296"),
        ("data_seed", 2**32, "data_seed is 4294967296; allowed: a whole number >= 0 and < 4294967296"),
        ("device", "gpu", "device is 'gpu'; allowed: auto, cpu, cuda"),
        ("teachers", (1,), "teachers is 1; allowed: texts"),
    ],
)
def test_impossible_configuration_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        RunConfig(**{**CONFIG, name: value})
    assert one_line(error) == message


def test_parameters_cannot_be_changed_in_flight() -> None:
    with pytest.raises(FrozenInstanceError):
        TrainingParameters().lr = 1.0  # type: ignore[misc]  # what is tested


def test_changed_copies_are_checked_too() -> None:
    assert TrainingParameters().changed(lr=0.5) == TrainingParameters(lr=0.5)
    with pytest.raises(UserError, match="lr is -1"):
        TrainingParameters().changed(lr=-1.0)


def test_choices_are_those_there_are() -> None:
    for name, known in (("growl_type", WEIGHT_TYPES), ("gradient_normalisation", NORMALISATIONS)):
        assert get_args(fields_of(TrainingParameters)[name].annotation) == known
    assert set(get_args(fields_of(TrainingParameters)["criterion"].annotation)) == set(CRITERIA)


# What follows from others


@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_number_of_objectives_and_reference_point_follow_from_k(tasks: int) -> None:
    parameters = TrainingParameters(w=(0.1, *[0.9 / tasks] * tasks))
    assert (parameters.tasks, parameters.num_tasks) == (tasks, tasks + 1)
    assert parameters.a == (0.0,) * (tasks + 1)
    given_too = TrainingParameters(w=parameters.w, num_tasks=tasks + 1, a=(0.5,) * (tasks + 1))
    assert given_too.a == (0.5,) * (tasks + 1)
    assert given_too.changed(a=()) == parameters


@pytest.mark.parametrize(
    ("values", "mode", "iterations"),
    [
        ({"w": (0.0, 0.5, 0.5)}, Mode.DENSE, 5),
        ({"w": (0.1, 0.4, 0.5)}, Mode.SPARSE, 2 + 3),
        ({"w": (0.1, 0.4, 0.5), "is_search": False}, Mode.RETRAIN, 3),
        ({"w": (0.0, 0.5, 0.5), "is_search": False}, Mode.RETRAIN, 3),
        ({"w": (0.1, 0.4, 0.5), "Sparsity_study": False}, Mode.STUDY, 5),
        ({"w": (0.0, 0.5, 0.5), "Sparsity_study": False, "is_search": False}, Mode.STUDY, 5),
    ],
)
def test_mode_and_epochs_follow_from_the_switches_and_k0(values: dict[str, Any], mode: Mode, iterations: int) -> None:
    parameters = TrainingParameters(**values, max_iter=5, max_iter_search=2, max_iter_retrain=3, num_epochs=7)
    assert parameters.mode is mode
    assert parameters.epochs == 7 * iterations
    assert parameters.mode.from_model == (mode in (Mode.RETRAIN, Mode.STUDY))


# Written and read

NUMBERS = st.floats(0, 1).map(lambda value: 0.0 if value < 1e-200 else value)


@settings(max_examples=50, deadline=None)
@given(
    w=st.lists(NUMBERS, min_size=1, max_size=4),
    epsilon=NUMBERS,
    tol_epochs=st.none() | st.integers(1, 9),
    distillation=st.lists(NUMBERS, max_size=3),
    is_search=st.booleans(),
    criterion=st.sampled_from(list(CRITERIA)),
)
def test_parameters_come_back_from_json_as_they_were(w: list[float], **values: Any) -> None:
    changes = {**values, "distillation": tuple(values["distillation"])}
    parameters = TrainingParameters(w=(*w, 0.5), **changes)
    plain = json.loads(json.dumps(to_plain(parameters)))
    assert from_plain(TrainingParameters, plain) == parameters
    assert plain["w"] == [*w, 0.5]


def test_a_configuration_comes_back_from_json_as_it_was(tmp_path: Path) -> None:
    config = RunConfig(**CONFIG, task=1, seed=3, device="cpu", output_dir=str(tmp_path), teachers=("a.pth", "b.pth"))
    assert from_plain(RunConfig, json.loads(json.dumps(to_plain(config)))) == config
    assert config.teachers == (str(Path("a.pth").absolute()), str(Path("b.pth").absolute()))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "1e-3", 1e-3),
        ("max_iter", "4", 4),
        ("tol_epochs", "2", 2),
        ("tol_epochs", None, None),
        ("is_search", "no", False),
        ("LR_scheduler", "yes", True),
        ("mgda_ub", "True", True),
        ("criterion", "multi_margin_loss", "multi_margin_loss"),
        ("w", ["0.1", "0.3", ".6"], (0.1, 0.3, 0.6)),
        ("distillation", ("1", "2e-1"), (1.0, 0.2)),
        ("distillation", [], ()),
    ],
)
def test_texts_of_a_command_line_become_values(name: str, text: str | Sequence[str] | None, value: Any) -> None:
    found = getattr(from_plain(TrainingParameters, {name: text}), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("lr", "fast", "lr is 'fast'; allowed: a finite number > 0"),
        ("lr", "nan", "lr is 'nan'; allowed: a finite number > 0"),
        ("lr", "-1", "lr is '-1'; allowed: a finite number > 0"),
        ("max_iter", "1.5", "max_iter is '1.5'; allowed: a whole number >= 1"),
        ("max_iter", "", "max_iter is ''; allowed: a whole number >= 1"),
        ("tol_epochs", "0", "tol_epochs is '0'; allowed: a whole number >= 1, or none"),
        ("is_search", "maybe", f"is_search is 'maybe'; allowed: {YES_OR_NO}"),
        ("growl_type", "Spike", "growl_type is 'Spike'; allowed: spike, linear, Dejiao"),
        ("w", ["0.1", "x", "0.6"], f"{K} is 'x'; allowed: finite numbers"),
        ("w", "0.1 0.3", f"{K} is '0.1 0.3'; allowed: finite numbers"),
        ("w", ["0", "0", "0"], f"{K} is [0.0, 0.0, 0.0]; allowed: numbers >= 0, not all zero"),
    ],
)
def test_other_texts_are_refused(name: str, text: str | list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        from_plain(TrainingParameters, {name: text})
    assert one_line(error) == message


# Documentation


@pytest.mark.parametrize("cls", [TrainingParameters, RunConfig])
def test_every_value_can_say_in_a_line_what_it_is_and_what_is_allowed(cls: type) -> None:
    for name, item in fields_of(cls).items():
        described = cls is TrainingParameters or name not in CONFIG  # a script sets what is in CONFIG
        for text in (item.description, allowed(item)) if described else (allowed(item),):
            assert text, name
            assert "\n" not in text


def test_every_parameter_is_documented() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "parameters.md").read_text().splitlines()
    for name, item in fields_of(TrainingParameters).items():
        what = allowed(item).removesuffix(" (True or False)")
        assert f"| `{name}` | {shown(item.default)} | {what} | {item.description} |" in page
