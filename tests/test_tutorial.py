"""The tutorial runs from top to bottom, and what is committed of it is small and tells nothing of a machine."""

from __future__ import annotations

import re
import time
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from src.utils.runs.config import ROOT
from tests.test_export import MISSING

TUTORIAL = ROOT / "Tutorial.ipynb"
MINUTES = 5


def code_cells() -> list[Any]:
    return [cell for cell in nbformat.read(TUTORIAL, 4).cells if cell.cell_type == "code"]


def test_the_tutorial_is_committed_with_small_outputs() -> None:
    assert TUTORIAL.stat().st_size < 200_000
    cells = code_cells()
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert not [output for output in outputs if output.output_type == "error"]
    said = "".join(output.get("text", "") for output in outputs)
    assert not re.search(r"/(home|root|tmp|Users|work)/", said)
    assert "the same answers: True" in said


@pytest.mark.slow
def test_the_tutorial_runs_from_top_to_bottom() -> None:
    notebook = nbformat.read(TUTORIAL, 4)
    started = time.perf_counter()
    folder = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, timeout=60 * MINUTES, kernel_name="python3", resources=folder).execute()
    assert time.perf_counter() - started < 60 * MINUTES
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    for wanted in ("test accuracy", "<- best", "the same answers: True", "it shows", "points are not dominated"):
        assert wanted in said
    assert "ONNX Runtime" in said or MISSING
    assert "Traceback" not in said
