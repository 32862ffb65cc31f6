"""Requests to end, Ctrl+C and SIGTERM, that wait until it suits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Handler = Callable[[int, Any], Any]

WAITING = (signal.SIGINT, signal.SIGTERM)


class Interruptions:
    """What was asked for while it was held back; a second request is not."""

    def __init__(self) -> None:
        self._handlers: dict[int, Handler] = {}
        self._number: int | None = None

    @property
    def pending(self) -> bool:
        """Whether an end was asked for."""
        return self._number is not None

    def deliver(self) -> None:
        """Do what the request does where it is not held back: raise KeyboardInterrupt, as a rule."""
        if self._number is not None:
            number, self._number = self._number, None
            self._handlers[number](number, None)

    def _hold(self, number: int, frame: Any) -> None:
        if self.pending:
            self._handlers[number](number, frame)
        self._number = number


@contextmanager
def held_back() -> Iterator[Interruptions]:
    """Hold requests to end back until :meth:`Interruptions.deliver`, or the end of the block; a second one is not held.

    Signals that are ignored, or end the process without Python, stay as they are. Outside the main thread, which no
    signal reaches, nothing is held.
    """
    held = Interruptions()
    if threading.current_thread() is not threading.main_thread():
        yield held
        return
    before = {number: signal.getsignal(number) for number in WAITING}
    held._handlers = {number: handler for number, handler in before.items() if callable(handler)}
    for number in held._handlers:
        signal.signal(number, held._hold)
    try:
        yield held
    except Exception:
        held.deliver()  # it may be what broke the work: processes that load data are asked to end, too
        raise
    finally:
        for number, handler in held._handlers.items():
            signal.signal(number, handler)
    held.deliver()
