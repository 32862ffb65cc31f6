"""The same training from several seeds: mean and standard deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from src.utils.errors import UserError
from src.utils.files import write_csv, write_json
from src.utils.study.sweep import Basis, Outcome, run_sweep


@dataclass(frozen=True)
class Statistics:
    """Test accuracy over repetitions, percent.

    Attributes:
        names: the tasks and, last, "mean".
        accuracies: shape (repetitions, tasks + 1), in the order of the points.
    """

    names: tuple[str, ...]
    accuracies: np.ndarray

    @property
    def mean(self) -> list[float]:
        """Per name."""
        means: list[float] = self.accuracies.mean(0).tolist()
        return means

    @property
    def std(self) -> list[float]:
        """Per name, of the sample; 0 for one repetition."""
        deviations: list[float] = self.accuracies.std(0, ddof=min(1, len(self.accuracies) - 1)).tolist()
        return deviations


def statistics_of(outcome: Outcome) -> Statistics:
    """Mean and standard deviation of the finished repetitions."""
    rows = [[*results.test_accuracy, results.mean_test_accuracy] for results in outcome.results]
    return Statistics((*outcome.results[0].task_names, "mean"), np.array(rows))


def repeat(basis: Basis, repetitions: int) -> Outcome:
    """Train from the configuration's seed and those that follow; repetition r depends on nothing but its seed.

    Leaves the table ``repetitions.csv`` and ``repetitions.json``. More repetitions later take over those there are.

    Raises:
        UserError: if the runs cannot be as asked for, or no repetition could be finished.
    """
    if repetitions < 1:
        raise UserError(f"repetitions is {repetitions}; allowed: 1 or more")
    script, first = basis.config.script, basis.config.seed
    trials = basis.trials([{"seed": first + number} for number in range(repetitions)])
    identity = basis.trials([{"seed": 0}])
    outcome = run_sweep("repetitions", script, basis, trials, identity=identity)
    found, trained = statistics_of(outcome), [point.candidate["seed"] for point in outcome.points]
    rows = zip(trained, found.accuracies.tolist(), strict=True)
    table = [{"seed": seed, **dict(zip(found.names, row, strict=True))} for seed, row in rows]
    write_csv(outcome.folder / "repetitions.csv", table)
    summary = {"test_accuracy_mean": found.mean, "test_accuracy_std": found.std, "tasks": found.names, "seeds": trained}
    write_json(outcome.folder / "repetitions.json", summary)
    return outcome
