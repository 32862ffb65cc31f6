"""Installing: editable, with the declared dependencies; anything else is refused in one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from src.utils.runs.config import ROOT


def pip(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``pip install`` of the project without looking at an index."""
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *offline, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the project elsewhere, since an installation writes beside them."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE", "Train_and_Test.py"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", "Data_loaders"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pth"))
    return folder


def test_an_editable_installation_serves_scripts_in_any_folder(project: Path, tmp_path: Path) -> None:
    done = pip(project, "--prefix", str(tmp_path / "there"), "-e", ".")
    assert done.returncode == 0, done.stderr
    (place,) = (tmp_path / "there").rglob("site-packages")
    (found,) = place.glob("mdmtn-*.dist-info")
    wanted = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line]
    assert Distribution.at(found).requires == wanted
    script = tmp_path / "elsewhere" / "mine.py"
    script.parent.mkdir()
    script.write_text(
        f"import site; site.addsitedir({str(place)!r})\n"
        "import src, Train_and_Test\n"
        "from src import HPS, Task, TrainingParameters\n"
        "print(src.__file__, Train_and_Test.__file__)\n"
    )
    shown = subprocess.run([sys.executable, "-I", str(script)], capture_output=True, text=True, check=True).stdout
    assert shown.split() == [str(project / "src" / "__init__.py"), str(project / "Train_and_Test.py")]


def test_any_other_installation_is_refused_in_one_line(project: Path, tmp_path: Path) -> None:
    done = pip(project, "--target", str(tmp_path / "there"), ".")
    assert done.returncode != 0
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "pip install -e ." in line]
    assert said == ["error: install this project from its folder with: pip install -e .   (not: pip install .)"]
    assert not (tmp_path / "there" / "src").exists()
