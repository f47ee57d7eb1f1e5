"""The gateway: what the proxy serves itself (design section 6). Routes a request, and checks who sent it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from midstream.config import Config, UnknownModel
from midstream.dialects import registry
from midstream.keys import Meter
from midstream.relay import access, asked, cors, deliver_chunked, deliver_sse, deliver_websocket, models
from midstream.relay.chats import Starter
from midstream.relay.exchange import Exchange, read_body
from midstream.relay.healing import Means
from midstream.relay.job import GatewayJob
from midstream.relay.pages import OPEN, page_of
from midstream.relay.provider_paths import ProviderPaths, dialect_of_path
from midstream.relay.refusal import Refusal
from midstream.relay.streams import Stream, Streams
from midstream.wire.json_text import Json

log = logging.getLogger(__name__)

FOLLOW_WAIT = 5.0
"""Seconds that a request for the newest live stream waits for one to start."""

ABOUT = """midstream: LLM streams, measured, re-delivered and healed.

GET or POST /v1/chat/stream   one chat, as server-sent events, a WebSocket, JSON lines or plain text
POST /v1/chat/completions …   the providers' own APIs
GET /v1/models                the models that the configuration names
GET /v1/streams               the streams of yours that run
GET, DELETE /v1/streams/ID    read one again, cancel one
GET /healthz                  whether the proxy is up
GET /openapi.json             all of it, as OpenAPI has it
"""

DESCRIPTION = Path(__file__).with_name("openapi.json").read_bytes()
"""What is served here, as OpenAPI 3.1; tests ask all of it."""


@dataclass(slots=True)
class _Call:
    """A request whose sender is known."""

    exchange: Exchange
    caller: access.Caller
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def method(self) -> str:
        return self.exchange.request.method


class Gateway:
    """One for each relay. `config` gives the configuration in force."""

    def __init__(self, config: Callable[[], Config], means: Means) -> None:
        self._config = config
        self.streams = Streams(lambda: config().streams)
        meter = Meter()
        self._starter = Starter(config, self.streams, means, meter)
        self._paths = ProviderPaths(config, means, meter)

    async def stop(self) -> None:
        """End all streams; their rows are settled as interrupted."""
        await self.streams.stop()

    async def answer(self, job: GatewayJob, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever is wrong with it."""
        exchange = Exchange(job, request, read_timeout=self._config().gateway.read_timeout)
        dialect = dialect_of_path(request.rel_url.raw_path)
        try:
            return await self._answer(exchange)
        except Refusal as refusal:
            return exchange.refuse(refusal, dialect)
        except asked.NotAcceptable as error:
            return exchange.refuse(Refusal(406, str(error)))
        except UnknownModel as error:
            return exchange.refuse(Refusal(404, str(error), code="model_not_found"), dialect)
        except ValueError as error:
            return exchange.refuse(Refusal(400, str(error)), dialect)

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        request, job = exchange.request, exchange.job
        path, headers = request.rel_url.raw_path, {k.lower(): v for k, v in request.headers.items()}
        origin = headers.get("origin", "")
        allowed = cors.allowed(self._config().gateway, origin, job.authority, site=headers.get("sec-fetch-site", ""))
        if allowed:
            exchange.headers = cors.headers(origin)
        if path == "/healthz":
            draining = self._starter.means.ledger.draining
            return exchange.json(503 if draining else 200, {"status": "draining" if draining else "ok"})
        if not allowed and not _is_visit(headers, path):
            raise Refusal(403, "pages of this origin may not call the gateway: see gateway.allowed_origins")
        if request.method == "OPTIONS":
            return exchange.answer(204, b"", "", cors.preflight(origin, headers))
        if path == "/openapi.json" and request.method == "GET":
            return exchange.answer(200, DESCRIPTION, "application/json")
        caller = self._caller(job, headers, path)
        return await self._route(_Call(exchange, caller, dict(request.rel_url.query), headers), path)

    def _caller(self, job: GatewayJob, headers: dict[str, str], path: str) -> access.Caller:
        token, job.token = job.token, ""
        config, now = self._config(), datetime.now(UTC)
        try:
            return access.identify(
                config, peer=job.peer, authority=job.authority, headers=headers, query_token=token, now=now
            )
        except Refusal as refusal:
            if config.keys and path in OPEN:
                return access.Caller("")
            owner = access.owner_without_key(headers, token) if refusal.status == 401 else ""
            if owner and self.streams.knows(_stream_of(path), owner):
                return access.Caller(owner)
            raise

    async def _route(self, call: _Call, path: str) -> web.StreamResponse:
        if path == "/v1/chat/stream":
            return await self._chat_stream(call)
        if path == "/v1/streams":
            call.exchange.allow("GET")
            return self._list(call)
        if stream_id := _stream_of(path):
            return await self._one_stream(call, stream_id)
        if path == models.PATH or (
            path.startswith(f"{models.PATH}/") and ":" not in path
        ):  # Gemini's: /v1/models/NAME:METHOD
            call.exchange.allow("GET", "HEAD")
            return call.exchange.json(200, models.models_at(path, self._config(), call.caller))
        page = page_of(path)
        if page is not None:
            return await page(call.exchange, call.caller)
        if path == "/":
            call.exchange.allow("GET", "HEAD")
            return call.exchange.answer(200, ABOUT.encode(), "text/plain; charset=utf-8")
        if registry.recognise_websocket(access.GATEWAY_HOST, path) is not None and "upgrade" in call.headers:
            raise Refusal(501, "the providers' WebSocket APIs are not served here; /v1/chat/stream is")
        dialect = dialect_of_path(path)
        if dialect is not None:
            call.exchange.allow("POST")
            return await self._paths.answer(call.exchange, call.caller, dialect)
        raise Refusal(404, f"nothing is served at {path[:200]}; GET /openapi.json says what is")

    async def _chat_stream(self, call: _Call) -> web.StreamResponse:
        call.exchange.allow("GET", "POST")
        delivery = asked.delivery_of(call.headers.get("accept", ""), call.headers.get("upgrade", ""))
        place = asked.place_of(call.headers, call.query)
        if place is not None:
            stream = self.streams.find(place.stream, call.caller.owner)
            return await self._deliver(call, delivery, (stream, place.after, True))
        body = await self._body(call)
        if body is not None:
            stream = await self._start(call, body)
            if call.method == "POST" and asked.wants_async(call.headers.get("prefer", "")):
                return _accepted(call, stream)
            return await self._deliver(call, delivery, (stream, 0, False))
        if delivery == "websocket":
            return await self._deliver(call, delivery, None)
        newest = await self.streams.follow(call.caller.owner, FOLLOW_WAIT)
        if newest is None:
            raise Refusal(
                404,
                "no stream of yours is running: start one by POST, or with model= and prompt= in the query",
                code="stream_not_found",
            )
        return await self._deliver(call, delivery, (newest, 0, False))

    async def _body(self, call: _Call) -> Json | None:
        if call.method == "GET":
            return asked.chat_of_query(call.query)
        return asked.read_object(await read_body(call.exchange, self._config().gateway.body_limit))

    async def _start(self, call: _Call, body: Json) -> Stream:
        job = call.exchange.job
        access.check_chat(self._config(), call.caller, datetime.now(UTC))
        origin = (job.peer, call.headers.get("user-agent", ""))
        stream = await self._starter.start(body, call.caller, origin, proxy=(job.proxy, job.proxy_auth))
        job.stream = job.stream or stream.id
        return stream

    async def _one_stream(self, call: _Call, stream_id: str) -> web.StreamResponse:
        call.exchange.allow("GET", "DELETE")
        stream = self.streams.find(stream_id, call.caller.owner)
        if call.method == "DELETE":
            self.streams.cancel(stream)
            return call.exchange.json(
                200, {"id": stream.id, "object": "stream", "cancelled": True}, X_Stream_Id=stream.id
            )
        delivery = asked.delivery_of(call.headers.get("accept", ""), call.headers.get("upgrade", ""))
        place = asked.place_of(call.headers, call.query, stream.id) or asked.Place(stream.id, 0)
        return await self._deliver(call, delivery, (stream, place.after, place.after > 0))

    async def _deliver(
        self, call: _Call, delivery: asked.Delivery, what: tuple[Stream, int, bool] | None
    ) -> web.StreamResponse:
        exchange, streams = call.exchange, self.streams
        if delivery == "websocket" or what is None:
            return await self._socket(call, what)
        stream, after, resumed = what
        exchange.job.stream = stream.id
        if delivery == "sse":
            return await deliver_sse.deliver(exchange, streams, stream, after, resumed=resumed)
        if delivery == "ndjson":
            return await deliver_chunked.deliver_lines(exchange, streams, stream, after, resumed=resumed)
        ranged = call.headers.get("range", "")
        offset = asked.offset_of_range(ranged) if ranged else None
        return await deliver_chunked.deliver_text(exchange, streams, stream, offset)

    async def _socket(self, call: _Call, opening: tuple[Stream, int, bool] | None) -> web.StreamResponse:
        async def start(body: Json) -> Stream:
            return await self._start(call, body)

        binary = asked.wants_binary(call.query, call.headers.get("sec-websocket-protocol", ""))
        return await deliver_websocket.deliver(
            call.exchange,
            self.streams,
            deliver_websocket.Chats(start=start, find=lambda id_: self.streams.find(id_, call.caller.owner)),
            opening=opening,
            binary=binary,
            message_limit=self._config().gateway.body_limit,
        )

    def _list(self, call: _Call) -> web.Response:
        live = self.streams.live(call.caller.owner)
        return call.exchange.json(200, {"object": "list", "data": [describe(stream) for stream in live]})


def describe(stream: Stream) -> Json:
    """A stream as the gateway's JSON shows it."""
    status = "live" if stream.live else "failed" if stream.failure is not None else "complete"
    return {
        "id": stream.id,
        "object": "stream",
        "status": status,
        "model": stream.model,
        "created": int(stream.created),
        "last": stream.log.last,
        "readers": stream.log.readers,
    }


def _stream_of(path: str) -> str:
    """The id in /v1/streams/{id}; "" for every other path."""
    parts = path.strip("/").split("/")
    return parts[2] if parts[:2] == ["v1", "streams"] and len(parts) == 3 else ""


def _accepted(call: _Call, stream: Stream) -> web.Response:
    named = {"Location": f"/v1/streams/{stream.id}", "Preference_Applied": "respond-async", "X_Stream_Id": stream.id}
    return call.exchange.json(202, describe(stream), **named)


def _is_visit(headers: dict[str, str], path: str) -> bool:
    """Whether somebody followed a link to the page: nothing that another site's script could read or start."""
    return path == "/" and headers.get("sec-fetch-mode", "") == "navigate"
