"""Trainings on the real data sets, minutes long: make test-slow, with their folder in $MDMTN_DATA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from Data_loaders.sources import DATA_VARIABLE
from src.utils.runs.config import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DATA_VARIABLE not in os.environ, reason=f"no real data: set ${DATA_VARIABLE} to their folder"),
]


def results_of(output: Path, script: str, *flags: str) -> dict[str, Any]:
    """Run a script on real data and read its results file."""
    command = [sys.executable, str(ROOT / script), "--quiet", "--output-dir", str(output), *flags]
    subprocess.run(command, check=True, capture_output=True)
    (file,) = output.glob("logs/*/*/results.json")
    return dict(json.loads(file.read_text()))


def test_short_sparse_training_on_multimnist(tmp_path: Path) -> None:
    flags = ["--max_iter_search", "1", "--max_iter_retrain", "1", "--min_sparsRate", "50"]
    results = results_of(tmp_path, "Example_MDMTN_MM_withSparsity.py", *flags)
    assert min(results["test_accuracy"]) > 93
    assert results["reached_min_sparsRate"]
    assert results["sparsity_rate"] >= 50


def test_short_training_on_cifar10mnist(tmp_path: Path) -> None:
    results = results_of(tmp_path, "Example_HPS_CM_noSparsity.py", "--max_iter", "2", "--lr", "1e-3")
    photograph, digit = results["test_accuracy"]
    assert photograph > 35
    assert digit > 90  # most of the weight is on the digits, which are learned first
