"""Does k0 control the sparsity? Networks trained with growing k0, the cap per layer out of the way.

    python -m benchmarks.sparsity_control --data-dir DATA --output-dir OUT --seeds 3 --jobs 2

The tasks share 1 - k0 as 1 : 4, STL trains the first one. Phase 2 retrains the last model of phase 1, however sparse
it is. Where k0 times Omega is below the weighted losses the constraint is slack, and the problem is the same for every
k0: what k0 decides is seen where it binds, and the k0 from which it does is measured, too. A line per training goes to
results/sparsity_control.json, from which ``python -m benchmarks.reproduce --table`` makes table and picture.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

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
from src.utils.training.sparsity_reached import SLACK, binding_k0

FILE = "sparsity_control.json"
K0 = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        k0, seed: of the training.
        end_of_search: zero rows at the end of phase 1, percent.
        kept: those of the model kept, percent.
        test_accuracy: of that model, percent.
        binding_k0: from which on the sparsity constraint would have bound at the end of phase 1.
    """

    k0: float
    seed: int
    end_of_search: float
    kept: float
    test_accuracy: float
    binding_k0: float

    @property
    def slack(self) -> bool:
        """Whether the sparsity constraint was slack at the end of phase 1."""
        return self.k0 < (1 - SLACK) * self.binding_k0


def main() -> None:
    """Train, print the table, write lines and picture."""
    flags = flags_of(__doc__, "MDMTN")
    tasks = (1.0,) if flags.architecture == "STL" else (0.2, 0.8)
    shares = [(k0, *(round(share * (1 - k0), 6) for share in tasks)) for k0 in K0]
    parameters = parameters_of(
        flags, sparsity=True, w=shares[0], max_layerSRate=1.0, min_sparsRate=0.0, max_iter_retrain=1
    )
    candidates = from_every_seed(flags, [{"w": k} for k in shares])
    outcome = run_experiment("sparsity_control", flags, parameters, candidates)
    rows = [_row(point) for point in outcome.points]
    print("\n     k0   zero rows, phase 1       zero rows, kept          test accuracy   (mean, range of seeds)")
    for k0 in K0:
        chosen = [row for row in rows if row.k0 == k0]
        print(f"{k0:7g}   " + "   ".join(_summary([getattr(row, name) for row in chosen]) for name in _COLUMNS))
    for text, asked in (("every k0", measured_k0(rows)), ("slack k0 as one", deciding_k0(rows))):
        print(f"rank correlation with the mean of phase 1, {text}: {rank_correlation(rows, asked):.3f}")
    draw_control(outcome.picture("curves"), {flags.architecture: rows})
    show_files([keep_rows(FILE, flags, outcome, rows), outcome.picture("curves")])


def measured_k0(rows: Sequence[Row]) -> list[float]:
    """Those that there are trainings of."""
    return sorted({row.k0 for row in rows})


def deciding_k0(rows: Sequence[Row]) -> list[float]:
    """From the smallest that binds in some training on, and the one below it, which stands for all slack ones."""
    k0s = measured_k0(rows)
    slack = list(takewhile(lambda k0: all(row.slack for row in rows if row.k0 == k0), k0s))
    return [*slack[-1:], *k0s[len(slack) :]]


def rank_correlation(rows: Sequence[Row], asked: Sequence[float]) -> float:
    """Of these k0 and the zero rows at the end of phase 1, means over the seeds; Spearman's."""
    means = [np.mean([row.end_of_search for row in rows if row.k0 == k0]) for k0 in asked]
    return float(spearmanr(asked, means).statistic)


_ROWS, _ACCURACY = "#555555", "#d95f02"
_COLUMNS = ("end_of_search", "kept", "test_accuracy")


def _row(point: Point) -> Row:
    results = point.results
    search = [record for record in read_history(point.results.folder / HISTORY) if record.phase == "search"]
    end, k0 = search[-1], results.k[0]
    least = binding_k0(end, k0)
    return Row(k0, results.seed, end.sparsity_rate, results.sparsity_rate, results.mean_test_accuracy, least)


def _summary(values: list[float]) -> str:
    return f"{np.mean(values):6.2f} ({min(values):5.2f} to {max(values):5.2f})" if values else "-"


def draw_control(path: Path, control: Mapping[str, Sequence[Row]]) -> None:
    """Zero rows and accuracy over k0, a panel per architecture and a line per seed."""
    figure = Figure(figsize=(1.5 + 4.2 * len(control), 4.4), layout="constrained")
    for place, (name, rows) in enumerate(control.items()):
        axis = figure.add_subplot(1, len(control), place + 1)
        right = axis.twinx()
        for seed in sorted({row.seed for row in rows}):
            chosen = [row for row in rows if row.seed == seed]
            k0, zero = [row.k0 for row in chosen], [row.end_of_search for row in chosen]
            axis.plot(k0, zero, "-", color=_ROWS, alpha=0.6)
            faces = ["white" if row.slack else _ROWS for row in chosen]
            axis.scatter(k0, zero, edgecolors=_ROWS, facecolors=faces, zorder=3)
            right.plot(k0, [row.test_accuracy for row in chosen], "s--", color=_ACCURACY, ms=4, alpha=0.7)
        axis.set_title(name, fontsize=11)
        axis.set_xscale("log")
        axis.set_xlabel("$k_0$, preference of the sparsity objective")
        axis.set_ylim(0, 102)
        right.set_ylim(0, 102)
        axis.grid(alpha=0.3)
        if place == 0:
            axis.set_ylabel("zero rows at the end of phase 1 (%), circles, open: slack")
        if place == len(control) - 1:
            right.set_ylabel("mean test accuracy after phase 2 (%), squares", color=_ACCURACY)
    save(figure, path)


if __name__ == "__main__":
    sys.exit(exit_code(main))
