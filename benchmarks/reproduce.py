"""Train everything whose figures are in the README and in docs/, and write their tables.

    python -m benchmarks.reproduce --data-dir DATA --output-dir OUT --jobs 2
    python -m benchmarks.reproduce --only MDMTN_MM_sparse HPS_MM_dense --seeds 3 --missing
    python -m benchmarks.reproduce --collect OUT/logs --revision 1a2b3c4
    python -m benchmarks.reproduce --table

Trainings go on where they stopped. Each leaves a line in results/<case>.jsonl: what was reached, on which revision,
data and machine, with which versions, in how many seconds. --collect makes such lines of finished runs of the scripts
instead, of those whose parameters are a case's. Of runs that are shown, and of Pareto studies among what is collected,
results/shown/ keeps what their pictures need. --table writes the tables between their markers in README.md and docs/
and the pictures, from what is in results/ alone; --list names the cases.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import CASES, Case
from benchmarks.experiments import add_places_and_workers, basis_of, places_of, revision
from benchmarks.pictures import PICTURES, draw
from benchmarks.shown import keep_run, keep_study
from benchmarks.tables import read_lines, write_tables
from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import make_splits
from Data_loaders.registry import dataset_entry
from src.models.registry import load_model
from src.utils.checked import from_plain
from src.utils.command_line.parser import Parser, exit_code
from src.utils.errors import UserError
from src.utils.files import write_text
from src.utils.report.console import show_failures, show_files
from src.utils.runs.compression import compress_trained
from src.utils.runs.config import MODEL, RESULTS, ROOT, RunConfig
from src.utils.runs.problem import load_dataset
from src.utils.runs.results import Results, read_results
from src.utils.sparsity.figures import SECONDS
from src.utils.study.record import RECORD
from src.utils.study.sweep import run_sweep
from src.utils.study.teachers import train_teachers
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Observer

SEEDS = 5


@dataclass(frozen=True)
class Line:
    """What a run reached, and what it depends on: a line of ``results/<case>.jsonl``.

    Attributes:
        case, seed, data_seed: what was run.
        test_accuracy, validation_accuracy: percent per task.
        sparsity_rate, compression_rate, parameter_sharing: of the layers under GrOWL, see ``docs/training.md``.
        compression: figures of the network before and after it is compressed.
        seconds: of the training.
        revision: of the program, None where it is not known.
        data: checksum of the data set.
        device, versions: where and with what it was run.
    """

    case: str
    seed: int
    data_seed: int
    test_accuracy: tuple[float, ...]
    validation_accuracy: tuple[float, ...]
    sparsity_rate: float
    compression_rate: float
    parameter_sharing: float
    compression: dict[str, Any]
    seconds: float
    revision: str | None
    data: str
    device: str
    versions: dict[str, str]


def main() -> None:
    """Run, collect or write tables."""
    flags = _flags()
    if flags.list:
        print("\n".join(f"{name:20} {case.command}" for name, case in CASES.items()))
    elif flags.table:
        show_files([*write_tables(ROOT, Path(flags.results)), *draw(ROOT / PICTURES, Path(flags.results))])
    elif flags.collect:
        for name, lines in _collected(flags).items():
            _write_lines(Path(flags.results), name, lines)
        for folder in _below(flags.collect, RECORD):
            if keep_study(Path(flags.results), folder):
                print(f"kept the study in {folder}")
    else:
        for name in flags.only or CASES:
            if seeds := _seeds(name, flags):
                _write_lines(Path(flags.results), name, _trained(name, flags, seeds))


def _flags() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="CASE", help="cases to train [all]")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"trainings of each, from seeds 0, 1, ... [{SEEDS}]")
    parser.add_argument("--missing", action="store_true", help="train from those seeds only that have no line yet")
    parser.add_argument("--demo", action="store_true", help="bundled data and short schedules, to see that it works")
    parser.add_argument("--results", default=str(ROOT / "results"), help="folder of the lines [results]")
    parser.add_argument("--collect", nargs="+", metavar="FOLDER", help="take finished runs below these folders")
    parser.add_argument("--revision", help="of the program that those were run with")
    parser.add_argument("--table", action="store_true", help="write the tables")
    parser.add_argument("--list", action="store_true", help="name the cases")
    add_places_and_workers(parser)
    flags = parser.parse_args()
    unknown = set(flags.only or ()) - set(CASES)
    if unknown:
        raise UserError(f"only is {', '.join(sorted(unknown))}; allowed: {', '.join(CASES)}")
    if flags.seeds < 1:
        raise UserError(f"seeds is {flags.seeds}; allowed: 1 or more")
    if flags.demo and Path(flags.results).resolve() == ROOT / "results":
        raise UserError("results is that of the project; allowed with --demo: another folder")
    return flags


def _config(case: Case, flags: argparse.Namespace) -> RunConfig:
    values = places_of(flags)
    values["dataset"] = dataset_entry(case.dataset).demo if flags.demo else case.dataset
    values |= {name: getattr(case, name) for name in ("script", "architecture", "task", "data_seed")}
    return RunConfig(**values)


def _seeds(name: str, flags: argparse.Namespace) -> list[int]:
    """The seeds that a case is to be trained from."""
    lines = read_lines(Path(flags.results) / f"{name}.jsonl") if flags.missing else []
    return sorted(set(range(flags.seeds)) - {line["seed"] for line in lines})


def _trained(name: str, flags: argparse.Namespace, seeds: Sequence[int]) -> list[Line]:
    """Train a case from these seeds."""
    case = CASES[name]
    config = _config(case, flags)
    data = load_dataset(config, Observer())
    basis = basis_of(flags, config, case.parameters(demo=flags.demo), data)
    if case.teacher:
        teachers = train_teachers(replace(basis, parameters=case.teacher.parameters(demo=flags.demo)))
        basis = replace(basis, config=replace(config, teachers=teachers))
    outcome = run_sweep("experiment", f"reproduce_{name}", basis, basis.trials([{"seed": seed} for seed in seeds]))
    show_failures(outcome)
    for found in outcome.results:
        keep_run(Path(flags.results), name, found, data)
    at = revision()
    return [_line(name, results, data, at) for results in outcome.results]


def _collected(flags: argparse.Namespace) -> dict[str, list[Line]]:
    """Lines of the finished runs below folders whose parameters are those of a case, by case."""
    lines: dict[str, list[Line]] = {}
    data: dict[str, MultiTaskDataset] = {}
    for folder in _below(flags.collect, RESULTS):
        results = read_results(folder)
        name = _case_of(results)
        if name is None or (flags.only and name not in flags.only):
            print(f"left out, no case has its parameters: {folder}")
            continue
        key = f"{results.dataset} {results.data_seed} {results.task}"
        if key not in data:
            data[key] = load_dataset(_config(CASES[name], flags), Observer())
        keep_run(Path(flags.results), name, results, data[key])
        lines.setdefault(name, []).append(_line(name, results, data[key], flags.revision))
    return lines


def _below(folders: Sequence[str], file: str) -> Iterator[Path]:
    """Folders that have a file of that name."""
    for folder in folders:
        yield from sorted(path.parent for path in Path(folder).rglob(file))


def _case_of(results: Results) -> str | None:
    """The case that a run was one of."""
    for name, case in CASES.items():
        of_case = (case.architecture, case.dataset, case.task, case.data_seed)
        same = of_case == (results.architecture, results.dataset, results.task, results.data_seed)
        if same and case.parameters() == from_plain(TrainingParameters, results.parameters):
            return name
    return None


@run_arithmetic()
def _line(name: str, results: Results, data: MultiTaskDataset, revision: str | None) -> Line:
    """A line of a finished run, whose network is compressed and measured here, when nothing else is trained."""
    network = load_model(results.folder / MODEL).network
    images = make_splits(data, torch.device("cpu")).validation.images
    return Line(
        case=name,
        seed=results.seed,
        data_seed=results.data_seed,
        test_accuracy=results.test_accuracy,
        validation_accuracy=results.validation_accuracy,
        sparsity_rate=results.rows.sparsity_rate,
        compression_rate=results.rows.compression_rate,
        parameter_sharing=results.rows.parameter_sharing,
        compression=compress_trained(network, images, SECONDS)[2].as_plain(),
        seconds=round(results.seconds["total"], 1),
        revision=revision,
        data=data.checksum,
        device=results.device,
        versions=results.versions,
    )


def _write_lines(folder: Path, name: str, lines: Sequence[Line]) -> None:
    """Add lines to those of a case; one of the same seeds is replaced."""
    path = folder / f"{name}.jsonl"
    known = {(line["seed"], line["data_seed"]): line for line in read_lines(path)}
    known |= {(line.seed, line.data_seed): json.loads(json.dumps(asdict(line))) for line in lines}
    write_text(path, "".join(json.dumps(known[key]) + "\n" for key in sorted(known)))
    print(f"{path}: {len(known)} lines")


if __name__ == "__main__":
    sys.exit(exit_code(main))
