"""How commands end: closed pipes, termination, and what they leave of the process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.utils.command_line.parser import Terminated, exit_code
from src.utils.errors import BAD_INPUT, INTERRUPTED, TERMINATED, UserError

ROOT = Path(__file__).resolve().parent.parent


def raising(error: BaseException) -> int:
    def work() -> None:
        raise error

    return exit_code(work)


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("bad"), BAD_INPUT), (KeyboardInterrupt(), INTERRUPTED), (Terminated(), TERMINATED)],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(error) == code
    assert capsys.readouterr().err == ("error: bad\n" if code == BAD_INPUT else "")


def test_the_handler_of_sigterm_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert exit_code(lambda: signal.raise_signal(signal.SIGTERM)) == TERMINATED
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_has_had_enough_ends_the_command_without_a_traceback() -> None:
    command = f"{sys.executable} Train_and_Test.py --help | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_training_that_is_terminated_says_how_to_go_on(tmp_path: Path) -> None:
    flags = ["--demo", "--output-dir", str(tmp_path), "--num_epochs", "50"]
    process = subprocess.Popen(
        [sys.executable, "Example_HPS_MM_noSparsity.py", *flags], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(tmp_path.glob("logs/*/*/checkpoint.pt")) and process.poll() is None:
        time.sleep(0.1)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == TERMINATED
    (folder,) = tmp_path.glob("logs/*/*")
    assert f"go on with --resume {folder}" in error
    assert "Traceback" not in error
