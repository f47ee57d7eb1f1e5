"""What the addon hands to the relay for one request, and the relay hands back for its response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from midstream.dialects.registry import Match
from midstream.ledger import Account
from midstream.relay.ask import Ask
from midstream.relay.asked import Delivery
from midstream.relay.upstream import UpstreamRequest
from midstream.relay.upstream_headers import Headers


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
    head: set by the relay before it answers over a connection (`HttpClient`), for the addon to put on the flow.
    """

    ask: Ask
    account: Account
    held: Callable[[], int] = _nothing_held
    head: Head | None = None

    @property
    def stream(self) -> str:
        """The id of the row: another request's, if this one was attached to its stream."""
        return self.account.observation.record.id


@dataclass(frozen=True, slots=True)
class Intercepted:
    """A provider's request whose answer the client wants as the gateway delivers it.

    request: as the client sent it, its body without content encoding. account: makes the row of a chat.
    """

    delivery: Delivery
    request: UpstreamRequest
    match: Match
    account: Callable[[Match], Account]


@dataclass(slots=True, kw_only=True)
class GatewayJob:
    """One request to the gateway: what the forwarded request itself does not tell.

    peer: the client's IP address. authority: how the gateway was addressed, as the Host header had it.
    token: the credential of the query, which nothing else shall see; the gateway takes it away. proxy, proxy_auth: see
    UpstreamRequest. intercepted: it was sent to a provider, not to the gateway. native: set by the gateway where a provider
    answers directly; more_headers are added to that answer. stream: the id of the row, for the flow.
    """

    peer: str
    authority: str
    token: str = field(default="", repr=False)
    held: Callable[[], int] = _nothing_held
    proxy: str = ""
    proxy_auth: str = field(default="", repr=False)
    intercepted: Intercepted | None = None
    native: Job | None = None
    more_headers: dict[str, str] = field(default_factory=dict)
    stream: str = ""

    @property
    def head(self) -> Head | None:
        """The provider's head, less what it says of who may read it; None where the gateway itself answers."""
        head = self.native.head if self.native is not None else None
        if head is None:
            return None
        kept = [(k, v) for k, v in head.headers if not k.lower().startswith(b"access-control-")]
        added = [(k.encode(), v.encode()) for k, v in self.more_headers.items()]
        return Head(head.status, head.reason, [*kept, *added])
