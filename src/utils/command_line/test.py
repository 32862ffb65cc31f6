"""Test a saved model on the test data of its data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from src.utils.checked import from_plain
from src.utils.command_line.flags import add_config_flags
from src.utils.command_line.parser import Parser
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig

if TYPE_CHECKING:
    from src.models.registry import SavedModel


def test_model(arguments: Sequence[str]) -> None:
    """Read the flags, test and show."""
    parser = Parser(prog="Train_and_Test.py test", description=__doc__)
    parser.add_argument("model", type=Path, help="model file")
    add_config_flags(parser, "device", "data_dir")
    flags = vars(parser.parse_args(arguments))
    from Data_loaders.loaders import make_splits
    from src.models.registry import load_model
    from src.utils.report.console import ConsoleObserver, show_accuracies, show_rows
    from src.utils.runs.problem import architecture_for, load_dataset, torch_device
    from src.utils.sparsity.metrics import count_layers, total
    from src.utils.training.arithmetic import run_arithmetic
    from src.utils.training.engine import evaluate

    path = flags.pop("model")
    saved = load_model(path)
    config, skip_layer = _trained_on(path, saved, flags)
    dataset = load_dataset(config, ConsoleObserver(quiet=False))
    if saved.architecture != architecture_for(config, dataset):
        raise UserError(f"{path} holds another network than {dataset.name} is for: train the model again")
    with run_arithmetic():
        splits = make_splits(dataset, torch_device(config))
        network = saved.network.to(torch_device(config))
        test, validation = evaluate(network, splits.test), evaluate(network, splits.validation)
    show_accuracies(dataset.task_names, test.accuracy, validation.accuracy)
    layers = network.growl_layers(skip_layer)
    show_rows(total(count_layers({name: layer.weight for name, layer in layers.items()}).values()))


def _trained_on(path: Path, saved: SavedModel, flags: dict[str, str]) -> tuple[RunConfig, int]:
    """The configuration that names the model's data, and its ``skip_layer``."""
    try:
        data = {name: saved.results[name] for name in ("dataset", "task", "data_seed")}
        skip_layer = int(saved.parameters["skip_layer"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not say what it was trained on ({error}): train the model again") from error
    return from_plain(
        RunConfig, {"script": "test", "architecture": saved.architecture.name, **data, **flags}
    ), skip_layer
