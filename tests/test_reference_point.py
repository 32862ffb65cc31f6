"""A reference point that is no bound from below is refused before any work."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import pytest
import torch

from src.utils.errors import UserError
from src.utils.runs.problem import check_reference_point
from src.utils.training.parameters import TrainingParameters
from tests.conftest import one_line
from tests.test_scripts import own_data, own_network
from Train_and_Test import train_and_test

K = (0.1, 0.3, 0.6)


@pytest.mark.parametrize(
    ("criterion", "guessing"),
    [("cross_entropy", (log(2), log(5))), ("multi_margin_loss", (1 / 2, 4 / 5))],
)
@pytest.mark.parametrize("task", [0, 1])
def test_the_border_is_the_loss_of_guessing(criterion: Any, guessing: tuple[float, ...], task: int) -> None:
    def check(value: float) -> None:
        a = [0.0, 0.0, 0.0]
        a[1 + task] = value
        check_reference_point(TrainingParameters(w=K, a=tuple(a), criterion=criterion), (2, 5), ("one", "two"))

    for allowed in (-1.0, 0.0, 0.99 * guessing[task]):
        check(allowed)
    for refused in (1.0001 * guessing[task], 100.0):
        with pytest.raises(UserError, match=f"allowed for {('one', 'two')[task]}: below {guessing[task]:.4g}") as error:
            check(refused)
        one_line(error)


def test_it_counts_only_where_it_is_used() -> None:
    a = (0.0, 100.0, 0.0)
    check_reference_point(TrainingParameters(w=(0.0, 0.5, 0.5), a=a, method="MGDA"), (2, 5), ("one", "two"))
    check_reference_point(TrainingParameters(w=(0.0, 0.0, 1.0), a=a), (2, 5), ("one", "two"))


@pytest.mark.parametrize("a", [(0.0, 100.0, 0.0), (1e4, 0.0, 0.0)])
def test_an_own_network_is_not_trained_towards_it(a: tuple[float, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    parameters = TrainingParameters(w=K, a=a, skip_layer=12)
    name = "task 1" if a[1] else "sparsity"
    with pytest.raises(UserError, match=f"allowed for {name}: below "):
        train_and_test(own_network((2, 5)), own_data((2, 5)), parameters, output_dir=str(tmp_path))
    assert not any(tmp_path.iterdir())


def test_without_a_search_for_a_sparse_model_the_bound_of_omega_does_not_count(tmp_path: Path) -> None:
    parameters = TrainingParameters(w=(0.0, 0.4, 0.6), a=(1e4, 0.0, 0.0), skip_layer=12, max_iter=1, num_epochs=1)
    assert train_and_test(own_network((2, 5)), own_data((2, 5)), parameters, output_dir=str(tmp_path)).k == (
        0,
        0.4,
        0.6,
    )
