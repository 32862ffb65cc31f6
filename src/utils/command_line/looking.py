"""The commands that train nothing: test a model, compare fronts, draw anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from Data_loaders.loaders import make_splits
from Data_loaders.streams import AnySplits, as_splits
from src.models.compact import CompactNetwork
from src.models.names import COMPRESSED
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
    show_metrics,
    show_rows,
)
from src.utils.report.draw import draw
from src.utils.report.fronts import draw_comparison
from src.utils.report.style import pictures_as
from src.utils.runs.compression import compress_trained, images_to_compare
from src.utils.runs.config import ROOT, RunConfig, compressed_file
from src.utils.runs.own import OwnProblem
from src.utils.runs.problem import architecture_for, load_dataset, positions_in, torch_device
from src.utils.runs.results import trained_with
from src.utils.runs.schema import part_of_results
from src.utils.sparsity.figures import SECONDS
from src.utils.sparsity.metrics import count_layers, total
from src.utils.sparsity.rows import with_rows
from src.utils.study.compare import check_name, compare, write_comparison
from src.utils.tasks import Task
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.evaluation import evaluate, evaluation_batch
from src.utils.training.parameters import TrainingParameters


@dataclass(frozen=True)
class _Known:
    """A saved model with the data that it was trained on."""

    saved: SavedModel
    splits: AnySplits
    tasks: tuple[Task, ...]
    parameters: TrainingParameters


@run_arithmetic()
def test_model(path: Path, places: Mapping[str, Any], own: Callable[[], OwnProblem] | None = None) -> None:
    """Test a saved model on the test data of its data set, where the flags ``places`` say, or of the user's own."""
    known = _known(path, places, own)
    network, parameters = known.saved.network, known.parameters
    layers = {} if isinstance(network, CompactNetwork) else network.growl_layers(parameters.skip_layer)
    test, validation = (
        evaluate(network, data, known.tasks, parameters.criterion, evaluation_batch(parameters.batch_size))
        for data in (known.splits.test, known.splits.validation)
    )
    names = [task.name for task in known.tasks]
    what = "accuracy" if all(task.usual for task in known.tasks) else "score"
    show_accuracies(names, test.accuracy, validation.accuracy, what)
    if what == "score":
        show_metrics(dict(zip(names, test.metrics, strict=True)))
    if layers:
        channels = parameters.row_groups == "channel"
        positions = positions_in(network, known.splits.test) if channels else {}
        weights = {name: with_rows(layer.weight, positions.get(name, 1)) for name, layer in layers.items()}
        show_rows(total(count_layers(weights).values()))


@run_arithmetic()
def compress_model(path: Path, places: Mapping[str, Any], own: Callable[[], OwnProblem] | None = None) -> None:
    """Write a smaller network with the same answers beside a saved one, and show both, on the validation images."""
    known = _known(path, {**places, "device": "cpu"}, own)
    saved = known.saved
    if isinstance(saved.network, CompactNetwork):
        raise UserError(f"{path} is compressed already")
    compact, found, figures = compress_trained(saved.network, images_to_compare(known.splits.validation), SECONDS)
    small = compressed_file(path)
    save_model(small, compact, saved.architecture, saved.parameters, saved.results)
    show_compression(figures)
    for name, why in found.left.items():
        print(f"left as it is: {name}: {why}")
    show_files([small])


def _known(path: Path, places: Mapping[str, Any], own: Callable[[], OwnProblem] | None) -> _Known:
    """A saved model on the device of its data.

    Raises:
        UserError: if it cannot be read, or is not for these data.
    """
    saved = load_model(path, network=own().network()) if own else load_model(path)
    config, parameters = trained_on(path, saved, places)
    device = torch_device(config)
    if own is None:
        dataset = load_dataset(config, ConsoleObserver(quiet=False))
        if saved.architecture != architecture_for(config, dataset) and saved.architecture.name != COMPRESSED:
            raise UserError(f"{path} holds another network than {dataset.name} is for: train the model again")
        splits: AnySplits = make_splits(dataset, device)
        tasks = dataset.tasks
    else:
        splits, tasks = as_splits(own().data, device), own().tasks
    return _Known(replace(saved, network=saved.network.to(device)), splits, tasks, parameters)


def trained_on(path: Path, saved: SavedModel, places: Mapping[str, Any]) -> tuple[RunConfig, TrainingParameters]:
    """The configuration that names the model's data, and what it was trained with."""
    try:
        data = part_of_results(saved.results, "dataset", "task", "data_seed")
    except ValueError as error:
        raise UserError(f"{path} does not say what it was trained on: train the model again") from error
    names = {"script": "test", "architecture": saved.architecture.name}
    config = from_plain(RunConfig, {**names, **data, **places})
    return config, trained_with(path, saved.parameters)


def compare_folders(folders: list[Path], name: str, output_dir: str | None, options: CompareOptions) -> None:
    """Draw the fronts of several folders in one picture."""
    root, message = Path(output_dir).resolve() if output_dir else ROOT, ConsoleObserver(quiet=True).message
    check_name(name)
    comparison = compare(folders, options.reference)
    table = write_comparison(comparison, root, name, message)
    with pictures_as(options.figure_format):
        show_comparison(comparison, [table, *draw_comparison(table.with_suffix(""), comparison)])


def draw_folder(folder: Path, options: DrawOptions) -> None:
    """Draw anew what a run, search, study or repetitions draw at their end."""
    with pictures_as(options.figure_format):
        show_files(draw(folder))
