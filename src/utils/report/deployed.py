"""What is printed of networks in use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from src.utils.deployment.catalogue import Entry
from src.utils.deployment.onnx import Export
from src.utils.deployment.predict import Answer
from src.utils.report.console import show_files

_WIDTH = 17


def show_export(source: Path, task_names: Sequence[str], found: Export) -> None:
    """Print how an exported network answers, its size and speed, and its file."""
    print(f"\n{'test accuracy, %':<{_WIDTH}}  {'torch':>12}  {'ONNX Runtime':>12}")
    for name, before, after in zip(task_names, found.accuracy_before, found.accuracy, strict=True):
        print(f"{name:<{_WIDTH}}  {before:>12.2f}  {after:>12.2f}")
    print(f"{'bytes':<{_WIDTH}}  {source.stat().st_size:>12,}  {found.bytes:>12,}")
    for size, time in found.latency_ms.items():
        print(f"{f'ms for {size} images':<{_WIDTH}}  {'':>12}  {time:>12.3f}")
    answers = found.images * len(task_names)
    same = f"{answers - found.other_classes:,} of {answers:,} answers to {found.images:,} test images are torch's"
    print(f"{same}; logits differ by at most {found.max_difference:.1e}")
    show_files([found.path])


def show_models(entries: Sequence[Entry]) -> None:
    """Print a line per model of one data set, the most accurate first."""
    first = entries[0]
    print(f"\n{first.dataset}: {', '.join(first.task_names)}")
    width = max(len(_name(entry)) for entry in entries)
    head = f"{'model':<{width}}  {'valid. %':>8}  {'test %':>6}  {'zero %':>6}  {'parameters':>10}  {'bytes':>11}"
    print(f"{head}  {'multiply-adds':>13}  {'ms for 1':>8}  {'for 256':>7}  test {first.score_name} per task, file")
    for entry in entries:
        cost = entry.figures
        accuracy = f"{entry.mean_accuracy:8.2f}  {entry.mean_test_accuracy:6.2f}  {entry.sparsity_rate:6.1f}"
        size = f"{cost.parameters:>10,}  {cost.bytes:>11,}  {cost.multiply_adds:>13,}"
        time = f"{cost.latency_ms[1]:8.3f}  {cost.latency_ms[256]:7.2f}"
        tasks = " / ".join(f"{value:.2f}" for value in entry.test_accuracy)
        print(f"{_name(entry):<{width}}  {accuracy}  {size}  {time}  {tasks}  {entry.path}")


def show_best(best: Entry, *, within: bool) -> None:
    """Print the most accurate model of a data set."""
    accuracies = f"validation {best.mean_accuracy:.2f} %, test {best.mean_test_accuracy:.2f} %"
    print(f"most accurate{' within the budget' if within else ''}: {best.path} ({accuracies})")


def _name(entry: Entry) -> str:
    k = ", ".join(f"{value:.4g}" for value in entry.k)
    return f"{entry.architecture} k ({k}) seed {entry.seed}{' compressed' if entry.compressed else ''}"


def show_answers(task_names: Sequence[str], answers: Sequence[Answer]) -> None:
    """Print a line per picture: the class of each task with its probability."""
    width = max(len(str(answer.image)) for answer in answers)
    for answer in answers:
        said = zip(task_names, answer.classes, answer.probabilities, strict=True)
        shown = ", ".join(f"{task}: {name} ({100 * probability:.1f} %)" for task, name, probability in said)
        print(f"{answer.image!s:<{width}}  {shown}")
