"""What all commands share: arguments refused in one line, and exit codes."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from src.utils.errors import BAD_INPUT, BROKEN_PIPE, INTERRUPTED, TERMINATED, UserError


class Parser(argparse.ArgumentParser):
    """Takes flags by their full names only, shows the description as it is, and refuses bad ones in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **options)
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)  # -1e-3, too

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists what is allowed")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Names the value of a flag once, after all of its names."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


class Terminated(KeyboardInterrupt):
    """The process was asked to end; treated like an interruption, with an exit code of its own."""


def exit_code(work: Callable[[], None]) -> int:
    """Run ``work``; bad input ends in one line and exit code 2, an interruption in 130, SIGTERM in 143."""
    try:
        with _terminable():
            work()
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read what is printed has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return 0


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises :class:`Terminated`; what it did before is put back afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: object) -> NoReturn:
    raise Terminated
