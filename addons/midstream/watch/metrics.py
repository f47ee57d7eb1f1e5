"""Prometheus' page: `/metrics` on the gateway."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from aiohttp import web

from midstream.config import Config
from midstream.ledger import Ledger
from midstream.relay.access import Caller
from midstream.relay.exchange import Exchange
from midstream.relay.pages import Page
from midstream.watch import exposition
from midstream.watch.accounting import Accounting, now_families
from midstream.watch.tallies import Family, Tallies

SERVICE = "midstream"

_LEVEL = 1
"""Of compression: a scrape is repetitive enough to shrink to a twentieth by the fastest."""


class Metrics:
    """What has been counted since this process began, as long as it is not closed."""

    def __init__(self, ledger: Ledger, config: Callable[[], Config]) -> None:
        self._ledger = ledger
        self._config = config
        self._tallies = Tallies()
        self._accounting = Accounting(self._tallies, config)
        self._rendering = asyncio.Lock()
        ledger.watchers.append(self._accounting.close)

    def close(self) -> None:
        self._ledger.watchers.remove(self._accounting.close)

    def pages(self) -> dict[str, Page]:
        """What the gateway is to serve."""
        return {"/metrics": self._scrape}

    def families(self) -> Sequence[Family]:
        """Everything as of now; in any thread."""
        return [*self._tallies.families(), *now_families(list(self._ledger.live.values()), self._config())]

    def text(self) -> str:
        """A scrape's body; in any thread."""
        return exposition.text(self.families(), (("service.name", SERVICE), ("service.version", release())))

    async def _scrape(self, exchange: Exchange, caller: Caller) -> web.StreamResponse:
        exchange.allow("GET", "HEAD")
        packed = "gzip" in exchange.request.headers.get("Accept-Encoding", "")
        async with self._rendering:  # one at a time, and away from the streams' thread
            body = await asyncio.to_thread(self._body, packed)
        encoding = {"Content_Encoding": "gzip"} if packed else {}
        return exchange.answer(200, body, exposition.CONTENT_TYPE, {"Vary": "Accept-Encoding", **encoding})

    def _body(self, packed: bool) -> bytes:
        body = self.text().encode()
        return zlib.compress(body, _LEVEL, wbits=31) if packed else body


def release() -> str:
    """Ours; "0" in a checkout that was never installed."""
    try:
        return version("midstream")
    except PackageNotFoundError:
        return "0"
