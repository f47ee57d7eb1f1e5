"""While modules are loaded: Ctrl-C ends the process without a word. Python would print where in which module it was."""

import contextlib
import os
import signal
from collections.abc import Iterator

INTERRUPTED = 130
"""Exit code; as a shell has it."""


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """For the time of the block; nothing has been begun that would have to be ended."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.default_int_handler:  # it is ignored, in the background of a shell, or somebody else's
        yield
        return
    try:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    except ValueError:  # not in the main thread, which is the one that is interrupted
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
