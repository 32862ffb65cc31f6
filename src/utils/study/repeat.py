"""The same training from several seeds: mean and standard deviation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from Data_loaders.datasets import MultiTaskDataset
from src.utils.errors import UserError
from src.utils.files import write_csv, write_json
from src.utils.study import plots
from src.utils.study.sweep import Failure, Point, SweepObserver, Trial, Workers, check_trials, fingerprint, run_sweep
from src.utils.training.parameters import TrainingParameters
from src.utils.training.run import RunConfig


@dataclass(frozen=True)
class RepeatOutcome:
    """What the repetitions reached, in percent.

    Attributes:
        points: one per seed, by seed.
        mean, std: of the test accuracy per task and, last, of their mean; std is of the sample, 0 for one repetition.
        failures: what could not be trained.
        files: table, results and picture.
    """

    points: dict[int, Point]
    mean: list[float]
    std: list[float]
    failures: list[Failure]
    files: list[Path]


def repeat(
    config: RunConfig,
    parameters: TrainingParameters,
    repetitions: int,
    data: MultiTaskDataset,
    workers: Workers,
    observer: SweepObserver,
) -> RepeatOutcome:
    """Train from ``config.seed``, ``config.seed + 1``, ...; repetition r depends on nothing but its seed.

    Finished repetitions are skipped and an interrupted one is continued.

    Args:
        config, parameters: of the runs.
        repetitions: how many, 1 or more.
        data: that ``config`` names.
        workers: who trains.
        observer: told of the progress.

    Raises:
        UserError: if the runs cannot be as asked for, or no repetition could be finished.
    """
    if repetitions < 1:
        raise UserError(f"repetitions is {repetitions}; allowed: 1 or more")
    name = f"{config.script}_{fingerprint(replace(config, seed=0), parameters, data, parameters.w)}"
    folder = config.root / config.main_dir / name
    seeds = range(config.seed, config.seed + repetitions)
    trials = [Trial(f"seed{seed}", replace(config, seed=seed), parameters) for seed in seeds]
    check_trials(trials, data)
    outcome = run_sweep(folder, trials, workers, observer)
    points = {seed: outcome.points[f"seed{seed}"] for seed in seeds if f"seed{seed}" in outcome.points}
    if not points:
        raise UserError(f"none of {repetitions} repetitions could be finished: {outcome.failures[0].reason}")
    accuracies = np.array([[*p.test_accuracy, np.mean(p.test_accuracy)] for p in points.values()])  # (seeds, m + 1)
    mean = accuracies.mean(0).tolist()
    std = accuracies.std(0, ddof=min(1, len(accuracies) - 1)).tolist()
    names = [*data.task_names, "mean"]
    table, results = folder / "repetitions.csv", folder / "repetitions.json"
    picture = config.root / "Images" / config.dataset / f"{config.script}_repetitions.png"
    rows = zip(points, accuracies.tolist(), strict=True)
    write_csv(table, [{"seed": seed, **dict(zip(names, row, strict=True))} for seed, row in rows])
    write_json(results, {"test_accuracy_mean": mean, "test_accuracy_std": std, "tasks": names, "seeds": list(points)})
    plots.draw_repetitions(picture, accuracies, names, f"{config.script}: test accuracy of {len(points)} repetitions")
    return RepeatOutcome(points, mean, std, outcome.failures, [table, results, picture])
