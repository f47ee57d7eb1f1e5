"""An intercepted provider request whose client wants another delivery than the provider's own: asked of that very provider with
the client's own credential, and delivered as the gateway delivers its chats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from aiohttp import web

from midstream import flows
from midstream.config import Config
from midstream.dialects import registry
from midstream.relay import access, asked, cors, deliver_chunked, deliver_websocket
from midstream.relay.ask import intercepted
from midstream.relay.exchange import Exchange
from midstream.relay.healing import Means
from midstream.relay.job import GatewayJob, Intercepted
from midstream.relay.producer import Producer
from midstream.relay.provider_request import streaming
from midstream.relay.refusal import Refusal
from midstream.relay.streams import Stream, Streams
from midstream.wire.json_text import Json, dump_json


class Redelivery:
    """Shares the gateway's streams, so that its /v1/streams/{id} can go on with one. `config` gives the one in force."""

    def __init__(self, config: Callable[[], Config], streams: Streams, means: Means) -> None:
        self._config = config
        self._streams = streams
        self._means = means

    async def answer(self, job: GatewayJob, wanted: Intercepted, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever is wrong with it."""
        exchange = Exchange(job, request, read_timeout=self._config().gateway.read_timeout)
        try:
            return await self._answer(exchange, wanted)
        except Refusal as refusal:
            return exchange.refuse(refusal, wanted.match.dialect)
        except ValueError as error:
            return exchange.refuse(Refusal(400, str(error)), wanted.match.dialect)

    async def _answer(self, exchange: Exchange, wanted: Intercepted) -> web.StreamResponse:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in wanted.request.headers}
        origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
        allowed = cors.allowed(self._config().gateway, origin, exchange.job.authority, site=site)
        if allowed:
            exchange.headers = cors.headers(origin)
        owner = _owner(wanted, headers, exchange.job.peer)
        if wanted.delivery == "websocket":
            if not allowed:  # unlike fetch, a browser lets every page open a WebSocket to anywhere
                raise Refusal(403, "pages of this origin may not open this: see gateway.allowed_origins")
            return await self._socket(exchange, wanted, owner, headers)
        place = asked.place_of(headers, {})
        stream = self._start(wanted, owner) if place is None else self._streams.find(place.stream, owner)
        after = 0 if place is None else place.after
        exchange.job.stream = stream.id
        if wanted.delivery == "ndjson":
            return await deliver_chunked.deliver_lines(exchange, self._streams, stream, after, resumed=after > 0)
        ranged = headers.get("range", "")
        offset = asked.offset_of_range(ranged) if ranged else None
        return await deliver_chunked.deliver_text(exchange, self._streams, stream, offset)

    async def _socket(
        self, exchange: Exchange, wanted: Intercepted, owner: str, headers: dict[str, str]
    ) -> web.StreamResponse:
        async def start(body: Json) -> Stream:
            request = replace(wanted.request, body=dump_json(body, finite=True).encode())
            return self._start(replace(wanted, request=request), owner)

        return await deliver_websocket.deliver(
            exchange,
            self._streams,
            deliver_websocket.Chats(start=start, find=lambda id_: self._streams.find(id_, owner)),
            opening=None,
            binary=asked.wants_binary({}, headers.get("sec-websocket-protocol", "")),
            message_limit=self._config().gateway.body_limit,
        )

    def _start(self, wanted: Intercepted, owner: str) -> Stream:
        self._means.admit()
        dialect, body = wanted.match.dialect, wanted.request.body
        facts = dialect.read_request(urlsplit(wanted.request.url).path, registry.fields(body))
        match = replace(wanted.match, facts=facts)
        account = wanted.account(match)
        account.prompt = lambda: flows.prompt_of(match, body)
        ask = intercepted(self._config(), streaming(wanted.request, dialect), match, body)
        ask.stream = True
        stream = Stream(
            id=account.observation.record.id,
            owner=owner,
            model=facts.model,
            account=account,
            log=self._streams.new_log(),
            dialect=dialect,
        )
        self._streams.start(stream, Producer(stream, ask, self._means).run())
        return stream


def _owner(wanted: Intercepted, headers: dict[str, str], peer: str) -> str:
    """Whose the stream is: as on the gateway, whoever has the credential; without any, whoever has the address."""
    _, in_query = asked.split_secrets(urlunsplit(("", "", *urlsplit(wanted.request.url)[2:])))
    token = access.token_of(headers, in_query)
    return access.owner_of(token or ("" if access.is_loopback(peer) else peer))
