"""How fast everything is, in ratios: measured in turns, in one run, on one machine.

    python -m benchmarks.speed --data-dir DATA [--only steps parts] [--datasets MultiMnist] [--threads 1]

What is compared takes turns, so that a slow moment of the machine meets all of it: the median over the rounds is shown,
and of the ratio in each round the median, the smallest and the largest.

steps: a training step against that of a plain weighted sum of the losses, in fp32 and bf16. parts: what a step is made
of, and its share of the machine's rate of matrix products. data: batches against a DataLoader with PIL transforms.
mgda: a step by multiple gradient descent, TorchJD's beside it where that is installed. growth: with tasks, rows and the
vectors of a study. Everything goes to results/speed.json, from which ``python -m benchmarks.reproduce --table`` makes
the tables.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed_of_parts import (
    batches_from_loader,
    growth_with_rows,
    growth_with_tasks,
    growth_with_vectors,
    torchjd_step,
)
from Data_loaders.registry import dataset_entry
from Data_loaders.streams import epoch_batches
from src.models.multi_task import TrunkNetwork
from src.utils.command_line.parser import Parser, exit_code
from src.utils.errors import UserError
from src.utils.files import write_text
from src.utils.report.console import show_files
from src.utils.runs.config import ROOT, RunConfig
from src.utils.runs.problem import Problem, load_problem, torch_device
from src.utils.runs.results import versions
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.defaults import default_parameters
from src.utils.training.engine import Trainer, make_optimizer
from src.utils.training.methods import make_method
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Observer

ROUNDS, STEPS = 7, 12
WHAT = ("steps", "parts", "data", "mgda", "growth")
Work = Callable[[], object]
Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Timing:
    """How long something takes.

    Attributes:
        group: what it is compared within.
        name: what it is.
        ms: milliseconds, median.
        ratio, low, high: to the first of the group: median, smallest and largest of the rounds; or a share.
    """

    group: str
    name: str
    ms: float
    ratio: float
    low: float
    high: float


@run_arithmetic()
def main() -> None:
    """Measure, print and write."""
    flags = _flags()
    torch.set_num_threads(flags.threads)
    timings: list[Timing] = []
    for dataset in flags.datasets:
        setting = _Setting.of(dataset, flags)
        for what in (name for name in flags.only if name != "growth"):
            timings += _MEASURES[what](setting, dataset)
    if "growth" in flags.only:
        timings += _growth(flags)
    device = torch_device(RunConfig(script="speed", architecture="HPS", dataset="MultiMnist", device=flags.device))
    for timing in timings:
        print(
            f"{timing.group:40} {timing.name:44} {timing.ms:9.3f} ms  x {timing.ratio:.3f} "
            f"({timing.low:.3f} to {timing.high:.3f})"
        )
    report = {
        "device": str(device),
        "threads": flags.threads,
        "gflops_of_matrix_product": round(_matmul_rate(device), 1),
        "versions": versions(),
        "timings": [asdict(timing) for timing in timings],
    }
    file = Path(flags.results)
    write_text(file, json.dumps(report, indent=1) + "\n")
    show_files([file])


def _flags() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(WHAT), metavar="WHAT", help=f"of {', '.join(WHAT)} [all]")
    parser.add_argument("--datasets", nargs="+", default=["MultiMnist", "Cifar10Mnist"], metavar="NAME")
    parser.add_argument("--architecture", default="MDMTN", metavar="NAME", help="[MDMTN]")
    parser.add_argument("--data-dir")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="[1]")
    parser.add_argument("--results", default=str(ROOT / "results" / "speed.json"), help="[results/speed.json]")
    flags = parser.parse_args()
    unknown = set(flags.only) - set(WHAT)
    if unknown:
        raise UserError(f"only is {', '.join(sorted(unknown))}; allowed: {', '.join(WHAT)}")
    if flags.threads < 1:
        raise UserError(f"threads is {flags.threads}; allowed: 1 or more")
    return flags


@dataclass(frozen=True)
class _Setting:
    """A network with data, and the defaults of its training."""

    problem: Problem
    parameters: TrainingParameters
    device: torch.device

    @staticmethod
    def of(dataset: str, flags: argparse.Namespace, architecture: str | None = None) -> _Setting:
        config = RunConfig(
            script="speed",
            architecture=architecture or flags.architecture,
            dataset=dataset,
            device=flags.device,
            data_dir=flags.data_dir,
        )
        backbone = dataset_entry(dataset).backbone
        defaults = default_parameters(backbone, config.architecture, method="Chebyshev", sparsity=True, demo=False)
        parameters = TrainingParameters(**defaults)
        return _Setting(load_problem(config, parameters, Observer()), parameters, torch_device(config))

    def batches(self) -> Batches:
        epoch = 0
        while True:
            yield from epoch_batches(self.problem.splits, self.parameters.batch_size, seed=epoch)
            epoch += 1

    def plain(self, precision: str, batches: Batches) -> Work:
        """Forward, sum of the weighted losses, backward, optimizer: nothing else."""
        network, weights = self.problem.network, self.parameters.w[1:]
        optimizer = make_optimizer(self.parameters, [{"params": list(network.parameters())}], self.device)

        def step() -> None:
            images, labels = next(batches)
            optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"):
                outputs = network(images)
            losses = [
                w * cross_entropy(out.float(), labels[:, i])
                for i, (w, out) in enumerate(zip(weights, outputs, strict=True))
            ]
            torch.stack(losses).sum().backward()
            optimizer.step()

        return step

    def ours(self, batches: Batches, **changes: object) -> Work:
        """A step of the training loop."""
        parameters = self.parameters.changed(**changes)
        method = make_method(self.problem.network, parameters, self.device)
        optimizer = Trainer(self.problem.network, method, self.problem.splits, parameters).make_optimizer()

        def step() -> None:
            images, labels = next(batches)
            optimizer.zero_grad()
            method.backward(self.problem.network, images, labels)
            optimizer.step()

        return step


def compared(group: str, variants: Mapping[str, Work], device: torch.device, steps: int = STEPS) -> list[Timing]:
    """Times of works that take turns; ratios to the first."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, work in variants.items():
            times[name].append(_seconds(work, device, steps))
    first = next(iter(times.values()))
    found = []
    for name, values in times.items():
        ratios = [value / base for value, base in zip(values, first, strict=True)]
        ms = 1e3 * statistics.median(values)
        found.append(Timing(group, name, ms, statistics.median(ratios), min(ratios), max(ratios)))
    return found


def _seconds(work: Work, device: torch.device, steps: int) -> float:
    """Of one call, after a call to warm up."""
    work()
    _wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        work()
    _wait(device)
    return (time.perf_counter() - started) / steps


def _steps(setting: _Setting, dataset: str) -> list[Timing]:
    batches = setting.batches()
    variants = {
        "plain weighted sum": setting.plain("fp32", batches),
        "this method, without sparsity": setting.ours(batches, w=(0.0, 0.35, 0.65)),
        "this method": setting.ours(batches),
        "plain weighted sum, forward pass in bf16": setting.plain("bf16", batches),
        "this method, `--precision bf16`": setting.ours(batches, precision="bf16"),
    }
    return compared(f"step, {dataset}", variants, setting.device)


def _parts(setting: _Setting, dataset: str) -> list[Timing]:
    """The parts of a step, as shares of it, and its rate of arithmetic as a share of that of matrix products."""
    network, batches, device = setting.problem.network, setting.batches(), setting.device
    method = make_method(network, setting.parameters, device)
    optimizer = Trainer(network, method, setting.problem.splits, setting.parameters).make_optimizer()
    rounds: list[list[float]] = []
    for _ in range(ROUNDS * STEPS):
        clock = _Clock(device)
        images, labels = next(batches)
        clock.stop()
        optimizer.zero_grad()
        outputs = network(images)
        clock.stop()
        batch = method(outputs, labels)
        clock.stop()
        batch.minimised.backward()
        clock.stop()
        optimizer.step()
        clock.stop()
        rounds.append(clock.seconds)
    names = ("batch and augmentation", "forward pass", "objectives and multipliers", "backward pass", "optimizer")
    rounds = rounds[STEPS:]
    whole = [sum(parts) for parts in rounds]
    found = [
        _share(f"parts of a step, {dataset}", name, [parts[place] for parts in rounds], whole)
        for place, name in enumerate(names)
    ]
    with FlopCounterMode(display=False) as counter:
        method(network(images), labels).minimised.backward()
    arithmetic = [counter.get_total_flops() / _matmul_rate(device) / 1e9] * len(whole)
    return [
        *found,
        _share(f"parts of a step, {dataset}", "its arithmetic at the rate of a matrix product", arithmetic, whole),
    ]


class _Clock:
    """Seconds between stops."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: list[float] = []
        self._device = device
        self._last = time.perf_counter()

    def stop(self) -> None:
        _wait(self._device)
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now


def _share(group: str, name: str, part: list[float], whole: list[float]) -> Timing:
    shares = statistics.quantiles([one / all_ for one, all_ in zip(part, whole, strict=True)], n=10)
    middle = statistics.median(part) / statistics.median(whole)
    return Timing(group, name, 1e3 * statistics.median(part), middle, shares[0], shares[-1])


def _data(setting: _Setting, dataset: str) -> list[Timing]:
    batches, theirs = setting.batches(), batches_from_loader(setting.problem, setting.parameters.batch_size)
    variants = {"a training batch": lambda: next(batches), "of a DataLoader with PIL transforms": lambda: next(theirs)}
    return compared(f"batch of {setting.parameters.batch_size}, {dataset}", variants, setting.device, steps=4)


def _mgda(setting: _Setting, dataset: str) -> list[Timing]:
    batches, equal = setting.batches(), (0.0, 0.5, 0.5)
    variants = {
        "plain weighted sum": setting.plain("fp32", batches),
        "MGDA": setting.ours(batches, method="MGDA", w=equal),
    }
    network = setting.problem.network
    optimizer = make_optimizer(setting.parameters, [{"params": list(network.parameters())}], setting.device)
    theirs = torchjd_step(network, optimizer, batches) if isinstance(network, TrunkNetwork) else None
    variants |= {"MGDA of TorchJD": theirs} if theirs else {}
    return compared(f"MGDA step, {dataset}", variants, setting.device)


def _growth(flags: argparse.Namespace) -> list[Timing]:
    setting = _Setting.of(flags.datasets[0], flags, "HPS")
    found = []
    for group, works in (
        ("GrOWL's proximal operator, rows of 50", growth_with_rows(setting.device)),
        ("objectives and multipliers, tasks", growth_with_tasks(setting.device)),
        ("min-norm weights, tasks", growth_with_tasks(setting.device, min_norm=True)),
        (f"step of a study of HPS, {flags.datasets[0]}", growth_with_vectors(setting.problem, setting.parameters)),
    ):
        found += compared(group, works, setting.device, steps=3)
    return found


_MEASURES: Mapping[str, Callable[[_Setting, str], list[Timing]]] = {
    "steps": _steps,
    "parts": _parts,
    "data": _data,
    "mgda": _mgda,
}


def _matmul_rate(device: torch.device) -> float:
    """GFLOP/s of a 2048 x 2048 matrix product in float32."""
    matrix = torch.randn(2048, 2048, device=device)
    return 2 * 2048**3 / statistics.median(_seconds(lambda: matrix @ matrix, device, 1) for _ in range(7)) / 1e9


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(exit_code(main))
