"""Names of the architectures; nothing here needs torch."""

from __future__ import annotations

from src.utils.errors import UserError

ARCHITECTURE_NAMES = ("MDMTN", "HPS", "STL", "MTAN")
OWN = "own"
"""Architecture of a network that the user built."""
COMPRESSED = "compressed"
"""Architecture of a network that was one of these, and cannot be trained as such."""


def check_architecture(name: str) -> None:
    """Refuse an unknown architecture.

    Raises:
        UserError: naming the known ones.
    """
    if name not in ARCHITECTURE_NAMES:
        raise UserError(f"architecture is {name!r}; allowed: {', '.join(ARCHITECTURE_NAMES)}")
