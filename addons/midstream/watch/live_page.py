"""Serves the live page at the gateway's `/`: its own files, the events that keep it up to date, and what it shows of the past."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from midstream.config import Config
from midstream.ledger import Ledger
from midstream.relay import server
from midstream.relay.access import Caller
from midstream.relay.exchange import Exchange
from midstream.relay.pages import Page
from midstream.relay.refusal import Refusal
from midstream.store.database import asking
from midstream.watch.board import Target
from midstream.watch.content import WordsOfStreams
from midstream.watch.feed import Feed, Message
from midstream.watch.history import SPANS, history

STATIC = Path(__file__).parent / "static"

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

SECURITY = {
    "Content_Security_Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "X_Content_Type_Options": "nosniff",
    "Referrer_Policy": "no-referrer",
    "Cross_Origin_Opener_Policy": "same-origin",
    "Cross_Origin_Resource_Policy": "same-origin",
}
"""Nothing foreign is loaded, run or told; nobody may frame it; and no string ever becomes markup (Trusted Types)."""

RETRY = 1000
"""Milliseconds until the page's EventSource reconnects."""

REUSE = 2.0
"""Seconds that an answer of the database serves everybody who asks the same."""

_PLACE = re.compile(r"([0-9a-f]{1,16}):([0-9]{1,12})")


class File(NamedTuple):
    """One of the page's own files."""

    body: bytes
    type: str
    tag: str


class LivePage:
    """One for each addon; `feed` is to be run as a task. `config` gives the one in force, `db` is the database's file; `words`
    what streams say, None where the user does not want it shown."""

    def __init__(
        self, ledger: Ledger, db: Path, config: Callable[[], Config], words: Callable[[], WordsOfStreams | None]
    ) -> None:
        self.feed = Feed(ledger, lambda: breakers(config()), lambda: words() is not None)
        self._words = words
        self._ledger = ledger
        self._db = db
        self._files = {file.name: _load(file) for file in STATIC.iterdir() if file.suffix in TYPES}
        self._answers: dict[str, tuple[float, Any]] = {}
        self._asking = asyncio.Lock()

    def pages(self) -> dict[str, Page]:
        """What the gateway is to serve."""
        own: dict[str, Page] = dict.fromkeys(self.open(), self._file)
        return own | {"/live/events": self._events, "/live/history": self._history, "/live/stream/": self._stream}

    def open(self) -> frozenset[str]:
        """The page's own files: they tell nothing of anybody, and one of them asks for the key."""
        return frozenset(("/", *(f"/live/{name}" for name in self._files)))

    async def _file(self, exchange: Exchange, caller: Caller) -> web.StreamResponse:
        exchange.allow("GET", "HEAD")
        file = self._files[exchange.request.rel_url.raw_path.removeprefix("/live/").strip("/") or "index.html"]
        known = exchange.request.headers.get("If-None-Match", "")
        same = file.tag in known
        headers = SECURITY | {"Cache_Control": "no-cache", "ETag": file.tag}
        return exchange.answer(304 if same else 200, b"" if same else file.body, file.type, headers)

    async def _events(self, exchange: Exchange, caller: Caller) -> web.StreamResponse:
        """`whole` once, then a `change` for all streams together some times a second; a reconnect gets what it missed."""
        exchange.allow("GET", "HEAD")
        place = _PLACE.fullmatch(exchange.request.headers.get("Last-Event-ID", ""))
        run, n = (place[1], int(place[2])) if place else ("", 0)
        follow = self.feed.follow(run, n)
        first = await anext(follow, None)  # a refusal still gets a status of its own
        out = await _begin(exchange)
        try:
            messages = first
            while messages is not None:
                await exchange.send(out.write(b"".join(self._event(message) for message in messages)))
                messages = await anext(follow, None)
        finally:
            await follow.aclose()
        await out.write_eof()
        return out

    def _event(self, message: Message) -> bytes:
        name, n, data = message
        if not name:
            return b": alive\n\n"
        return b"event: %b\nid: %b:%d\ndata: %b\n\n" % (name.encode(), self.feed.board.run.encode(), n, data)

    async def _history(self, exchange: Exchange, caller: Caller) -> web.StreamResponse:
        exchange.allow("GET", "HEAD")
        span = exchange.request.query.get("span", "1h")
        if span not in SPANS:
            raise Refusal(400, f"span: one of {', '.join(SPANS)}")
        async with self._asking:
            found = self._answers.get(span)
            if found is None or time.monotonic() - found[0] > REUSE:
                answer = await asyncio.to_thread(self._ask_history, span)
                found = self._answers[span] = (time.monotonic(), answer)
        return exchange.json(200, found[1], **SECURITY)

    def _ask_history(self, span: str) -> Any:
        try:
            with asking(self._db) as reader:
                return history(reader, span, datetime.now(UTC))
        except FileNotFoundError:
            return {"span": span, "step": SPANS[span].step, "since": 0, "buckets": [], "models": [], "targets": []}
        except ValueError as error:
            raise Refusal(503, f"the database cannot be read: {error}") from error

    async def _stream(self, exchange: Exchange, caller: Caller) -> web.StreamResponse:
        exchange.allow("GET", "HEAD")
        id_ = exchange.request.rel_url.path.removeprefix("/live/stream/")
        details = self.feed.board.details(id_, self._ledger.live)
        if details is None:
            details = await asyncio.to_thread(self._ask_stream, id_)
        said = {"now": round(time.time() * 1000), "content": await self._said(id_, caller)}
        return exchange.json(200, said | details, **SECURITY)

    async def _said(self, id_: str, caller: Caller) -> dict[str, Any] | None:
        """What this stream says, as far as this caller may know: with keys, that of their own chats only."""
        words = self._words()
        transcript = words.of(id_) if words is not None else None
        if transcript is None or (caller.key is not None and caller.key != transcript.key):
            return None
        return await asyncio.to_thread(transcript.shown)

    def _ask_stream(self, id_: str) -> dict[str, Any]:
        try:
            with asking(self._db) as reader:
                row = reader.stream(id_)
                return {"stream": row, "attempts": reader.attempts(row["id"]), "moments": []}
        except (FileNotFoundError, LookupError):
            raise Refusal(404, "there is no such stream", code="stream_not_found") from None
        except ValueError as error:
            raise Refusal(503, f"the database cannot be read: {error}") from error


def breakers(config: Config) -> Sequence[Target]:
    """Every target that was asked lately and the state of its circuit breaker, in the order of their names."""
    limits, now = config.healing.limits, time.monotonic()
    states = {(provider, model): breaker.state(limits, now) for provider, model, breaker in server.breakers()}
    return [{"provider": name[0], "model": name[1], "breaker": state} for name, state in sorted(states.items())]


async def _begin(exchange: Exchange) -> web.StreamResponse:
    named = {k.replace("_", "-"): v for k, v in SECURITY.items()}
    common = {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }
    out = web.StreamResponse(headers=common | exchange.headers | named)
    out.enable_chunked_encoding()
    await out.prepare(exchange.request)
    await exchange.send(out.write(b"retry: %d\n\n" % RETRY))
    return out


def _load(file: Path) -> File:
    body = file.read_bytes()
    kind = TYPES[file.suffix]
    return File(body, f"{kind}; charset=utf-8", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
