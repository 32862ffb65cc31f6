"""The commands that train nothing: test a model, compare fronts, draw anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from Data_loaders.loaders import make_splits
from src.models.compact import CompactNetwork
from src.models.registry import SavedModel, load_model, save_model
from src.utils.checked import from_plain
from src.utils.command_line.options import CompareOptions, DrawOptions
from src.utils.errors import UserError
from src.utils.report.console import (
    ConsoleObserver,
    show_accuracies,
    show_comparison,
    show_compression,
    show_files,
    show_rows,
)
from src.utils.report.draw import draw
from src.utils.report.fronts import draw_comparison
from src.utils.report.style import pictures_as
from src.utils.runs.compression import compress_trained
from src.utils.runs.config import ROOT, RunConfig, compressed_file
from src.utils.runs.problem import architecture_for, load_dataset, torch_device
from src.utils.sparsity.figures import SECONDS
from src.utils.sparsity.groups import channel_positions
from src.utils.sparsity.metrics import count_layers, total
from src.utils.sparsity.rows import with_rows
from src.utils.study.compare import compare
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.engine import evaluate


@run_arithmetic()
def test_model(path: Path, places: Mapping[str, Any]) -> None:
    """Test a saved model on the test data of its data set, where the flags ``places`` say."""
    saved = load_model(path)
    config, skip_layer = trained_on(path, saved, places)
    dataset = load_dataset(config, ConsoleObserver(quiet=False))
    if saved.architecture != architecture_for(config, dataset):
        raise UserError(f"{path} holds another network than {dataset.name} is for: train the model again")
    splits, network = make_splits(dataset, torch_device(config)), saved.network.to(torch_device(config))
    layers = {} if isinstance(network, CompactNetwork) else network.growl_layers(skip_layer)
    test, validation = evaluate(network, splits.test), evaluate(network, splits.validation)
    show_accuracies(dataset.task_names, test.accuracy, validation.accuracy)
    if layers:
        channels = saved.parameters.get("row_groups") == "channel"
        positions = channel_positions(network, splits.test.images[:1]) if channels else {}
        weights = {name: with_rows(layer.weight, positions.get(name, 1)) for name, layer in layers.items()}
        show_rows(total(count_layers(weights).values()))


@run_arithmetic()
def compress_model(path: Path, places: Mapping[str, Any]) -> None:
    """Write a smaller network with the same answers beside a saved one, and show both, on the validation images."""
    saved = load_model(path)
    if isinstance(saved.network, CompactNetwork):
        raise UserError(f"{path} is compressed already")
    config, _ = trained_on(path, saved, places)
    images = make_splits(load_dataset(config, ConsoleObserver(quiet=False)), torch.device("cpu")).validation.images
    compact, found, figures = compress_trained(saved.network, images, SECONDS)
    small = compressed_file(path)
    save_model(small, compact, saved.architecture, saved.parameters, saved.results)
    show_compression(figures)
    for name, why in found.left.items():
        print(f"left as it is: {name}: {why}")
    show_files([small])


def trained_on(path: Path, saved: SavedModel, places: Mapping[str, Any]) -> tuple[RunConfig, int]:
    """The configuration that names the model's data, and its ``skip_layer``."""
    try:
        data = {name: saved.results[name] for name in ("dataset", "task", "data_seed")}
        names = {"script": "test", "architecture": saved.architecture.name}
        return from_plain(RunConfig, {**names, **data, **places}), int(saved.parameters["skip_layer"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not say what it was trained on ({error}): train the model again") from error


def compare_folders(folders: list[Path], name: str, output_dir: str | None, options: CompareOptions) -> None:
    """Draw the fronts of several folders in one picture."""
    root, message = Path(output_dir).resolve() if output_dir else ROOT, ConsoleObserver(quiet=True).message
    comparison = compare(folders, root, name, options.reference, message)
    with pictures_as(options.figure_format):
        show_comparison(comparison, draw_comparison(comparison))


def draw_folder(folder: Path, options: DrawOptions) -> None:
    """Draw anew what a run, search, study or repetitions draw at their end."""
    with pictures_as(options.figure_format):
        show_files(draw(folder))
