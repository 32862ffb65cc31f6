"""What is printed of networks in use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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


def show_answers(task_names: Sequence[str], answers: Sequence[Answer]) -> None:
    """Print a line per picture: the class of each task with its probability."""
    width = max(len(str(answer.image)) for answer in answers)
    for answer in answers:
        said = zip(task_names, answer.classes, answer.probabilities, strict=True)
        shown = ", ".join(f"{task}: {name} ({100 * probability:.1f} %)" for task, name, probability in said)
        print(f"{answer.image!s:<{width}}  {shown}")
