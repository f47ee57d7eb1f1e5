"""Waiting for a client that takes less than comes: mitmproxy buffers for some of them, and tells nobody when it has got rid of it
(see held.py)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

HELD_LIMIT = 64 * 1024
"""Bytes that one client's stream may leave waiting in mitmproxy before its provider is paused."""

POLL = 0.02
"""Seconds until the first look at whether a client has caught up; each pause is twice the one before, for as long as it takes."""

POLL_AT_MOST = 0.16
"""Seconds between two looks: 200 clients that hardly read are looked at some thousand times a second, not ten thousand."""


async def catch_up(held: Callable[[], int], patience: float = math.inf) -> None:
    """Return at once if no more than HELD_LIMIT is held, else when it has come down to half of that.

    Raises TimeoutError if nothing of it is taken for `patience` seconds.
    """
    least = held()
    if least <= HELD_LIMIT:
        return
    since, pause = time.monotonic(), POLL
    while (left := held()) > HELD_LIMIT // 2:
        now = time.monotonic()
        if left < least:
            least, since = left, now
        elif now - since > patience:
            raise TimeoutError
        await asyncio.sleep(pause)
        pause = min(2 * pause, POLL_AT_MOST)
