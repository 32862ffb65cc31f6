"""Which precision of the forward pass is the faster one, found once per machine and remembered."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from src.models.multi_task import MultiTaskNetwork
from src.utils.files import read_json, write_json
from src.utils.runs.collect import device_name
from src.utils.runs.config import RunConfig
from src.utils.runs.problem import Problem, load_problem
from src.utils.training.arithmetic import run_arithmetic
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Observer

GAIN = 0.2
"""The share of a step's time that bf16 has to save to be chosen."""
REMEMBERED = "precision.json"
"""File under the folder of the logs, with what was found: the same command trains the same again."""
WARM_UP, ROUNDS = 2, 7


def bf16_gain(network: nn.Module, images: Any) -> float:
    """Share of the time of a forward and backward pass that bf16 saves.

    .. math:: 1 - t_{\\text{bf16}} / t_{\\text{fp32}}

    of medians; the two take turns, so that a slow moment of the machine meets both. The network stays as it is.

    Args:
        network: what is trained.
        images: a batch for it, on its device.
    """
    network = copy.deepcopy(network).train()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(WARM_UP + ROUNDS):
        for reduced, times in seconds.items():
            taken = _seconds(network, images, reduced=reduced)
            if turn >= WARM_UP:
                times.append(taken)
    return 1 - statistics.median(seconds[True]) / statistics.median(seconds[False])


def _seconds(network: nn.Module, images: Any, *, reduced: bool) -> float:
    device = next(network.parameters()).device
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    network.zero_grad()
    wait()
    started = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
        outputs = network(images)
    torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
    wait()
    return time.perf_counter() - started


def faster_precision(
    config: RunConfig, parameters: TrainingParameters, problem: Problem | None, say: Callable[[str], None]
) -> str:
    """``bf16`` where it saves at least :data:`GAIN` of a step of this training on this machine, else ``fp32``.

    Args:
        config, parameters: of the training.
        problem: a user's own network and data; None loads and builds what the configuration names.
        say: told of the outcome.
    """
    with run_arithmetic():
        random = torch.get_rng_state()
        problem = problem or load_problem(config, parameters, Observer())
        found = _remembered(config, parameters, problem, say)
        torch.set_rng_state(random)
    return found


def _remembered(config: RunConfig, parameters: TrainingParameters, problem: Problem, say: Callable[[str], None]) -> str:
    path, key = config.logs / REMEMBERED, _key(config, parameters, problem.network)
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        known = read_json(path)
    if known.get(key) in ("fp32", "bf16"):
        say(f"precision {known[key]}, as it was found before and kept in {path}")
        return str(known[key])
    gain = bf16_gain(problem.network, problem.splits.train.first(parameters.batch_size)[0])
    found = "bf16" if gain >= GAIN else "fp32"
    say(f"precision {found}: bf16 saves {100 * gain:.0f} % of a step here, {100 * GAIN:.0f} % are wanted; see {path}")
    write_json(path, {**known, key: found})
    return found


def _key(config: RunConfig, parameters: TrainingParameters, network: MultiTaskNetwork) -> str:
    """All that the times depend on."""
    weights = list(network.parameters())
    size = sum(weight.numel() for weight in weights)
    what = f"{config.architecture} of {size} parameters on {config.dataset}, batches of {parameters.batch_size}"
    return f"{what}, {device_name(weights[0].device)}, torch {torch.__version__}"
