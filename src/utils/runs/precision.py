"""Which precision of the forward pass is the faster one on a machine: measured once and remembered."""

from __future__ import annotations

import copy
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from src.utils.files import check_writable, read_json, write_json
from src.utils.runs.collect import device_name
from src.utils.runs.config import RunConfig
from src.utils.runs.problem import Problem, load_problem, torch_device
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Observer

LEAST_GAIN = 0.2
"""The share of the time of forward and backward pass that bf16 has to save to be chosen."""
REMEMBERED = "precision.json"
"""File under the folder of the logs, with what was found: the same command trains the same again."""
WARM_UP, ROUNDS = 2, 7


def bf16_gain(network: nn.Module, inputs: Any) -> float:
    """Share of the time of a forward and backward pass that bf16 saves.

    .. math:: 1 - t_{\\text{bf16}} / t_{\\text{fp32}}

    of medians; the two take turns, so that a slow moment of the machine meets both. The network stays as it is.

    Args:
        network: what is trained.
        inputs: a batch for it, on its device.
    """
    network = copy.deepcopy(network).train()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(WARM_UP + ROUNDS):
        for reduced, times in seconds.items():
            taken = _seconds(network, inputs, reduced=reduced)
            if turn >= WARM_UP:
                times.append(taken)
    return 1 - statistics.median(seconds[True]) / statistics.median(seconds[False])


def _seconds(network: nn.Module, inputs: Any, *, reduced: bool) -> float:
    device = next(network.parameters()).device
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    network.zero_grad()
    wait()
    started = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
        outputs = network(inputs)
    torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
    wait()
    return time.perf_counter() - started


def faster_precision(
    config: RunConfig, parameters: TrainingParameters, problem: Problem | None, say: Callable[[str], None]
) -> str:
    """``bf16`` where it saves at least :data:`LEAST_GAIN` of forward and backward pass on this machine, else ``fp32``.

    What cannot be measured, as it does not run or has no memory, is ``fp32``: the training says what is wrong.

    Args:
        config, parameters: of the training.
        problem: a user's own network and data; None loads and builds what the configuration names.
        say: told of the outcome.

    Raises:
        UserError: if the folder of the logs cannot be written to, or the data not be read.
    """
    path = config.logs / REMEMBERED
    check_writable(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    key = _key(config, parameters, problem)
    with torch.random.fork_rng(devices=()), run_arithmetic(), FileLock(path.with_suffix(".lock")):
        known: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            known = read_json(path)
        if known.get(key) in ("fp32", "bf16"):
            say(f"precision {known[key]}, as it was found before and kept in {path}")
            return str(known[key])
        problem = problem or load_problem(config, parameters, Observer())
        found = _measured(problem.network, problem.splits.train.first(parameters.batch_size)[0], say)
        if found is not None:
            write_json(path, {**known, key: found})
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # for the processes that train
    return found or "fp32"


def _measured(network: nn.Module, inputs: Any, say: Callable[[str], None]) -> str | None:
    """The faster precision; None where it cannot be measured."""
    try:
        gain = bf16_gain(network, inputs)
    except (RuntimeError, ValueError) as error:
        say(f"precision fp32: bf16 could not be measured ({str(error).splitlines()[0]})")
        return None
    found = "bf16" if gain >= LEAST_GAIN else "fp32"
    wanted = f"{100 * LEAST_GAIN:.0f} % are wanted"
    say(f"precision {found}: bf16 saves {100 * gain:.0f} % of forward and backward pass here, {wanted}")
    return found


def _key(config: RunConfig, parameters: TrainingParameters, problem: Problem | None) -> str:
    """All that the times depend on; a network that is not at hand follows from what the configuration names."""
    task = "" if config.task is None else f", task {config.task}"
    what = f"{config.architecture}{_sizes(problem)} on {config.dataset}{task}, batches of {parameters.batch_size}"
    return f"{what}, {device_name(torch_device(config))}, torch {torch.__version__}, {platform.node()}"


def _sizes(problem: Problem | None) -> str:
    """Of the network and its inputs, where they are at hand."""
    if problem is None:
        return ""
    inputs = problem.splits.train.first(1)[0]
    shape = f" and inputs of shape {tuple(inputs.shape[1:])}" if isinstance(inputs, Tensor) else ""
    return f" of {sum(weight.numel() for weight in problem.network.parameters())} parameters{shape}"
