"""Preferences are followed for losses of very different size, once these are measured in units of their own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from Data_loaders.loaders import Splits, TaskData
from src.models.hps import HPS
from src.utils.errors import UserError
from src.utils.runs.own import own_problem
from src.utils.runs.problem import check_problem
from src.utils.tasks import Task
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.engine import Trainer
from src.utils.training.methods import make_method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.two_phase import train
from tests.conftest import CPU, quiet
from tests.test_scripts import run as run_script

SIZE = 100.0
TASKS = (Task("small", "regression", 1), Task("large", "regression", 1))
SHARES = [number / 10 for number in range(1, 10)]


class Times(nn.Module):
    """A head without weights."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def convex_pair() -> Splits:
    """Two regressions on the same number u: f1 = u^2 and f2 = 1e4 (1 - u)^2.

    The front is convex, sqrt(f1) + sqrt(f2) / 100 = 1 for u from 0 to 1.
    """
    x, zeros = torch.ones(40, 1), torch.zeros(40)
    part = TaskData(x, (zeros, zeros + SIZE))
    return Splits(part, part, part)


def network_at(u: float) -> HPS:
    trunk = nn.Linear(1, 1, bias=False)
    nn.init.constant_(trunk.weight, u)
    return HPS(trunk, [Times(1.0), Times(SIZE)])


def losses_for(k: tuple[float, float], **values: Any) -> list[float]:
    """Validation losses of the model that a Pareto study keeps for these preferences."""
    parameters = TrainingParameters(
        w=(0.0, *k),
        Sparsity_study=False,
        max_iter=12,
        num_epochs=4,
        batch_size=10,
        lr=0.05,
        lr_sched_coef=0.6,
        **values,
    )
    network = network_at(0.5)
    trainer = Trainer(network, make_method(network, parameters, CPU, tasks=TASKS), convex_pair(), parameters)
    return train(trainer).best.record.validation_losses


def analytic(k: tuple[float, float]) -> list[float]:
    """k1 u^2 = k2 (1 - u)^2: the point of the front where the terms, in units 1 and 1e4, are equal."""
    u = 1 / (1 + math.sqrt(k[0] / k[1]))
    return [u**2, SIZE**2 * (1 - u) ** 2]


RANGE = {"normalisation": "range", "nadir": (1.0, 1.0, SIZE**2)}


@pytest.mark.parametrize(
    ("values", "shares"), [(RANGE, SHARES), ({"normalisation": "initial"}, SHARES[::4])], ids=["range", "initial"]
)
def test_preferences_end_at_the_analytic_points(values: dict[str, Any], shares: list[float]) -> None:
    for share in shares:
        k = (share, round(1 - share, 10))
        assert losses_for(k, **values) == pytest.approx(analytic(k), rel=0.02), k


def test_without_normalisation_the_larger_loss_decides() -> None:
    for share in SHARES[::4]:
        found, wanted = losses_for((share, 1 - share)), analytic((share, 1 - share))
        assert found[0] > 0.9
        assert found[1] < 0.1 * wanted[1]


def test_the_terms_are_those_of_the_losses_in_their_units() -> None:
    k, a, nadir = (0.2, 0.3, 0.5), (1.0, 2.0, 100.0), (3.0, 4.0, 1100.0)
    parameters = TrainingParameters(w=k, a=a, nadir=nadir, normalisation="range", skip_layer=8, epsilon=0.1)
    network = network_at(0.5)
    method = ChebyshevMethod(network, parameters, CPU, tasks=TASKS)
    method.measure_in([best - worst for best, worst in zip(nadir, a, strict=True)])
    f = torch.tensor([2.0, 3.5, 350.0])
    distance = torch.tensor([0.5, 0.75, 0.25])
    torch.testing.assert_close(method.terms(f), torch.tensor(k) * (distance + 0.1 * distance.sum()))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nadir": (1.0, 2.0)}, "nadir has 2 numbers"),
        ({"nadir": (1.0, 1.0, 0.0)}, "nadir is .*; allowed: above a"),
        ({"normalisation": "range"}, "nadir is none; allowed with normalisation 'range' here"),
        ({"normalisation": "nadir"}, "normalisation is 'nadir'; allowed: none, initial, range"),
    ],
)
def test_a_range_without_ends_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parameters = TrainingParameters(w=(0.0, 0.5, 0.5), **values)
        check_problem(own_problem("pair", network_at(0.5), convex_pair(), TASKS), parameters, quiet)


def test_a_start_at_the_reference_point_is_refused() -> None:
    parameters = TrainingParameters(w=(0.0, 0.5, 0.5), normalisation="initial")
    network = network_at(0.0)
    trainer = Trainer(network, make_method(network, parameters, CPU, tasks=TASKS), convex_pair(), parameters)
    with pytest.raises(UserError, match="all objectives are above a at the start"):
        train(trainer)


def test_a_command_finds_ideal_and_nadir_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--max_iter", "1", "--max_iter_search", "1", "--max_iter_retrain", "1", "--output-dir", str(tmp_path)]
    assert run_script(monkeypatch, "Pareto_front_study_own_problem.py", *flags, "--normalisation", "range") == 0
    assert "of trainings with one task each" in capsys.readouterr().out
    assert len(list(tmp_path.glob("logs/payoff_own_penguins_pair_*/k*/results.json"))) == 2
    (file,) = tmp_path.glob("logs/Pareto_front_study_own_problem/*/results.json")
    parameters = json.loads(file.read_text())["parameters"]
    assert all(0 <= best < worst for best, worst in zip(parameters["a"], parameters["nadir"], strict=True))
    assert parameters["a"][0] == 0
