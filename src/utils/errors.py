"""The one exception that means "the user can fix this"."""


class UserError(Exception):
    """Bad input: the message says in one line what is wrong, where, and what is allowed or to be done.

    Commands print the message and leave with exit code 2; no traceback.
    """


class CheckpointError(UserError):
    """A run cannot be continued from its checkpoint."""
