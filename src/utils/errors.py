"""Errors that the user can do something about, and the exit codes of commands."""

FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE, TERMINATED = 1, 2, 130, 141, 143


class UserError(Exception):
    """Bad input: the message says in one line what is wrong, where, and what is allowed or to be done.

    Commands print the message and leave with exit code 2; no traceback.
    """


class CheckpointError(UserError):
    """A run cannot be continued from its checkpoint."""


class InUseError(UserError):
    """Another process is at work on the same run."""
