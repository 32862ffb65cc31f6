"""What all commands share: arguments refused in one line, and exit codes."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from src.utils.errors import BAD_INPUT, INTERRUPTED, UserError


class Parser(argparse.ArgumentParser):
    """Takes flags by their full names only, shows the description as it is, and refuses bad ones in one line."""

    def __init__(self, **options: Any) -> None:
        options = {"formatter_class": argparse.RawDescriptionHelpFormatter, **options}
        super().__init__(allow_abbrev=False, **options)
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)  # -1e-3, too

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists what is allowed")


def exit_code(work: Callable[[], None]) -> int:
    """Run ``work``; bad input ends in one line and exit code 2, an interruption in exit code 130."""
    try:
        work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
