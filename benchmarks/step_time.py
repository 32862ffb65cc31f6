"""Time of a training step beside that of a plain weighted sum of the losses, in one run on one machine.

    python -m benchmarks.step_time --data-dir DATA [--dataset MultiMnist] [--architecture MDMTN] [--threads 1]

The variants take turns, so that a slow moment of the machine meets all of them; the median of each is shown, with its
ratio to the plain loop, the seconds per epoch that follow from it, and the machine's rate of matrix multiplication.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from Data_loaders.registry import dataset_entry
from Data_loaders.streams import epoch_batches
from src.utils.command_line.parser import Parser, exit_code
from src.utils.errors import UserError
from src.utils.runs.config import RunConfig
from src.utils.runs.problem import Problem, load_problem, torch_device
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.defaults import default_parameters
from src.utils.training.engine import Trainer, make_optimizer
from src.utils.training.evaluation import evaluate
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Observer

Step = Callable[[Tensor, Tensor], None]
ROUNDS, STEPS = 7, 20


@run_arithmetic()
def main() -> None:
    """Measure and print."""
    parser = Parser(description=__doc__)
    parser.add_argument("--dataset", default="MultiMnist")
    parser.add_argument("--architecture", default="MDMTN")
    parser.add_argument("--data-dir")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    if flags.threads < 1:
        raise UserError(f"threads is {flags.threads}; allowed: 1 or more")
    torch.set_num_threads(flags.threads)
    config = RunConfig(
        script="benchmark",
        architecture=flags.architecture,
        dataset=flags.dataset,
        device=flags.device,
        data_dir=flags.data_dir,
    )
    device = torch_device(config)
    backbone = dataset_entry(flags.dataset).backbone
    defaults = default_parameters(backbone, flags.architecture, method="Chebyshev", sparsity=True, demo=False)
    sparse = TrainingParameters(**defaults)
    problem = load_problem(config, sparse, Observer())
    rounded = sparse.changed(precision="bf16")
    variants = {
        "plain weighted sum": _plain(problem, sparse, device),
        "this method, without sparsity": _ours(problem, sparse.changed(w=(0.0, 0.35, 0.65)), device),
        "this method, with sparsity": _ours(problem, sparse, device),
        "plain weighted sum, bf16": _plain(problem, rounded, device),
        "this method, with sparsity, bf16": _ours(problem, rounded, device),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    batches = _endless(problem, sparse.batch_size)
    for _ in range(ROUNDS):
        for name, step in variants.items():
            times[name].append(_time(step, batches, device))
    started = time.perf_counter()
    evaluate(problem.network, problem.splits.validation)
    validation = time.perf_counter() - started
    steps = problem.splits.train.steps(sparse.batch_size)
    print(f"{flags.architecture} on {flags.dataset}, {device}, {flags.threads} thread(s), torch {torch.__version__}")
    print(f"matrix product 2048 x 2048: {_matmul_rate(device):.0f} GFLOP/s; validation {validation:.2f} s")
    reference = statistics.median(times["plain weighted sum"])
    for name, values in times.items():
        median = statistics.median(values)
        print(
            f"{name:<32} {1e3 * median:8.2f} ms per step  x{median / reference:.3f}  "
            f"{steps * median + validation:7.2f} s per epoch with validation"
        )


def _plain(problem: Problem, parameters: TrainingParameters, device: torch.device) -> Step:
    """Forward, sum of the weighted losses, backward, optimizer: nothing else."""
    optimizer = make_optimizer(parameters, [{"params": list(problem.network.parameters())}], device)
    weights, bf16 = parameters.w[1:], parameters.precision == "bf16"

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs = problem.network(images)
        losses = [
            w * cross_entropy(out.float(), labels[:, i])
            for i, (w, out) in enumerate(zip(weights, outputs, strict=True))
        ]
        torch.stack(losses).sum().backward()
        optimizer.step()

    return step


def _ours(problem: Problem, parameters: TrainingParameters, device: torch.device) -> Step:
    """A step of the training loop."""
    method = ChebyshevMethod(problem.network, parameters, device)
    trainer = Trainer(problem.network, method, problem.splits, parameters)
    optimizer = trainer.make_optimizer()

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        method.backward(problem.network, images, labels)
        optimizer.step()

    return step


def _endless(problem: Problem, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    epoch = 0
    while True:
        yield from epoch_batches(problem.splits, batch_size, seed=epoch)
        epoch += 1


def _time(step: Step, batches: Iterator[tuple[Tensor, Tensor]], device: torch.device) -> float:
    """Seconds per step, loading the batch included."""
    for _ in range(3):
        step(*next(batches))
    _wait(device)
    started = time.perf_counter()
    for _ in range(STEPS):
        step(*next(batches))
    _wait(device)
    return (time.perf_counter() - started) / STEPS


def _matmul_rate(device: torch.device) -> float:
    """GFLOP/s of a 2048 x 2048 matrix product in float32."""
    matrix = torch.randn(2048, 2048, device=device)
    seconds = []
    for _ in range(10):
        _wait(device)
        started = time.perf_counter()
        matrix @ matrix
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * 2048**3 / statistics.median(seconds) / 1e9


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(exit_code(main))
