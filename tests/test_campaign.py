"""A campaign of faults: whatever ends a command at whatever moment, the same command ends with the same figures."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.utils.errors import TERMINATED
from src.utils.files import read_torch
from src.utils.runs.config import ROOT

FEW = ("--demo", "--num_epochs", "2", "--num_batchEpoch", "8", "--quiet")


@dataclass(frozen=True)
class Scenario:
    """A command, and how often it is ended.

    Attributes:
        words: script and flags.
        kills, terms: by SIGKILL and by SIGTERM, each time at a random moment of its work.
        before: a command that it builds upon.
    """

    words: tuple[str, ...]
    kills: int
    terms: int
    before: tuple[str, ...] = ()


SPARSE = ("--max_iter_search", "2", "--max_iter_retrain", "2", "--min_sparsRate", "0")
SCENARIOS: Mapping[str, Scenario] = {
    "two phases": Scenario(("Example_MDMTN_MM_withSparsity.py", *FEW, *SPARSE, "--checkpoint_batches", "3"), 14, 4),
    "MGDA": Scenario(("Example_HPS_MGDA_MM.py", *FEW, "--max_iter", "8"), 12, 2),
    "KDMTL": Scenario(
        ("Example_KDMTL_MM.py", *FEW, "--max_iter", "2", "--search_max_iter", "1", "--teacher_max_iter", "1"), 12, 2
    ),
    "Pareto study": Scenario(
        ("Pareto_front_study_HPS_MM.py", *FEW, "--max_iter", "4", "--resolution", "4", "--jobs", "2"),
        12,
        2,
        ("Example_HPS_MM_withSparsity.py", *FEW, *SPARSE),
    ),
}
assert sum(scenario.kills for scenario in SCENARIOS.values()) == 50
assert sum(scenario.terms for scenario in SCENARIOS.values()) == 10


def start(words: tuple[str, ...], folder: Path) -> subprocess.Popen[str]:
    """A command in a group of processes of its own."""
    return subprocess.Popen(
        [sys.executable, *words, "--output-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(words: tuple[str, ...], folder: Path) -> None:
    process = start(words, folder)
    _, said = process.communicate()
    assert process.returncode == 0, said


def inside(folder: Path) -> bool:
    """Whether a training has finished epochs or batches, and is not at its end."""
    return any(folder.glob("logs/*/*/checkpoint.pt"))


def seconds_inside(words: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """Do the work undisturbed; how long it took from its start, and from its first checkpoint to its last."""
    started, seen = time.perf_counter(), []
    process = start(words, folder)
    while process.poll() is None:
        if inside(folder):
            seen.append(time.perf_counter())
        time.sleep(0.02)
    assert process.returncode == 0, process.communicate()[1]
    return time.perf_counter() - started, seen[-1] - seen[0]


def wait_for_a_moment(process: subprocess.Popen[str], folder: Path, seconds: float) -> None:
    """Wait until so many seconds after the first checkpoint, or the end."""
    while process.poll() is None and not inside(folder):
        time.sleep(0.02)
    time.sleep(seconds)


TIMED = ("seconds", "latency_ms", "versions")


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(item) for name, item in value.items() if name not in TIMED}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def figures(folder: Path) -> dict[str, Any]:
    """All that finished trainings left under the folder but times: results, epochs, weights; by what was trained."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("logs/*/*/results.json")):
        run = path.parent
        name = f"{run.parent.name}/{re.sub('_[0-9]{8}-[0-9]{6}-[0-9]{6}$', '', run.name)}"
        with (run / "history.csv").open(newline="") as file:
            history = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
        weights = hashlib.sha256()
        for tensor in read_torch(run / "model.pth")["state_dict"].values():
            weights.update(tensor.numpy().tobytes())
        left = [without_times(json.loads(path.read_text())), history, weights.hexdigest()]
        assert found.get(name, left) == left  # ended while it drew: it is finished, and the same again is another run
        found[name] = left
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_ended_at_random_moments_nothing_is_lost_and_nothing_different(name: str, tmp_path: Path) -> None:
    scenario, rng = SCENARIOS[name], np.random.default_rng(len(name))
    for which in ("whole", "ended"):
        if scenario.before:
            finish(scenario.before, tmp_path / which)
    seconds, training = seconds_inside(scenario.words, tmp_path / "whole")
    wanted = figures(tmp_path / "whole")
    ends = [signal.SIGKILL] * scenario.kills + [signal.SIGTERM] * scenario.terms
    counts: dict[str, int] = {"killed": 0, "terminated": 0, "inside": 0, "finished": 0}
    for place, end in enumerate(rng.permutation(np.array(ends))):
        folder = tmp_path / "ended" if scenario.before else tmp_path / f"ended{place}"
        while True:  # a moment that falls behind the end of the work is none
            process = start(scenario.words, folder)
            if place % 2:  # while it trains; otherwise at any time, when it starts or draws, too
                wait_for_a_moment(process, folder, rng.uniform(0, 1) * training)
            else:
                time.sleep(rng.uniform(0.2, 0.95) * seconds)
            if process.poll() is None:
                break
            assert process.wait() == 0
            clear(folder, keep=bool(scenario.before))
        os.killpg(process.pid, signal.SIGKILL) if end == signal.SIGKILL else process.terminate()
        _, said = process.communicate()
        counts["inside"] += inside(folder)
        counts["killed" if end == signal.SIGKILL else "terminated"] += 1
        if end == signal.SIGTERM and process.returncode != TERMINATED:  # it came when all was done
            assert (process.returncode, figures(folder)) in ((0, wanted), (-signal.SIGTERM, wanted)), said
        finish(scenario.words, folder)
        counts["finished"] += 1
        assert figures(folder) == wanted
        clear(folder, keep=bool(scenario.before))
    assert (counts["killed"], counts["terminated"]) == (scenario.kills, scenario.terms)
    assert counts["inside"] >= len(ends) // 4, counts
    print(name, counts, f"{seconds:.1f} s undisturbed")


def clear(folder: Path, *, keep: bool) -> None:
    """Remove what a command has left, but for that of the one before."""
    for path in folder.glob("logs/*"):
        if not (keep and path.name.startswith("Example_")):
            shutil.rmtree(path)
