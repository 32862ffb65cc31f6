"""Does k0 control the sparsity? Networks trained with growing k0, the cap per layer out of the way.

    python -m benchmarks.sparsity_control --data-dir DATA --output-dir OUT --seeds 3 --jobs 2

The tasks share 1 - k0 as 1 : 4. Phase 2 retrains the last model of phase 1, however sparse it is.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.experiments import flags_of, parameters_of, run_experiment
from src.utils.command import exit_code
from src.utils.files import write_csv, write_picture
from src.utils.study.sweep import Point
from src.utils.training.results import read_history

K0 = (1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Row:
    """One training: zero rows at the end of phase 1 and of the model kept, test accuracy; percent."""

    k0: float
    seed: int
    end_of_search: float
    kept: float
    test_accuracy: float


def main() -> None:
    """Train, print the table, write table and picture."""
    flags = flags_of(__doc__, "MDMTN")
    settings = {
        f"k0_{k0:g}": parameters_of(
            flags,
            sparsity=True,
            w=(k0, round(0.2 * (1 - k0), 6), round(0.8 * (1 - k0), 6)),
            max_layerSRate=1.0,
            min_sparsRate=0.0,
            max_iter_retrain=2,
        )
        for k0 in K0
    }
    outcome = run_experiment("sparsity_control", flags, settings)
    rows = [_row(name, point) for name, point in outcome.points.items()]
    print("\n     k0   zero rows, phase 1       zero rows, kept          test accuracy   (mean, range of seeds)")
    for k0 in K0:
        chosen = [row for row in rows if row.k0 == k0]
        print(f"{k0:7g}   " + "   ".join(_summary([getattr(row, name) for row in chosen]) for name in _COLUMNS))
    write_csv(flags.output_dir / "sparsity_control.csv", [vars(row) for row in rows])
    _draw(flags.output_dir / "sparsity_control.png", rows)


_COLUMNS = ("end_of_search", "kept", "test_accuracy")


def _row(name: str, point: Point) -> Row:
    search = [row for row in read_history(point.folder / "history.csv") if row["phase"] == "search"]
    seed = int(name.rsplit("seed", 1)[1])
    return Row(point.k[0], seed, search[-1]["sparsity_rate"], point.sparsity_rate, float(np.mean(point.test_accuracy)))


def _summary(values: list[float]) -> str:
    return f"{np.mean(values):6.2f} ({min(values):5.2f} to {max(values):5.2f})" if values else "-"


def _draw(path: Path, rows: list[Row]) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    right = axis.twinx()
    for seed in sorted({row.seed for row in rows}):
        chosen = [row for row in rows if row.seed == seed]
        axis.plot([row.k0 for row in chosen], [row.end_of_search for row in chosen], "o-", color="#555555", alpha=0.7)
        right.plot([row.k0 for row in chosen], [row.test_accuracy for row in chosen], "s--", color="#d95f02", alpha=0.7)
    axis.set_xscale("log")
    axis.set_xlabel("$k_0$, preference of the sparsity objective")
    axis.set_ylabel("zero rows at the end of phase 1 (%), circles")
    right.set_ylabel("mean test accuracy after phase 2 (%), squares", color="#d95f02")
    axis.set_ylim(0, 100)
    axis.grid(alpha=0.3)
    write_picture(path, lambda file: figure.savefig(file, format="png", dpi=130))


if __name__ == "__main__":
    sys.exit(exit_code(main))
