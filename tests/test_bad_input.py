"""Bad input ends in exit code 2 and one line, before anything is written."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_input import CASES, Case

ROOT = Path(__file__).resolve().parent.parent
IDS = [" ".join((Path(where[0]).stem, *where[1:], *flags)) for where, flags, _ in CASES]


def command(case: Case, folder: Path) -> list[str]:
    """Script and flags; what would be written goes to the folder."""
    where, flags, _ = case
    writes = "compare" in flags[:1] or not {"test", "draw", "compress", "export", "predict"} & set(flags[:1])
    output = ["--output-dir", str(folder / "out")] if writes and not {"--resume", "--output-dir"} & set(flags) else []
    return [where[0], *where[1:], *flags, *output]


def assert_one_line(error: str, text: str, folder: Path) -> None:
    lines = [line for line in error.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert text in lines[0]
    assert not any(folder.iterdir())


def test_there_are_a_hundred() -> None:
    assert len(CASES) >= 100
    assert len(set(IDS)) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_bad_input_is_one_line_and_exit_code_2(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", command(case, tmp_path))
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / case[0][0]), run_name="__main__")
    assert left.value.code == 2
    assert_one_line(capsys.readouterr().err, case[2], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_same_through_a_process(case: Case, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, *command(case, tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert_one_line(done.stderr, case[2], tmp_path)
