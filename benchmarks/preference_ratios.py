"""Do the task losses follow the preference? Networks trained for nine ratios k1 : k2, without sparsity.

    python -m benchmarks.preference_ratios --data-dir DATA --output-dir OUT --jobs 2

At the solution of the Chebyshev problem the weighted losses of the two tasks are equal, so that f1 / f2 = k2 / k1,
unless a loss is below its share though the other one has all the weight: there the trade-off ends. The learning
rate falls to a thirtieth, so that losses and multipliers settle; by Adam the multipliers remember an epoch. Networks
with parts that belong to one task are trained by SGD: Adam divides the gradient of such a part by its size, the weight
of the task included, so that weights hardly move the losses. By SGD they do, and the multipliers have to follow. A line
per training goes to results/preference_ratios.json, from which ``python -m benchmarks.reproduce --table`` makes table
and picture.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from benchmarks.experiments import flags_of, from_every_seed, keep_rows, parameters_of, run_experiment
from src.utils.command_line.parser import exit_code
from src.utils.report.console import show_files
from src.utils.report.style import save
from src.utils.runs.config import HISTORY
from src.utils.runs.history import read_history
from src.utils.study.sweep import Point

FILE = "preference_ratios.json"
PARTS_OF_ONE_TASK = ("MDMTN", "MTAN")
"""Networks with layers that one task trains alone: Adam's steps of these do not depend on the weight of the task."""
SETTLED: Mapping[str, Any] = {"max_iter": 16, "num_epochs": 1, "lr_sched_coef": 0.8}
BY_ADAM: Mapping[str, Any] = {"lambda_memory": 1.0}
BY_SGD: Mapping[str, Any] = {"base_optimizer": "SGD", "lr": 0.1}
NO_SAY = 0.01
"""A multiplier below this is one of an objective without weight: the average of weights that are 0 fades, slowly."""
SHARES = tuple(round(0.1 * number, 1) for number in range(1, 10))


@dataclass(frozen=True)
class Row:
    """One training at its last epoch.

    Attributes:
        seed: of the training.
        k1, k2: preferences of the tasks.
        f1, f2: training losses, means over the epoch.
        gap: how far the weighted losses are apart, over the larger one, percent.
        lambda1, lambda2: multipliers; with one of them near 0 the trade-off has ended.
        accuracy1, accuracy2: on the test data, percent.
    """

    seed: int
    k1: float
    k2: float
    f1: float
    f2: float
    gap: float
    lambda1: float
    lambda2: float
    accuracy1: float
    accuracy2: float

    @property
    def both_have_a_say(self) -> bool:
        """Whether neither multiplier is as good as 0."""
        return min(self.lambda1, self.lambda2) >= NO_SAY


def main() -> None:
    """Train, print the table, write lines and picture."""
    flags = flags_of(__doc__, "HPS")
    settled = {**SETTLED, **(BY_SGD if flags.architecture in PARTS_OF_ONE_TASK else BY_ADAM)}
    parameters = parameters_of(flags, sparsity=False, w=(0.0, 0.5, 0.5), **settled)
    candidates = from_every_seed(flags, [{"w": (0.0, k1, round(1 - k1, 1))} for k1 in SHARES])
    outcome = run_experiment("preference_ratios", flags, parameters, candidates)
    rows = [_row(point) for point in outcome.points]
    print("\n k1 : k2       f1       f2    f1 / f2   k2 / k1   gap      lambda          test accuracy")
    for row in rows:
        ratios = f"{row.f1 / row.f2:7.3f}   {row.k2 / row.k1:7.3f}  {row.gap:5.1f} %"
        end = f"{row.lambda1:.3f} {row.lambda2:.3f}   {row.accuracy1:.2f} {row.accuracy2:.2f} %"
        print(f"{row.k1:.1f} : {row.k2:.1f}  {row.f1:.4f}   {row.f2:.4f}   {ratios}   {end}")
    correlation = spearmanr([row.k2 / row.k1 for row in rows], [row.f1 / row.f2 for row in rows]).statistic
    print(f"rank correlation of f1 / f2 with k2 / k1: {correlation:.3f}")
    draw_ratios(outcome.picture("curves"), rows, f"{flags.architecture} on {flags.dataset}")
    show_files([keep_rows(FILE, flags, outcome, rows), outcome.picture("curves")])


def _row(point: Point) -> Row:
    last, results = read_history(point.results.folder / HISTORY)[-1], point.results
    _, c1, c2 = last.weighted_objectives
    return Row(
        seed=results.seed,
        k1=results.k[1],
        k2=results.k[2],
        f1=last.objectives[1],
        f2=last.objectives[2],
        gap=100 * abs(c1 - c2) / max(c1, c2),
        lambda1=last.lam[1],
        lambda2=last.lam[2],
        accuracy1=results.test_accuracy[0],
        accuracy2=results.test_accuracy[1],
    )


def draw_ratios(path: Path, rows: Sequence[Row], title: str) -> None:
    """Ratios of the losses against those asked for, and the losses."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    ratios, losses = figure.subplots(1, 2)
    wanted = np.array([row.k2 / row.k1 for row in rows])
    inside = np.array([row.both_have_a_say for row in rows])
    reached = np.array([row.f1 / row.f2 for row in rows])
    ratios.plot([wanted.min(), wanted.max()], [wanted.min(), wanted.max()], color="#999999", lw=1, label="equal")
    ratios.plot(wanted[inside], reached[inside], "o", color="#1f77b4", label="both tasks have a say")
    if not inside.all():
        ratios.plot(wanted[~inside], reached[~inside], "x", color="#d95f02", label="all weight on one task")
    ratios.set_xlabel("$k_2 / k_1$")
    ratios.set_ylabel("$f_1 / f_2$ at the end of the training")
    ratios.legend(fontsize=9)
    for seed in sorted({row.seed for row in rows}):
        f1, f2 = ([getattr(row, name) for row in rows if row.seed == seed] for name in ("f1", "f2"))
        losses.plot(f1, f2, "-", color="#bbbbbb", zorder=1)
    middle = np.median([row.f1 for row in rows])
    for number, (row, active) in enumerate(zip(rows, inside, strict=True)):
        losses.plot(row.f1, row.f2, "o" if active else "x", color="#1f77b4" if active else "#d95f02")
        below = number % 2 == 0 and row.f1 >= middle  # where the front is flat, every other label
        place: dict[str, Any] = {"ha": "right" if below else "left", "va": "top" if below else "bottom"}
        text, shift = f"{row.k1:g} : {row.k2:g}", (-4, -3) if below else (4, 3)
        losses.annotate(text, (row.f1, row.f2), shift, textcoords="offset points", fontsize=8, **place)
    losses.set_xlabel("$f_1$, training loss of the first task")
    losses.set_ylabel("$f_2$, of the second")
    losses.margins(0.12)
    for axis in (ratios, losses):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
    save(figure, path)


if __name__ == "__main__":
    sys.exit(exit_code(main))
