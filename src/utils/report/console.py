"""What is printed: progress while a command works, tables when it is done."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from tqdm import tqdm

from src.utils.runs.results import Results
from src.utils.sparsity.figures import Comparison
from src.utils.sparsity.metrics import RowCounts
from src.utils.study.compare import Comparison as FrontComparison
from src.utils.study.pareto_study import Study
from src.utils.study.repeat import statistics_of
from src.utils.study.sparsity_study import Size
from src.utils.study.sweep import Outcome, SweepObserver
from src.utils.training.records import EpochRecord, Observer

_WIDTH = 17
_BAR = "{desc} {bar:20} {n:.1f}/{total} epochs, {elapsed}<{remaining}{postfix}"


class ConsoleObserver(Observer):
    """Of one run: progress bars on a terminal, a line per epoch elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[NoReturn] | None = None
        self._epochs = 0

    def phase_starts(self, name: str, epochs: int, done: int) -> None:
        self._epochs = done
        if self._quiet:
            return
        if sys.stderr.isatty():
            self._close()
            self._bar = tqdm(total=epochs, initial=done, desc=name, unit="epoch", bar_format=_BAR, file=sys.stderr)
        else:
            print(f"phase {name}: {epochs} epochs" + (f", {done} done before" if done else ""), flush=True)

    def batch_ends(self, share: float) -> None:
        if self._bar is not None:
            self._bar.n = round(self._epochs + share, 2)
            self._bar.update(0)

    def epoch_ends(self, record: EpochRecord) -> None:
        self._epochs += 1
        if self._quiet:
            return
        text = f"validation {_joined(record.validation_accuracy)} %, zero rows {record.sparsity_rate:.1f} %"
        if self._bar is None:
            print(f"  {record.phase} epoch {record.epoch}: {text}, {record.seconds:.1f} s", flush=True)
            return
        self._bar.set_postfix_str(text)
        if self._epochs >= (self._bar.total or 0):
            self._close()

    def message(self, text: str) -> None:
        tqdm.write(f"note: {text}", file=sys.stderr)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ConsoleSweepObserver(SweepObserver):
    """Of many runs: one bar with the time left on a terminal, a line per finished run; notes only when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[NoReturn] | None = None

    def progress(self, epochs: int, total: int) -> None:
        if self._quiet or not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = tqdm(total=total, initial=epochs, unit="epoch", file=sys.stderr)
        self._bar.update(epochs - self._bar.n)

    def trial_ends(self, number: int, trials: int, name: str, results: Results) -> None:
        if not self._quiet:
            accuracies = f"validation {_joined(results.validation_accuracy)} %, test {_joined(results.test_accuracy)} %"
            tqdm.write(f"{number} of {trials} done, {name}: {accuracies}", file=sys.stdout)
            sys.stdout.flush()

    def message(self, text: str) -> None:
        tqdm.write(f"note: {text}", file=sys.stderr)

    def ends(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def show_run(results: Results, files: Iterable[Path]) -> None:
    """Print the final table and the names of the files."""
    show_accuracies(results.task_names, results.test_accuracy, results.validation_accuracy, results.score_name)
    if results.scores:
        show_metrics(results.scores.test_scores)
    show_rows(results.rows)
    count = results.parameter_count
    print(f"{'parameters':<{_WIDTH}}  {count['nonzero']:11,}    (not zero, of {count['all']:,})")
    if results.compression:
        print(f"{'compressed':<{_WIDTH}}  {_compressed(results.compression)}")
    if results.sparsity_advice:
        print(f"NOT as sparse as asked for: {results.sparsity_advice}")
    print(f"\n{results.seconds['total']:.1f} s in all, {results.seconds['epoch']:.2f} s per epoch")
    show_files(files)


def show_accuracies(
    task_names: Sequence[str], test: Sequence[float], validation: Sequence[float], what: str = "accuracy"
) -> None:
    """Print a line per task and one for their mean."""
    print(f"\n{'':<{_WIDTH}}  {f'test {what}':>13}  {f'validation {what}':>19}")
    for name, *values in zip((*task_names, "mean"), _with_mean(test), _with_mean(validation), strict=True):
        print(f"{name:<{_WIDTH}}  {values[0]:11.2f} %  {values[1]:17.2f} %")


def show_metrics(scores: Mapping[str, Mapping[str, float]]) -> None:
    """Print what the tasks are measured by, on the test data."""
    for name, metrics in scores.items():
        print(f"{name:<{_WIDTH}}  {', '.join(f'{metric} {_number(value)}' for metric, value in metrics.items())}")


def _number(value: float | None) -> str:
    """Four digits, a dash for what is not known."""
    return "-" if value is None or value != value else f"{value:.4g}"


def show_rows(counts: RowCounts) -> None:
    """Print how sparse and how shared the rows are."""
    zero = f"({counts.rows - counts.nonzero} of {counts.rows} rows)"
    print(f"{'sparsity rate':<{_WIDTH}}  {counts.sparsity_rate:11.2f} %  {zero}")
    print(f"{'compression rate':<{_WIDTH}}  {counts.compression_rate:11.2f}")
    print(f"{'parameter sharing':<{_WIDTH}}  {counts.parameter_sharing:11.2f}")


def show_compression(found: Comparison) -> None:
    """Print size and speed of a network before and after its compression."""
    print(f"\n{'':<{_WIDTH}}  {'dense':>12}  {'compressed':>12}")
    for name in ("parameters", "bytes", "multiply_adds"):
        before, after = getattr(found.dense, name), getattr(found.compressed, name)
        print(f"{name.replace('_', '-'):<{_WIDTH}}  {before:>12,}  {after:>12,}")
    for size, before in found.dense.latency_ms.items():
        print(f"{f'ms for {size} images':<{_WIDTH}}  {before:>12.3f}  {found.compressed.latency_ms[size]:>12.3f}")
    same = "the same class for every validation image" if found.same_predictions else "NOT the same classes"
    print(f"{same}; outputs differ by at most {found.max_difference:.1e}")


def show_search(outcome: Outcome, files: Iterable[Path]) -> None:
    """Print a line per candidate, the best one marked, and the names of the files."""
    print(f"\nvalidation {outcome.results[0].score_name}, %: " + ", ".join(outcome.results[0].task_names))
    for place, point in enumerate(outcome.points):
        results = point.results
        accuracies = "  ".join(f"{value:6.2f}" for value in results.validation_accuracy)
        mark = "  <- best" if place == outcome.best else ""
        rows = f"zero rows {results.sparsity_rate:5.1f} %"
        print(f"{point.label}:  {accuracies}  mean {results.mean_accuracy:6.2f}, {rows}{mark}")
    show_failures(outcome)
    show_files([*sorted(outcome.folder.glob("*.csv")), *files])


def show_sizes(outcome: Outcome, sizes: Iterable[Size], files: Iterable[Path]) -> None:
    """Print a line per training of a sparsity study, and the names of the files."""
    print(f"\n{'k_0':>8} {'cap':>5} {'zero rows':>9} {'test':>7} {'parameters':>11} {'kB':>8} {'multiply-adds':>14}")
    for size in sizes:
        print(
            f"{size.k0:8g} {size.cap:5g} {size.sparsity_rate:7.1f} % {size.test_accuracy:5.2f} % "
            f"{size.parameters:11,} {size.kilobytes:8.1f} {size.multiply_adds:14,}"
        )
    show_failures(outcome)
    show_files([*sorted(outcome.folder.glob("*.csv")), *files])


def show_repetitions(outcome: Outcome, files: Iterable[Path]) -> None:
    """Print mean and standard deviation per task, and the names of the files."""
    found = statistics_of(outcome)
    print(f"\ntest {outcome.results[0].score_name}, mean and standard deviation of {len(outcome.points)} repetitions")
    for name, mean, std in zip(found.names, found.mean, found.std, strict=True):
        print(f"{name:<{_WIDTH}}  {mean:6.2f} ± {std:.2f} %")
    show_failures(outcome)
    show_files([*sorted(outcome.folder.glob("repetitions.*")), *files])


def show_study(study: Study, files: Iterable[Path]) -> None:
    """Print a line per preference vector, what they make, and the names of the files."""
    front, outcome = study.losses, study.outcome
    print(f"\nvalidation losses, test {study.best.results.score_name} in %: " + ", ".join(study.task_names))
    for place, point in enumerate(study.points):
        losses = "  ".join(f"{value:.4f}" for value in point.results.validation_losses)
        marks = "  front" * bool(front.mask[place]) + "  <- most accurate" * (place == outcome.best)
        print(f"{point.label}:  {losses}  {_joined(point.results.test_accuracy)}{marks}")
    print(f"\n{front.count} of {len(study.points)} points are not dominated")
    print(f"hypervolume of the losses {front.volume:.5g}, reference point {np.round(front.reference, 4).tolist()}")
    show_failures(outcome)
    show_files([outcome.folder / "front.csv", outcome.folder / "study.json", *files])


def show_comparison(comparison: FrontComparison, files: Iterable[Path]) -> None:
    """Print a line per folder, and the names of the files."""
    width = max(len(item.label) for item in comparison.compared)
    columns = "points  on front  hypervolume: losses    errors  mean test accuracy of the best on validation"
    print(f"\n{'':<{width}}  {columns}")
    for item in comparison.compared:
        volumes = f"{item.losses.volume:8.4g}  {item.errors.volume:8.4g}"
        numbers = f"{len(item.losses.values):6}  {item.losses.count:8}             {volumes}  {item.accuracy:15.2f} %"
        print(f"{item.label:<{width}}  {numbers}")
    first = comparison.compared[0]
    print(f"reference points: losses {np.round(first.losses.reference, 4).tolist()}, "
          f"errors in percent {np.round(first.errors.reference, 2).tolist()}")  # fmt: skip
    for item in comparison.compared:
        if item.losses.outside:
            count = f"{item.losses.outside} of {len(item.losses.values)}"
            print(f"{item.label}: losses of {count} points are beyond the reference point and add no volume")
    show_files(files)


def show_failures(outcome: Outcome) -> None:
    """Print what could not be trained, and why."""
    for failure in outcome.failures:
        print(f"FAILED {failure.name}: {failure.reason}")


def show_files(files: Iterable[Path]) -> None:
    """Print the names of files that were written."""
    print("\nwritten:")
    for path in files:
        print(f"  {path}")


def _compressed(found: Mapping[str, Any]) -> str:
    """Sizes and speed of a network after its compression, and before it in brackets."""
    before, after = found["dense"], found["compressed"]
    shown = [f"{after['parameters']:11,} ({before['parameters']:,}) parameters"]
    shown.append(f"{after['bytes'] / 1000:,.0f} ({before['bytes'] / 1000:,.0f}) kB")
    for size, time in after["latency_ms"].items():
        images = "image" if int(size) == 1 else "images"
        shown.append(f"{time:.2f} ({before['latency_ms'][size]:.2f}) ms for {size} {images}")
    return ", ".join(shown)


def _joined(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in values)


def _with_mean(values: Sequence[float]) -> list[float]:
    return [*values, float(np.mean(values))]
