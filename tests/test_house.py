"""The rooms of the house: who may import whom, and how large a file may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS: list[set[str]] = [  # a room imports rooms below it, never one above or beside it; front doors import any
    {"src.utils.command_line"},
    {"src.utils.report"},
    {"src.utils.study", "src.utils.deployment"},
    {"src.utils.runs"},
    {"src.utils.training"},
    {"src.utils.objectives", "src.utils.sparsity"},
    {"src.models", "Data_loaders"},
    {"src.utils"},  # errors, files, checked, program
]
DOORS = {"src/__init__.py", "Train_and_Test.py"}
SPARSITY_MAY = {"src.utils.objectives"}
DRAWING = {"matplotlib"}
LARGEST = 300
LARGER = {"src/utils/training/engine.py": "the one training loop, with what of it can be interrupted"}
MODULES = sorted(
    path.relative_to(ROOT)
    for place in ("src", "Data_loaders")
    for path in (ROOT / place).rglob("*.py")
    if str(path.relative_to(ROOT)) not in DOORS
)


def room(module: str) -> str | None:
    """The room that a module of the project is in; None for others."""
    names = [name for floor in FLOORS for name in floor if module == name or module.startswith(f"{name}.")]
    return max(names, key=len, default=None)


def floor(name: str) -> int:
    """Number of a room's floor, from the top."""
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported anywhere in a file, but by ``if __name__ == "__main__"``, which makes it a script."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        yield from imports(node)


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def against_the_arrows(path: Path, source: str) -> list[str]:
    """Imports of a file that go up, or to a room beside it."""
    here = room(module_of(path))
    assert here is not None
    found = []
    for name in imports(ast.parse(source)):
        there = room(name)
        wrong_floor = there is not None and there != here and floor(there) <= floor(here)
        if name == "Train_and_Test" or wrong_floor or (there is None and name == "src"):
            found.append(name)
        if name.split(".")[0] in DRAWING and here != "src.utils.report":
            found.append(name)
    return found


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_import_runs_against_the_arrows(path: Path) -> None:
    assert against_the_arrows(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("src/utils/training/engine.py", "from src.utils.report.run import draw_run", "src.utils.report.run"),
        ("src/utils/training/engine.py", "def f():\n    import matplotlib.figure", "matplotlib.figure"),
        ("src/utils/objectives/owl.py", "import src.utils.training.engine", "src.utils.training.engine"),
        ("src/models/hps.py", "from Data_loaders.loaders import Splits", "Data_loaders.loaders"),
        ("src/utils/study/search.py", "from Train_and_Test import main", "Train_and_Test"),
    ],
)
def test_an_import_against_the_arrows_is_found(path: str, source: str, wrong: str) -> None:
    assert against_the_arrows(Path(path), source) == [wrong]


@pytest.mark.parametrize("path", [*MODULES, *map(Path, sorted(DOORS))], ids=str)
def test_no_file_grows_without_a_reason(path: Path) -> None:
    lines = len((ROOT / path).read_text().splitlines())
    assert lines <= LARGEST or LARGER.get(str(path)), f"{lines} lines"


def test_reading_flags_needs_no_torch_and_training_no_pictures() -> None:
    def loaded(code: str, *names: str) -> str:
        wanted = f"{code}\nimport sys; print([name for name in {names!r} if name in sys.modules])"
        return subprocess.run(
            [sys.executable, "-c", wanted], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert loaded("import Train_and_Test", "torch", "matplotlib", "sklearn") == "[]"
    worker = "import src.utils.runs.run, src.utils.study.worker"
    assert loaded(worker, "matplotlib", "torchvision", "sklearn") == "[]"
