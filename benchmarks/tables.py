"""The tables of the README and of ``docs/results.md``, made from the lines in ``results/`` alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

from benchmarks import preference_ratios, sparsity_control
from benchmarks.cases import CAPPED, CASES, FASTER, is_usual
from benchmarks.experiments import read_rows
from benchmarks.scalarizations import NAMES, WITHOUT_PREFERENCE, Training, figures_of, read_trainings
from benchmarks.shown import studies_in
from src.utils.errors import UserError
from src.utils.files import write_text
from src.utils.study.compare import compare
from src.utils.study.sweep import read_outcome

Rows = Sequence[Mapping[str, Any]]
PAGES = ("README.md", "docs/results.md", "docs/compression.md", "docs/studies.md")
REFERENCE: Mapping[str, tuple[tuple[float, ...], float, float]] = MappingProxyType(
    {
        "MDMTN_MM_sparse": ((97.17, 96.16), 96.67, 24.9),
        "MDMTN_CM_sparse": ((54.99, 93.86), 74.43, 29.9),
        "HPS_CM_sparse": ((53.85, 92.06), 72.95, 14.1),
    }
)
"""Of the authors' own code on the same files with its full default schedule: test accuracy, its mean, zero rows."""


SHORT = (
    *("MDMTN_MM_sparse", "MDMTN_MM_sparse_fast", "MDMTN_MM_dense", "HPS_MM_sparse_fast"),
    *("MDMTN_CM_sparse", "MDMTN_CM_sparser", "MDMTN_CM_dense", "HPS_CM_sparse"),
)
"""What the README's table shows; that of docs/results.md shows all."""


STL = ("STL_MM_left_fast", "STL_MM_right_fast")
STL_CM = ("STL_CM_photograph_fast", "STL_CM_digit_fast")
CLAIMS: Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]] = (
    ("sparse MDMTN over dense MDMTN", ("MDMTN_MM_sparse_fast",), ("MDMTN_MM_dense_fast",)),
    ("sparse HPS over dense HPS", ("HPS_MM_sparse_fast",), ("HPS_MM_dense_fast",)),
    ("dense MDMTN over dense HPS", ("MDMTN_MM_dense_fast",), ("HPS_MM_dense_fast",)),
    ("sparse MDMTN over sparse HPS", ("MDMTN_MM_sparse_fast",), ("HPS_MM_sparse_fast",)),
    ("dense MDMTN over a network per task", ("MDMTN_MM_dense_fast",), STL),
    ("dense HPS over a network per task", ("HPS_MM_dense_fast",), STL),
    ("HPS, Chebyshev over equal weights", ("HPS_MM_dense_fast",), ("HPS_MM_equal_fast",)),
    ("HPS, Chebyshev over MGDA", ("HPS_MM_dense_fast",), ("HPS_MM_MGDA_fast",)),
    ("MDMTN, Chebyshev over MGDA", ("MDMTN_MM_dense_fast",), ("MDMTN_MM_MGDA_fast",)),
    ("HPS, KDMTL over equal weights", ("HPS_MM_KDMTL_fast",), ("HPS_MM_equal_fast",)),
    ("MTAN over HPS, equal weights", ("MTAN_MM_equal_fast",), ("HPS_MM_equal_fast",)),
    ("sparse MDMTN, other partners", ("MDMTN_MM_sparse_fast_data1",), ("MDMTN_MM_sparse_fast",)),
    ("dense HPS, other partners", ("HPS_MM_dense_fast_data1",), ("HPS_MM_dense_fast",)),
    ("Cifar10Mnist, sparser MDMTN over dense MDMTN", ("MDMTN_CM_sparser",), ("MDMTN_CM_dense",)),
    ("Cifar10Mnist, sparse MDMTN over dense MDMTN", ("MDMTN_CM_sparse",), ("MDMTN_CM_dense",)),
    ("Cifar10Mnist, dense MDMTN over dense HPS", ("MDMTN_CM_dense",), ("HPS_CM_dense",)),
    ("Cifar10Mnist, sparse HPS over dense HPS", ("HPS_CM_sparse",), ("HPS_CM_dense",)),
    ("Cifar10Mnist, dense MDMTN over a network per task", ("MDMTN_CM_dense_fast",), STL_CM),
    ("Cifar10Mnist, sparser MDMTN over that with k0 = 0.01", ("MDMTN_CM_sparser",), ("MDMTN_CM_sparser_strong",)),
    ("sparse MDMTN, bf16 over fp32", ("MDMTN_MM_sparse_fast_bf16",), ("MDMTN_MM_sparse_fast",)),
)
"""Statements, and the cases whose mean accuracies they compare, the same seeds with each other."""


@dataclass(frozen=True)
class Found:
    """What was measured.

    Attributes:
        cases: lines of every case that has some.
        speed: timings of ``benchmarks.speed``, see :class:`benchmarks.speed.Timing`.
        scalarizations: trainings of ``benchmarks.scalarizations``.
        ratios: trainings of ``benchmarks.preference_ratios`` by architecture.
        control: trainings of ``benchmarks.sparsity_control`` by architecture.
        studies: folders of Pareto studies by architecture.
    """

    cases: Mapping[str, Rows]
    speed: Rows
    scalarizations: Sequence[Training]
    ratios: Mapping[str, Sequence[preference_ratios.Row]]
    control: Mapping[str, Sequence[sparsity_control.Row]]
    studies: Mapping[str, Path]


def write_tables(root: Path, results: Path) -> list[Path]:
    """Write every table anew, between ``<!-- table NAME -->`` and ``<!-- end -->``; returns the pages changed.

    Raises:
        UserError: if a page names a table that there is not.
    """
    changed = []
    for page in (root / name for name in PAGES):
        before = page.read_text()
        after = with_tables(before, results)
        if after != before:
            write_text(page, after)
            changed.append(page)
    return changed


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a case; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_cases(results: Path) -> dict[str, Rows]:
    """The lines of every case that has some, in the order of the cases."""
    found = {name: read_lines(results / f"{name}.jsonl") for name in CASES}
    return {name: lines for name, lines in found.items() if lines}


def accuracies_of(lines: Rows) -> list[float]:
    """Test accuracy, mean of the tasks, of each line, percent."""
    return [float(np.mean(line["test_accuracy"])) for line in lines]


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation over the seeds; 0 for that of one seed."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def size_of(lines: Rows) -> Mapping[str, float]:
    """Means over the seeds: of compressed networks, of dense ones as they were trained."""
    which = "compressed" if any(line["sparsity_rate"] for line in lines) else "dense"
    return {
        what: float(np.mean([line["compression"][which][what] for line in lines]))
        for what in ("bytes", "multiply_adds")
    }


def with_tables(text: str, results: Path) -> str:
    """The text of a page with its tables made anew."""
    found = Found(
        cases=read_cases(results),
        speed=_read_speed(results / "speed.json"),
        scalarizations=read_trainings(results),
        ratios=read_rows(results / preference_ratios.FILE, preference_ratios.Row),
        control=read_rows(results / sparsity_control.FILE, sparsity_control.Row),
        studies=studies_in(results),
    )

    def table(match: re.Match[str]) -> str:
        name = match[1]
        if name not in TABLES:
            raise UserError(f"there is no table {name!r}; allowed: {', '.join(TABLES)}")
        return f"<!-- table {name} -->\n\n{TABLES[name](found)}\n\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->.*?<!-- end -->", table, text, flags=re.DOTALL)


def _read_speed(path: Path) -> Rows:
    return json.loads(path.read_text())["timings"] if path.exists() else []


def _main(found: Found) -> str:
    """A row for each of some cases."""
    return _rows({name: found.cases[name] for name in SHORT if name in found.cases})


def _all(found: Found) -> str:
    """A row per case."""
    return _rows(found.cases)


def _rows(found: Mapping[str, Rows]) -> str:
    """A row per case: means and standard deviations over the seeds."""
    head = "| run | seeds | test accuracy, mean of the tasks | zero rows | reference: accuracy, zero rows |"
    rows = []
    for name, lines in found.items():
        accuracy, zeros = _accuracy_of(lines), _zeros_of(lines)
        _, mean, share = REFERENCE.get(name, ((), 0.0, 0.0))
        theirs = f"{mean:.2f}, {share:.1f}" if name in REFERENCE else ""
        rows.append(f"| `{CASES[name].command}` | {len(lines)} | {accuracy} | {zeros} | {theirs} |")
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def _schedules(found: Found) -> str:
    """Cases that were trained by more than one schedule: accuracy, zero rows, time of the seeds that both have."""
    rows = []
    for name in found.cases:
        others = [f"{name}{end}" for end in FASTER if f"{name}{end}" in found.cases]
        for which in [name, *others] if others else []:
            lines = found.cases[which]
            accuracy, zeros = _accuracy_of(lines), _zeros_of(lines)
            times = _seconds_of_the_same(lines, found.cases[name])
            cells = [f"`{CASES[which].command}`", str(len(lines)), accuracy, zeros]
            cells += [f"{times[0]:.0f}", f"{times[1] / times[0]:.1f}"] if times else ["", ""]
            rows.append(f"| {' | '.join(cells)} |")
    head = "| run | seeds | test accuracy, mean of the tasks | zero rows | seconds, median | times as fast |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def _seconds_of_the_same(*parts: Rows) -> list[float]:
    """Median seconds of each part, of the seeds that all have; none where they have none in common."""
    seeds = set.intersection(*({line["seed"] for line in part} for part in parts))
    return [float(np.median([line["seconds"] for line in part if line["seed"] in seeds])) for part in parts if seeds]


def _claims(found: Found) -> str:
    """A row per statement: the difference of the mean accuracies of the same seeds, with a paired t test."""
    rows = []
    for text, ours, theirs in CLAIMS:
        first, second = (_means(found, names) for names in (ours, theirs))
        both = sorted(set(first) & set(second))
        if len(both) < 2:
            continue
        differences = [first[seed] - second[seed] for seed in both]
        p = float(ttest_1samp(differences, 0.0).pvalue)
        rows.append(
            f"| {text} | {len(both)} | {np.mean(differences):+.2f} ± {np.std(differences, ddof=1):.2f} | {p:.2g} |"
        )
    return "\n".join(["| statement | seeds | points | p |", "|---|---|---|---|", *rows])


def _means(found: Found, names: Sequence[str]) -> dict[int, float]:
    """Mean test accuracy over the tasks of some cases, by seed."""
    parts = [{line["seed"]: line["test_accuracy"] for line in found.cases.get(name, ())} for name in names]
    return {seed: float(np.mean([part[seed] for part in parts])) for seed in set.intersection(*map(set, parts))}


def _speed(found: Found) -> str:
    """A row per timing."""
    rows, last = [], None
    for timing in found.speed:
        group = "" if timing["group"] == last else timing["group"]
        last = timing["group"]
        ratio = f"{timing['ratio']:.3g}"
        if timing["low"] < timing["high"]:
            ratio += f" ({timing['low']:.3g} to {timing['high']:.3g})"
        rows.append(f"| {group} | {timing['name']} | {timing['ms']:.3g} | {ratio} |")
    return "\n".join(["| what | | ms | ratio, or share of the step |", "|---|---|---|---|", *rows])


def _scalarizations(found: Found) -> str:
    """A row per method: means and standard deviations over the seeds of what its fronts are worth."""
    head = (
        "| | seeds | hypervolume, test errors | training losses | on the front | range of errors, tasks 1 and 2 "
        "| best mean accuracy | rank correlation | weighted losses apart | largest one |"
    )
    rows = []
    for method, name in NAMES.items():
        chosen = [training for training in found.scalarizations if training.method == method]
        seeds = sorted({training.seed for training in chosen})
        fronts = [figures_of([training for training in chosen if training.seed == seed]) for seed in seeds]
        if not fronts:
            continue
        ranges = " and ".join(f"{np.mean([front.extent[task] for front in fronts]):.1f}" for task in (0, 1))
        cells = [name, str(len(seeds)), _spread([front.error_volume for front in fronts], 1)]
        cells += [_spread([front.loss_volume for front in fronts], 1)]
        cells += [f"{np.mean([front.on_front for front in fronts]):.1f}", ranges]
        cells += [_spread([front.accuracy for front in fronts], 2)]
        if method == WITHOUT_PREFERENCE:
            cells += ["", "", ""]
        else:
            cells += [_spread([front.correlation for front in fronts], 3)]
            cells += [f"{np.mean([front.apart for front in fronts]):.1f} %"]
            cells += [_spread([front.largest for front in fronts], 4)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([head, "|---" * 10 + "|", *rows])


def _ratios(found: Found) -> str:
    """A row per architecture, seed and ratio of preferences: losses, their ratio, multipliers, test accuracy."""
    head = "| | seed | k1 : k2 | f1 | f2 | f1 / f2 | k2 / k1 | weighted losses apart | multipliers | test accuracy |"
    rows = []
    for architecture, trainings in found.ratios.items():
        for row in trainings:
            cells = [architecture, str(row.seed), f"{row.k1:g} : {row.k2:g}", f"{row.f1:.4f}", f"{row.f2:.4f}"]
            cells += [f"{row.f1 / row.f2:.3f}", f"{row.k2 / row.k1:.3f}", f"{row.gap:.1f} %"]
            cells += [f"{row.lambda1:.2f}, {row.lambda2:.2f}", f"{row.accuracy1:.2f} / {row.accuracy2:.2f}"]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([head, "|---" * 10 + "|", *rows])


def _control(found: Found) -> str:
    """A row per k0; per architecture zero rows, accuracy, means and ranges over the seeds, and the k0 that binds."""
    seeds = {name: len({row.seed for row in rows}) for name, rows in found.control.items()}
    head = "".join(f" {name}, {count} seeds: zero rows | accuracy | binds from |" for name, count in seeds.items())
    lines = [f"| k0 |{head}", "|---" * (1 + 3 * len(seeds)) + "|"]
    for k0 in sparsity_control.K0:
        cells = [f"{k0:g}"]
        for name, rows in found.control.items():
            chosen = [row for row in rows if row.k0 == k0]
            few = f", {len(chosen)} of {seeds[name]} seeds" if len(chosen) < seeds[name] else ""
            cells += [
                _range([getattr(row, what) for row in chosen], few) for what in ("end_of_search", "test_accuracy")
            ]
            cells.append(f"{np.mean([row.binding_k0 for row in chosen]):.2g}" if chosen else "")
        lines.append(f"| {' | '.join(cells)} |")
    for text, asked in (("every k0", sparsity_control.measured_k0), ("slack k0 as one", sparsity_control.deciding_k0)):
        found_ranks = [sparsity_control.rank_correlation(rows, asked(rows)) for rows in found.control.values()]
        lines.append(f"| rank correlation, {text} | {' | | | '.join(f'{rank:.2f}' for rank in found_ranks)} | | |")
    return "\n".join(lines)


def _range(values: Sequence[float], few: str) -> str:
    """Mean, smallest and largest, and whether they are few."""
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f}{few})" if values else ""


def _seeds(found: Found) -> str:
    """A row per run."""
    columns = ("run", "seed", "test accuracy", "zero rows", "compression", "sharing", "reference")
    rows = []
    for name, lines in found.cases.items():
        for place, line in enumerate(lines):
            known = name in REFERENCE and place == 0
            each, mean, share = REFERENCE.get(name, ((), 0.0, 0.0))
            cells = (
                "" if place else f"`{CASES[name].command}`",
                line["seed"],
                _accuracies(line["test_accuracy"]),
                f"{line['sparsity_rate']:.1f}",
                f"{line['compression_rate']:.2f}",
                f"{line['parameter_sharing']:.2f}",
                f"{' / '.join(f'{value:.2f}' for value in each)} ({mean:.2f}), {share:.1f}" if known else "",
            )
            rows.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows])


def _caps(found: Found) -> str:
    """A row per architecture and cap: accuracy, zero rows and the compressed network, from dense to nearly empty."""
    rows = []
    for architecture, cases in CAPPED.items():
        for cap in sorted(cases):
            lines = found.cases.get(cases[cap])
            if not lines:
                continue
            size = size_of(lines)
            cells = [architecture, f"{cap:g}" if cap else "dense", str(len(lines)), _accuracy_of(lines)]
            cells += [_zeros_of(lines), f"{size['bytes'] / 1000:,.0f}", f"{size['multiply_adds']:,.0f}"]
            rows.append(f"| {' | '.join(cells)} |")
    head = "| | `max_layerSRate` | seeds | test accuracy, mean of the tasks | zero rows | kB | multiply-adds |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def _small(found: Found) -> str:
    """Those rows of the table of compressed networks whose case has zero rows."""
    sparse = {name: lines for name, lines in found.cases.items() if any(line["sparsity_rate"] for line in lines)}
    return _compressed(replace(found, cases=sparse))


def _compressed(found: Found) -> str:
    """A row per case of the usual schedule: means over the seeds, dense -> compressed."""
    head = "| run | zero rows | parameters | kB | multiply-adds | faster: 1 image | 256 images |"
    rows = []
    for name, lines in found.cases.items():
        if not is_usual(name):
            continue
        pairs = [line["compression"] for line in lines]
        cells = [f"`{CASES[name].command}`", _zeros_of(lines)]
        cells += [_before_after(pairs, "parameters", 1), _before_after(pairs, "bytes", 1000)]
        cells.append(_before_after(pairs, "multiply_adds", 1))
        cells += [_faster(pairs, size) for size in ("1", "256")]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def _fronts(found: Found) -> str:
    """A row per study, all with one reference point: how many points are on the front, how wide and how good it is."""
    rows = []
    compared = compare(list(found.studies.values())) if found.studies else None
    for network, item in zip(found.studies, compared.compared if compared else (), strict=True):
        outcome = read_outcome(found.studies[network])
        front = item.losses.values[item.losses.mask]
        ranges = [f"{low:.3f} to {high:.3f}" for low, high in zip(front.min(axis=0), front.max(axis=0), strict=True)]
        zeros = f"{outcome.results[outcome.best].sparsity_rate:.1f}"
        counts = [str(len(item.losses.values)), str(item.losses.count)]
        cells = [network, zeros, *counts, *ranges, f"{item.accuracy:.2f}", f"{item.losses.volume:.4f}"]
        rows.append(f"| {' | '.join(cells)} |")
    losses = "first validation loss on the front | second"
    head = f"| | zero rows | vectors | not dominated | {losses} | best mean test accuracy | hypervolume of the losses |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *rows])


TABLES: Mapping[str, Callable[[Found], str]] = MappingProxyType(
    {
        "main": _main,
        "all": _all,
        "seeds": _seeds,
        "small": _small,
        "compressed": _compressed,
        "caps": _caps,
        "schedules": _schedules,
        "claims": _claims,
        "speed": _speed,
        "scalarizations": _scalarizations,
        "ratios": _ratios,
        "control": _control,
        "fronts": _fronts,
    }
)


def _spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over the seeds; of one seed its value."""
    mean, spread = mean_and_spread(values)
    return f"{mean:.{digits}f} ± {spread:.{digits}f}" if len(values) > 1 else f"{mean:.{digits}f}"


def _accuracy_of(lines: Rows) -> str:
    """Test accuracy, mean of the tasks, over the seeds."""
    return _spread(accuracies_of(lines), 2)


def _zeros_of(lines: Rows) -> str:
    """Zero rows over the seeds."""
    return _spread([line["sparsity_rate"] for line in lines], 1)


def _accuracies(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{' / '.join(f'{value:.2f}' for value in values)} ({np.mean(values):.2f})"


def _before_after(pairs: Rows, name: str, unit: float) -> str:
    dense, small = (np.mean([pair[which][name] for pair in pairs]) / unit for which in ("dense", "compressed"))
    return f"{dense:,.0f} -> {small:,.0f}"


def _faster(pairs: Rows, size: str) -> str:
    """Quotients of the times, the smallest and the largest."""
    quotients = [pair["dense"]["latency_ms"][size] / pair["compressed"]["latency_ms"][size] for pair in pairs]
    low, high = f"{min(quotients):.2f}", f"{max(quotients):.2f}"
    return low if low == high else f"{low} to {high}"
