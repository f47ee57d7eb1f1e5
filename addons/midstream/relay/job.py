"""What the addon hands to the relay for one request, and the relay hands back for its response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from midstream.dialects.registry import Match
from midstream.ledger import Account
from midstream.relay.upstream import Headers, UpstreamRequest


@dataclass(frozen=True, slots=True)
class Head:
    """A response's head as the provider sent it: what the flow shall show."""

    status: int
    reason: str
    headers: Headers


def _nothing_held() -> int:
    return 0


@dataclass(slots=True, kw_only=True)
class Job:
    """One relayed request.

    held: bytes of this stream that mitmproxy has taken from the relay and not yet got rid of (HTTP/2 clients only).
    head: set by the relay before it answers, for the addon to put on the flow.
    """

    request: UpstreamRequest
    match: Match
    account: Account
    held: Callable[[], int] = _nothing_held
    head: Head | None = None
