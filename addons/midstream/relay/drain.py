"""mitmdump is told to stop: streams in flight may finish first, for a while; a second signal ends them at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable

from midstream.ledger import Ledger

POLL = 0.05
"""Seconds between two looks at whether all are through."""

PASS_WAIT = 1.0
"""Seconds that mitmproxy gets at the end to pass on the last bytes."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


async def drain(ledger: Ledger, seconds: float) -> None:
    """Return once no stream runs, after so many seconds, or at the next signal. From now on none is begun.

    Every addon's `done` comes here first; the first of them waits for all, since mitmproxy calls one after another.
    """
    if ledger.draining:
        return
    ledger.draining = True
    if not ledger.busy or seconds <= 0:
        return
    hurry = asyncio.Event()
    _at_next_signal(hurry.set)
    log.info("midstream lets %d streams finish, for %g s at most; a second signal ends them", len(ledger.live), seconds)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while ledger.busy and not hurry.is_set():  # noqa: ASYNC110 - readers and streams have no event in common
                await asyncio.sleep(POLL)
    if ledger.live:
        log.warning("%d streams have not finished: they end as errors", len(ledger.live))


async def passed_on(passing: set[str]) -> None:
    """Return once mitmproxy is through with these flows, or will not be: it has to pass on what the relay said last."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PASS_WAIT):
            while passing:  # noqa: ASYNC110 - it has no event for it
                await asyncio.sleep(POLL)
    await asyncio.sleep(POLL)


def _at_next_signal(act: Callable[[], None]) -> None:
    """mitmproxy's own handlers have done their part: they would set the event that is set already."""
    for number in SIGNALS:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows; not the main thread
            asyncio.get_running_loop().add_signal_handler(number, act)
