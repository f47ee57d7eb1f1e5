"""The providers' own APIs on the gateway, for clients that set a base URL: forwarded to who has the model, byte for byte."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from urllib.parse import quote

from aiohttp import web

from midstream import flows
from midstream.config import Choice, Config
from midstream.dialects import registry
from midstream.dialects.base import Dialect, RequestFacts
from midstream.keys import Meter
from midstream.ledger import Account, Ledger, new_id, utc_now
from midstream.observation import NAME_LENGTH, Observation, StreamRecord, clean
from midstream.relay import native
from midstream.relay.access import Caller, check_model
from midstream.relay.exchange import Exchange, read_body
from midstream.relay.job import Job
from midstream.relay.refusal import Refusal
from midstream.relay.target import credential_headers, forwarded_headers
from midstream.relay.upstream import Upstream, UpstreamRequest
from midstream.wire.json_text import as_dict, dump_json, parse_json

_VERSION = re.compile(r"/v1(?=/)")


def dialect_of_path(path: str) -> Dialect | None:
    """Which provider API a path of the gateway is, or None."""
    if not path.startswith("/v1") or path.startswith(("/v1/streams", "/v1/chat/stream")):
        return next((d for d in registry.DIALECTS if d.name == "ollama" and _fits(d, path)), None)
    return next(
        (dialect for dialect in registry.DIALECTS if dialect.decoder is not None and _fits(dialect, path)), None
    )


def _fits(dialect: Dialect, path: str) -> bool:
    return any(pattern.search(path) for pattern in dialect.paths)


class ProviderPaths:
    """Answers requests to the providers' own APIs; `config` gives the configuration in force."""

    def __init__(self, config: Callable[[], Config], upstream: Upstream, ledger: Ledger, meter: Meter) -> None:
        self._config = config
        self._upstream = upstream
        self._ledger = ledger
        self._meter = meter

    async def answer(self, exchange: Exchange, caller: Caller, dialect: Dialect) -> web.StreamResponse:
        """Forward to the provider of the model that the request names. Raises Refusal, UnknownModel or ValueError."""
        config = self._config()
        body = await read_body(exchange, config.gateway.body_limit)
        path = exchange.request.rel_url.raw_path
        facts = dialect.read_request(path, registry.fields(body))
        choice = config.provider_for_model(facts.model)
        check_model(config, caller, choice.model, choice.provider.name)
        job = self._job(exchange, caller, dialect, choice, facts, body)
        if not self._meter.take(caller.owner, caller.max_streams):
            raise Refusal(429, f"this key has {caller.max_streams} streams open, which is its limit")
        try:
            record = job.account.observation.record
            exchange.job.native, exchange.job.stream = job, record.id
            exchange.job.more_headers = exchange.headers | {"X-Stream-Id": record.id}
            return await native.deliver(job, exchange.request, self._upstream, self._ledger)
        finally:
            self._meter.give(caller.owner)

    def _job(
        self, exchange: Exchange, caller: Caller, dialect: Dialect, choice: Choice, facts: RequestFacts, body: bytes
    ) -> Job:
        target = choice.targets[0]
        provider = self._config().provider(target.provider)
        if provider is None or not _speaks(provider.dialect or "", dialect):
            raise Refusal(
                501,
                f"{target.provider} does not speak {dialect.name}, and requests to this path are not translated yet; "
                "/v1/chat/stream takes chats for any provider",
                code="dialect_not_supported",
            )
        request = exchange.request
        path = _renamed(request.path_qs, facts.model, target.model)
        account = _account(exchange, caller, dialect, provider.name, provider.prices, facts.model)
        match = registry.Match(dialect, provider.name, provider.prices, facts)
        account.prompt = lambda: flows.prompt_of(match, body)
        return Job(
            request=UpstreamRequest(
                method="POST",
                url=provider.url(_VERSION.sub("", path, count=1) if dialect.name.startswith("openai_") else path),
                headers=[
                    *forwarded_headers(request.raw_headers),
                    *credential_headers(provider, dialect, caller),
                ],
                body=_renamed_body(body, facts.model, target.model),
                proxy=exchange.job.proxy,
                proxy_auth=exchange.job.proxy_auth,
            ),
            match=match,
            account=account,
            held=exchange.job.held,
        )


def _speaks(provider_dialect: str, dialect: Dialect) -> bool:
    """Whether a provider takes a dialect as it is. Who speaks OpenAI's chat API often has its other ones, or says 404 itself."""
    return provider_dialect == dialect.name or (
        provider_dialect.startswith("openai_") and dialect.name.startswith("openai_")
    )


def _renamed(path: str, asked: str, model: str) -> str:
    """The path, where it names the model (Gemini), with the model as its provider calls it."""
    if not asked or asked == model:
        return path
    for written in (asked, quote(asked, safe="")):
        path = path.replace(f"/{written}:", f"/{quote(model, safe='')}:")
    return path


def _renamed_body(body: bytes, asked: str, model: str) -> bytes:
    """The body; where the provider calls the model otherwise than the client did (`openai/gpt-4o`), with that name in it."""
    if asked == model:
        return body
    fields = as_dict(parse_json(body))
    return dump_json(fields | {"model": model}).encode() if "model" in fields else body


def _account(exchange: Exchange, caller: Caller, dialect: Dialect, provider: str, prices: str, model: str) -> Account:
    record = StreamRecord(
        id=new_id(),
        started_at=utc_now(),
        client=exchange.job.peer,
        app=flows.app_of(exchange.request.headers.get("user-agent", "")),
        key=caller.key,
        provider=provider,
        dialect=dialect.name,
        model_requested=clean(model, NAME_LENGTH),
    )
    return Account(Observation(record, time.monotonic()), prices=prices)
