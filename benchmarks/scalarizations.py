"""Scalarizations side by side: the fronts that they find on equal budgets, and whether they follow the preference.

    python -m benchmarks.scalarizations --data-dir DATA --output-dir OUT --seeds 3 --jobs 2

HPS on MultiMNIST without sparsity, eleven preferences from 0.05 : 0.95 to 0.95 : 0.05, two epochs at a rate that
falls to zero. MGDA knows no preference: it gets as many starts. A line per training goes to
results/scalarizations.json, from which ``python -m benchmarks.reproduce --table`` makes table and picture; with
another network or other data it goes to the folder of the trainings.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.experiments import flags_of, json_with_lines, parameters_of, revision, run_experiment
from src.utils.checked import from_plain
from src.utils.command_line.parser import exit_code
from src.utils.files import read_json, write_text
from src.utils.report.console import show_files
from src.utils.runs.config import HISTORY, ROOT
from src.utils.runs.history import read_history
from src.utils.runs.results import versions
from src.utils.study.pareto import hypervolume, non_dominated
from src.utils.study.sweep import Point
from src.utils.study.trials import Candidate

FILE = "scalarizations.json"
EPOCHS, PREFERENCES = 2, 11
SHARES = tuple(round(0.05 + 0.09 * number, 2) for number in range(PREFERENCES))
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "Chebyshev": "augmented Lagrangian",
        "ChebyshevMaximum": "largest term of each batch",
        "SmoothChebyshev": "smooth maximum",
        "WeightedSum": "weighted sum",
        "MGDA": "MGDA, eleven starts",
    }
)
"""Methods, and what tables call them."""
WITHOUT_PREFERENCE = "MGDA"
WORST_ERROR, WORST_LOSS = 20.0, 1.0
"""Corners of the hypervolumes: of test errors in percent, of training losses."""


@dataclass(frozen=True)
class Training:
    """One training at its end, two tasks.

    Attributes:
        method: by its name in ``methods.py``.
        k: preferences of the tasks.
        seed: of the front that it is part of.
        losses: training losses, means over the last epoch.
        validation_errors, test_errors: percent.
        seconds: of the training.
    """

    method: str
    k: tuple[float, float]
    seed: int
    losses: tuple[float, float]
    validation_errors: tuple[float, float]
    test_errors: tuple[float, float]
    seconds: float


@dataclass(frozen=True)
class Figures:
    """What a front of one method and seed is worth.

    Attributes:
        error_volume: hypervolume of the test errors of the trainings on the validation errors' front, percent of the
            square up to ``WORST_ERROR``.
        loss_volume: of the training losses, percent of the square up to ``WORST_LOSS``.
        on_front: trainings that no other one is better than, by validation errors.
        extent: range of the test errors of these, per task, points.
        accuracy: mean test accuracy of the one with the best mean validation accuracy, percent.
        correlation: rank correlation of f1 / f2 with k2 / k1; NaN where k is the same for all.
        apart: how far the weighted losses are apart, over the larger one, median, percent.
        largest: the largest weighted loss, mean over the preferences.
    """

    error_volume: float
    loss_volume: float
    on_front: int
    extent: tuple[float, float]
    accuracy: float
    correlation: float
    apart: float
    largest: float


def main() -> None:
    """Train and write the lines."""
    flags = flags_of(__doc__, "HPS")
    parameters = parameters_of(flags, sparsity=False, schedule="fast", max_iter=EPOCHS, w=(0.0, 0.5, 0.5))
    outcome = run_experiment("scalarizations", flags, parameters, _candidates(flags.seeds))
    trainings = [training_of(point) for point in outcome.points]
    on_real_data = flags.dataset == "MultiMnist" and flags.architecture == "HPS"
    file = (ROOT / "results" if on_real_data else outcome.folder) / FILE
    known = {"epochs": EPOCHS, "revision": revision(), "versions": versions()}
    content = {**known, "trainings": [asdict(training) for training in trainings]}
    write_text(file, json_with_lines(content, "trainings") + "\n")
    show_files([file])


def _candidates(seeds: int) -> list[Candidate]:
    """A seed after the other, so that what there is when it is interrupted can be compared."""
    found: list[Candidate] = []
    for seed in range(seeds):
        for method in NAMES:
            for number, k1 in enumerate(SHARES):
                other = method == WITHOUT_PREFERENCE
                k = (0.0, 0.5, 0.5) if other else (0.0, k1, round(1 - k1, 2))
                found.append({"method": method, "w": k, "seed": PREFERENCES * seed + number if other else seed})
    return found


def training_of(point: Point) -> Training:
    """What is kept of a training."""
    results = point.results
    last = read_history(results.folder / HISTORY)[-1]
    method = str(point.candidate["method"])
    seed = results.seed // PREFERENCES if method == WITHOUT_PREFERENCE else results.seed
    return Training(
        method=method,
        k=(results.k[1], results.k[2]),
        seed=seed,
        losses=(last.objectives[1], last.objectives[2]),
        validation_errors=_errors(results.validation_accuracy),
        test_errors=_errors(results.test_accuracy),
        seconds=round(results.seconds["total"], 1),
    )


def _errors(accuracy: Sequence[float]) -> tuple[float, float]:
    first, second = (round(100 - value, 4) for value in accuracy)
    return first, second


def read_trainings(results: Path) -> list[Training]:
    """The committed lines; none where there is no file."""
    if not (results / FILE).exists():
        return []
    return [from_plain(Training, line) for line in read_json(results / FILE)["trainings"]]


def figures_of(trainings: Sequence[Training]) -> Figures:
    """What the front of some trainings is worth."""
    validation, test, losses, k = (
        np.array([getattr(training, name) for training in trainings])
        for name in ("validation_errors", "test_errors", "losses", "k")
    )  # (n, 2) each
    mask, weighted = non_dominated(validation), k * losses
    first, second = np.ptp(test[mask], axis=0)
    return Figures(
        error_volume=_share(test[mask], WORST_ERROR),
        loss_volume=_share(losses, WORST_LOSS),
        on_front=int(mask.sum()),
        extent=(float(first), float(second)),
        accuracy=float(100 - test[validation.mean(axis=1).argmin()].mean()),
        correlation=_correlation(k[:, 1] / k[:, 0], losses[:, 0] / losses[:, 1]),
        apart=float(100 * np.median(np.ptp(weighted, axis=1) / weighted.max(axis=1))),
        largest=float(weighted.max(axis=1).mean()),
    )


def _correlation(asked: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Rank correlation; NaN where nothing was asked for."""
    return float(spearmanr(asked, found).statistic) if np.ptp(asked) > 0 else float("nan")


def _share(points: NDArray[np.float64], worst: float) -> float:
    """Hypervolume from an equal corner, percent of what there is."""
    return 100 * hypervolume(points, [worst, worst]) / worst**2


if __name__ == "__main__":
    sys.exit(exit_code(main))
