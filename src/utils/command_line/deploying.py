"""The commands that put trained networks to use: export, predict, choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.models.registry import load_model
from src.utils.command_line.looking import trained_on
from src.utils.deployment.inputs import Inputs
from src.utils.deployment.onnx import SUFFIX, export, needed
from src.utils.deployment.predict import predict
from src.utils.report.console import ConsoleObserver
from src.utils.report.deployed import show_answers, show_export
from src.utils.runs.problem import load_dataset
from src.utils.training.arithmetic import run_arithmetic


@run_arithmetic()
def export_model(path: Path, places: Mapping[str, Any], *, int8: bool) -> None:
    """Write a saved model in the format ONNX beside it, and show how it answers the test images."""
    saved = load_model(path)
    inputs = Inputs.of_results(path, saved.results)
    for package in ("onnx", "onnxscript", "onnxruntime"):  # before data are loaded
        needed(package)
    config, _ = trained_on(path, saved, places)
    data = load_dataset(config, ConsoleObserver(quiet=False))
    target = path.with_name(f"{path.stem}{'_int8' if int8 else ''}{SUFFIX}")
    show_export(path, inputs.task_names, export(saved.network, inputs, data, target, int8=int8))


def predict_images(model: Path, images: Sequence[Path]) -> None:
    """Show the class of every task and its probability for pictures."""
    inputs, answers = predict(model, images)
    show_answers(inputs.task_names, answers)
