"""Training parameters refuse what cannot work, naming the parameter, its value and what is allowed."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from src.utils.errors import UserError
from src.utils.training.parameters import TrainingParameters

BAD: list[tuple[str, Any]] = [
    ("method", None),
    ("w", (0.1, 0.9)),
    ("w", (0.1, -0.2, 0.9)),
    ("w", (0.0, 0.0, 0.0)),
    ("w", (1.0, 0.0, 0.0)),
    ("w", (0.1, math.nan, 0.9)),
    ("w", (0.1, math.inf, 0.9)),
    ("w", ("a", "b", "c")),
    ("w", 0.5),
    ("a", (0.0, 0.0)),
    ("epsilon", -1e-3),
    ("epsilon", 2.0),
    ("num_tasks", 1),
    ("max_iter", 0),
    ("max_iter_search", 1.5),
    ("max_iter_retrain", True),
    ("num_epochs", 0),
    ("tol_epochs", 0),
    ("num_batchEpoch", -1),
    ("train_share", 0.0),
    ("train_share", 1.5),
    ("batch_size", 0),
    ("base_optimizer", "adam"),
    ("lr", 0.0),
    ("lr", "1e-3"),
    ("lr", math.nan),
    ("momentum", 1.0),
    ("LR_scheduler", "yes"),
    ("lr_sched_coef", 0.0),
    ("criterion", "mse"),
    ("mu", 0.0),
    ("rho", -2.0),
    ("t_update", "sometimes"),
    ("gradient_normalisation", "l1"),
    ("mgda_ub", "yes"),
    ("distillation", (0.01, -0.01)),
    ("growl_type", "flat"),
    ("beta1", -0.1),
    ("beta2", math.inf),
    ("skip_layer", -1),
    ("min_sparsRate", 101.0),
    ("max_layerSRate", 80.0),
    ("sim_preference", 2.0),
    ("is_search", 1),
    ("Sparsity_study", None),
    ("num_model", -1),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name}={value}" for name, value in BAD])
def test_impossible_value_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^{name}( \(the preference vector k\))? (is|has) .*; allowed: ") as caught:
        TrainingParameters(**{name: value})
    assert "\n" not in str(caught.value)


def test_every_parameter_has_an_impossible_value_above() -> None:
    assert {name for name, _ in BAD} == {item.name for item in fields(TrainingParameters)}


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown parameter learning_rate; known: .*lr"):
        TrainingParameters().changed(learning_rate=0.1)


def test_parameters_cannot_be_changed_in_flight() -> None:
    with pytest.raises(FrozenInstanceError):
        TrainingParameters().lr = 1.0  # type: ignore[misc]


def test_changed_copies_are_checked_too() -> None:
    assert TrainingParameters().changed(lr=0.5).lr == 0.5
    with pytest.raises(UserError, match="lr is -1"):
        TrainingParameters().changed(lr=-1.0)


def test_every_parameter_has_one_line_of_help() -> None:
    for item in fields(TrainingParameters):
        assert item.metadata["help"]
        assert "\n" not in item.metadata["help"]


def test_readme_documents_every_parameter() -> None:
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    for item in fields(TrainingParameters):
        assert f"| `{item.name}` | " in readme
        assert f"| {item.metadata['help']} |" in readme
