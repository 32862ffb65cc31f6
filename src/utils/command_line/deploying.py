"""The commands that put trained networks to use: export, predict, choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.models.registry import load_model
from src.utils.checked import from_plain
from src.utils.command_line.looking import trained_on
from src.utils.command_line.options import ModelsOptions
from src.utils.deployment.catalogue import Budget, choose, find_models
from src.utils.deployment.inputs import Inputs
from src.utils.deployment.onnx import SUFFIX, check_packages, export
from src.utils.deployment.predict import predict
from src.utils.report.choice import draw_models
from src.utils.report.console import ConsoleObserver, show_files
from src.utils.report.deployed import show_answers, show_best, show_export, show_models
from src.utils.report.style import pictures_as
from src.utils.runs.config import RunConfig
from src.utils.runs.problem import load_dataset
from src.utils.training.arithmetic import run_arithmetic


@run_arithmetic()
def export_model(path: Path, places: Mapping[str, Any], *, int8: bool) -> None:
    """Write a saved model in the format ONNX beside it, and show how it answers the test images."""
    saved = load_model(path)
    inputs = Inputs.of_results(path, saved.results)
    check_packages()  # before data are loaded
    config, _ = trained_on(path, saved, places)
    data = load_dataset(config, ConsoleObserver(quiet=False))
    target = path.with_name(f"{path.stem}{'_int8' if int8 else ''}{SUFFIX}")
    show_export(path, inputs.task_names, export(saved.network, inputs, data, target, int8=int8))


@run_arithmetic()
def list_models(places: Mapping[str, Any], options: ModelsOptions) -> None:
    """Show all saved models within a budget, name the most accurate of each data set, and draw them."""
    config = from_plain(RunConfig, {"script": "models", "architecture": "any", "dataset": "any", **places})
    budget = Budget(options.max_bytes, options.max_ms, options.max_multiply_adds)
    chosen, pictures = choose(find_models(config, ConsoleObserver(quiet=False).message), budget), []
    for (dataset, tasks), entries in chosen.items():
        show_models(entries)
        show_best(entries[0], within=budget != Budget())
        name = "_".join(["models", *(task.replace(" ", "_") for task in tasks)])
        with pictures_as(options.figure_format):
            pictures += draw_models(config.root / "Images" / dataset / f"{name}.png", entries, entries[0])
    show_files(pictures)


def predict_images(model: Path, images: Sequence[Path]) -> None:
    """Show the class of every task and its probability for pictures."""
    inputs, answers = predict(model, images)
    show_answers(inputs.task_names, answers)
