"""One-time tickets: what proves to the relay that a request comes from this mitmdump, and says which one it is. Pure."""

from __future__ import annotations

import secrets
from collections import OrderedDict

LIMIT = 10_000
"""Tickets outstanding at once: more requests than mitmdump can have on their way to the relay."""

LIFETIME = 60.0
"""Seconds a ticket is good for. mitmproxy redeems it within milliseconds; a busy machine gets a wide margin."""

HEADER = "x-midstream-ticket"


class Tickets[T]:
    """Issued once, redeemed once, forgotten after LIFETIME; the oldest go first when LIMIT is reached."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def issue(self, job: T, now: float) -> str:
        """Return a new ticket (256 random bits) for the job."""
        self._expire(now)
        ticket = secrets.token_urlsafe(32)
        self._open[ticket] = (now, job)
        return ticket

    def redeem(self, ticket: str, now: float) -> T | None:
        """Return the job of a ticket that is good, which it then no longer is; else None."""
        self._expire(now)
        found = self._open.pop(ticket, None)
        return found[1] if found is not None else None

    def __len__(self) -> int:
        return len(self._open)

    def _expire(self, now: float) -> None:
        while self._open:
            ticket, (issued, _) = next(iter(self._open.items()))
            if now - issued <= LIFETIME and len(self._open) < LIMIT:
                return
            del self._open[ticket]
