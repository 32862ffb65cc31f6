"""Errors that the user can do something about, and the exit codes of commands."""

from __future__ import annotations

from collections.abc import Sequence

FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE, TERMINATED = 1, 2, 130, 141, 143


def first_few(values: Sequence[object], most: int = 5) -> str:
    """The first values of a list that may be long, for a message."""
    return ", ".join(map(str, values[:most])) + ", ..." * (len(values) > most)


class UserError(Exception):
    """Bad input: the message says in one line what is wrong, where, and what is allowed or to be done.

    Commands print the message and leave with exit code 2; no traceback.
    """


class CheckpointError(UserError):
    """A run cannot be continued from its checkpoint."""


class InUseError(UserError):
    """Another process is at work on the same run."""
