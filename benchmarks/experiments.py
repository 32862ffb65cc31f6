"""What the experiments on real data share: flags, trials and their rows."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from Data_loaders.registry import dataset_entry
from src.models.registry import check_architecture
from src.utils.command import Parser
from src.utils.console import ConsoleSweepObserver, show_failures
from src.utils.errors import UserError
from src.utils.study.sweep import SweepOutcome, Trial, Workers, fingerprint, run_sweep
from src.utils.training.defaults import default_parameters
from src.utils.training.engine import Observer
from src.utils.training.parameters import TrainingParameters
from src.utils.training.run import RunConfig, load_dataset


def flags_of(description: str | None, architecture: str) -> argparse.Namespace:
    """Flags of an experiment."""
    parser = Parser(description=description)
    parser.add_argument("--architecture", default=architecture, help=f"network [{architecture}]")
    parser.add_argument("--dataset", default="MultiMnist", help="data [MultiMnist]; MultiDigits needs no download")
    parser.add_argument("--data-dir", help="folder of the data sets; default: $MDMTN_DATA, else Data/")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda [auto]")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side [1]")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each setting, from seeds 0, 1, ... [1]")
    parser.add_argument("--output-dir", type=Path, required=True, help="where everything is written")
    parser.add_argument("--t_update", default="exact", help="how t is found: exact or optimizer [exact]")
    return parser.parse_args()


def parameters_of(flags: argparse.Namespace, *, sparsity: bool, **values: Any) -> TrainingParameters:
    """The data set's defaults with other values."""
    check_architecture(flags.architecture)
    backbone = dataset_entry(flags.dataset).backbone
    defaults = default_parameters(backbone, flags.architecture, method="Chebyshev", sparsity=sparsity, demo=False)
    return TrainingParameters(**{**defaults, "t_update": flags.t_update, **values})


def run_experiment(name: str, flags: argparse.Namespace, settings: dict[str, TrainingParameters]) -> SweepOutcome:
    """Train every setting from every seed; trials are named SETTING_seedN."""
    config = RunConfig(
        script=name,
        architecture=flags.architecture,
        dataset=flags.dataset,
        data_dir=flags.data_dir,
        device=flags.device,
        output_dir=str(flags.output_dir),
    )
    if flags.seeds < 1:
        raise UserError(f"seeds is {flags.seeds}; allowed: 1 or more")
    trials = [
        Trial(f"{setting}_seed{seed}", replace(config, seed=seed), parameters)
        for seed in range(flags.seeds)
        for setting, parameters in settings.items()
    ]
    data = load_dataset(config, Observer())
    prints = [fingerprint(trial.config, trial.parameters, data, trial.parameters.w) for trial in trials]
    folder = flags.output_dir / f"{name}_{fingerprint(config, trials[0].parameters, data, prints)}"
    outcome = run_sweep(folder, trials, Workers(flags.jobs), ConsoleSweepObserver(quiet=False))
    show_failures(outcome.failures)
    if not outcome.points:
        raise UserError(f"none of {len(trials)} trainings could be finished")
    return outcome
