"""One training in a process of its own, so that its death concerns no other; nothing here needs torch."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from src.utils.errors import BAD_INPUT
from src.utils.runs.config import OUTPUT

POLL_SECONDS = 0.5
STOP = ".stop"
"""A file of this name in the folder of a sweep ends all its trainings, wherever they run."""


@dataclass(frozen=True)
class End:
    """How a training ended.

    Attributes:
        reason: why it failed, None if it did not.
        died: whether its process was killed.
    """

    reason: str | None = None
    died: bool = False


def train_apart(script: str, folder: str, sweep: str) -> End:
    """Start ``script --resume folder --worker`` and wait for its end; what it prints is in the folder.

    Args:
        script: that goes on with a run.
        folder: of the run, with its ``run.json``, or that of the sweep, whose runs are all trained by one process.
        sweep: folder of the sweep.
    """
    output = Path(folder) / OUTPUT
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, script, "--resume", folder, "--worker"],
            stdin=subprocess.PIPE,  # closed when this process ends or wants an end: see end_with_starter
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    while True:
        try:
            code = process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if (Path(sweep) / STOP).exists() and process.stdin:
                process.stdin.close()
                process.stdin = None
        else:
            return _end(code, output)


def reason_in(output: Path) -> str | None:
    """The last line that a training has left in its output; None where there is none."""
    text = output.read_text(errors="replace") if output.exists() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else None


def _end(code: int, output: Path) -> End:
    if code == 0:
        return End()
    if code < 0:
        return End(f"its process was killed by signal {-code}", died=True)
    return End((reason_in(output) or f"exit code {code}") + ("" if code == BAD_INPUT else f" (see {output})"))


def end_with_starter() -> None:
    """In a worker: be interrupted when standard input is closed, as it is when the starter ends, however it ends."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        _thread.interrupt_main()

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background work deaf to interruptions
    threading.Thread(target=watch, daemon=True).start()
