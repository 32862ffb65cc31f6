"""What the experiments on real data share: flags, trainings and their outcome."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.registry import dataset_entry
from src.models.names import check_architecture
from src.utils.checked import from_plain
from src.utils.command_line.help import add_flags
from src.utils.command_line.options import SweepOptions
from src.utils.command_line.parser import Parser
from src.utils.errors import UserError
from src.utils.files import read_json, write_text
from src.utils.report.console import ConsoleSweepObserver, show_failures
from src.utils.runs.config import ROOT, RunConfig
from src.utils.runs.problem import load_dataset
from src.utils.runs.results import versions
from src.utils.study.sweep import Basis, Outcome, run_sweep
from src.utils.study.trials import Candidate
from src.utils.study.workers import Workers
from src.utils.training.defaults import default_parameters
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Observer

T = TypeVar("T")
_PLACES, _WORKERS = ("data_dir", "device", "output_dir"), ("jobs", "dask")


def add_places_and_workers(parser: Parser) -> None:
    """Flags for where everything is, and who trains."""
    add_flags(parser, RunConfig, _PLACES)
    add_flags(parser, SweepOptions, _WORKERS)


def places_of(flags: argparse.Namespace) -> dict[str, Any]:
    """Where everything is, as far as the flags say it, for a configuration."""
    return {name: getattr(flags, name) for name in _PLACES if name in flags}


def basis_of(
    flags: argparse.Namespace, config: RunConfig, parameters: TrainingParameters, data: MultiTaskDataset
) -> Basis:
    """What trainings share, on the data that a configuration names, by the workers that the flags name."""
    options = from_plain(SweepOptions, {name: getattr(flags, name) for name in _WORKERS if name in flags})
    workers = Workers(options.jobs, options.dask)
    return Basis(config, parameters, data, workers, ConsoleSweepObserver(quiet=False))


def flags_of(description: str | None, architecture: str) -> argparse.Namespace:
    """Flags of an experiment."""
    parser = Parser(description=description)
    parser.add_argument("--architecture", default=architecture, help=f"network [{architecture}]")
    parser.add_argument("--dataset", default="MultiMnist", help="data [MultiMnist]; MultiDigits needs no download")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each setting, from seeds 0, 1, ... [1]")
    parser.add_argument("--t_update", default="exact", help="how t is found: exact or optimizer [exact]")
    add_places_and_workers(parser)
    flags = parser.parse_args()
    if flags.seeds < 1:
        raise UserError(f"seeds is {flags.seeds}; allowed: 1 or more")
    return flags


def parameters_of(flags: argparse.Namespace, *, sparsity: bool, **values: Any) -> TrainingParameters:
    """The data set's defaults with other values."""
    check_architecture(flags.architecture)
    backbone = dataset_entry(flags.dataset).backbone
    schedule = values.get("schedule", "reference")
    defaults = default_parameters(
        backbone, flags.architecture, method="Chebyshev", sparsity=sparsity, demo=False, schedule=schedule
    )
    return TrainingParameters(**{**defaults, "t_update": flags.t_update, **values})


def from_every_seed(flags: argparse.Namespace, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Each candidate with each seed."""
    return [{**candidate, "seed": seed} for seed in range(flags.seeds) for candidate in candidates]


def run_experiment(
    name: str, flags: argparse.Namespace, parameters: TrainingParameters, candidates: Sequence[Candidate]
) -> Outcome:
    """Train every candidate."""
    task = 0 if flags.architecture == "STL" else None
    names = {"script": name, "architecture": flags.architecture, "dataset": flags.dataset, "task": task}
    config = RunConfig(**names, **places_of(flags))
    basis = basis_of(flags, config, parameters, load_dataset(config, Observer()))
    outcome = run_sweep("experiment", name, basis, basis.trials(candidates))
    show_failures(outcome)
    return outcome


def keep_rows(file_name: str, flags: argparse.Namespace, outcome: Outcome, rows: Sequence[Any]) -> Path:
    """Write what was found of an architecture beside that of others, and with what; returns the file.

    It is in ``results/``, from which ``python -m benchmarks.reproduce --table`` makes tables and pictures; of other
    data than MultiMNIST in the folder of the trainings.

    Args:
        file_name: of the experiment.
        flags, outcome: of the experiment.
        rows: frozen dataclasses of plain values.
    """
    file = (ROOT / "results" if flags.dataset == "MultiMnist" else outcome.folder) / file_name
    known = read_json(file) if file.exists() else {}
    run_with = {"t_update": flags.t_update, "seeds": flags.seeds, "revision": revision(), "versions": versions()}
    found = {**run_with, "rows": [asdict(row) for row in rows]}
    parts = [
        f'"{name}": {json_with_lines(part, "rows")}'
        for name, part in sorted({**known, flags.architecture: found}.items())
    ]
    write_text(file, "{{{}}}\n".format(",\n".join(parts)))
    return file


def json_with_lines(content: Mapping[str, Any], rows: str) -> str:
    """JSON of a mapping whose entry of that name, its last, has a line per row."""
    lines = ",\n".join(json.dumps(row) for row in content[rows])
    others = json.dumps({name: value for name, value in content.items() if name != rows})
    return f'{others[:-1]}, "{rows}": [\n{lines}\n]}}'


def read_rows(file: Path, kind: type[T]) -> dict[str, list[T]]:
    """Inverse of :func:`keep_rows`: rows by architecture; none where there is no file."""
    known = read_json(file) if file.exists() else {}
    return {name: [from_plain(kind, row) for row in part["rows"]] for name, part in known.items()}


def revision() -> str | None:
    """Of the program; with a plus where files have been changed since, but for the results, which it writes itself."""
    changes = ("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results")
    try:
        head, changed = (
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short", "HEAD"), changes)
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+" if changed else head
