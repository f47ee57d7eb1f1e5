"""Being told to end, by SIGTERM or a terminal that is closed (SIGHUP), as an exception: a command cleans up after itself."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS = ("SIGTERM", "SIGHUP")


def as_exit(number: int) -> BaseException:
    """The command was broken off: 143 for SIGTERM, as a shell has it."""
    return SystemExit(128 + number)


def as_interrupt(_: int) -> BaseException:
    """As Ctrl-C, by which one leaves what would go on for ever."""
    return KeyboardInterrupt()


@contextlib.contextmanager
def told_to_end(how: Callable[[int], BaseException] = as_exit) -> Iterator[None]:
    """Raise this for the first such signal in the block, or in the command that is decorated with it; further ones are ignored,
    for cleaning up is under way. A signal that is ignored (nohup) stays ignored."""
    before: dict[int, Any] = {}

    def end(number: int, _: FrameType | None) -> None:
        for taken in before:
            signal.signal(taken, signal.SIG_IGN)
        raise how(number)

    for name in SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
