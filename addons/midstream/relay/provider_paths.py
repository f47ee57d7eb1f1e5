"""The providers' own APIs on the gateway, for clients that set a base URL: forwarded to who has the model, byte for byte."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from midstream import flows
from midstream.config import Choice, Config, UnknownModel
from midstream.dialects import registry
from midstream.dialects.base import Dialect, RequestFacts
from midstream.keys import Meter
from midstream.ledger import Account, new_id, utc_now
from midstream.observation import NAME_LENGTH, Observation, StreamRecord, clean
from midstream.relay import asked, native
from midstream.relay.access import Caller, check_model
from midstream.relay.ask import Ask
from midstream.relay.client import HttpClient
from midstream.relay.exchange import Exchange, read_body
from midstream.relay.healing import Means
from midstream.relay.job import Job
from midstream.relay.prepare import RuledOut, prepare, renamed_body, renamed_path
from midstream.relay.refusal import Refusal


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

    def __init__(self, config: Callable[[], Config], means: Means, meter: Meter) -> None:
        self._config = config
        self._means = means
        self._meter = meter

    async def answer(self, exchange: Exchange, caller: Caller, dialect: Dialect) -> web.StreamResponse:
        """Forward to the provider of the model that the request names. Raises Refusal, UnknownModel or ValueError."""
        self._means.admit()
        config = self._config()
        body = await read_body(exchange, config.gateway.body_limit)
        path = exchange.request.rel_url.raw_path
        facts = dialect.read_request(path, registry.fields(body))
        try:
            choice = config.provider_for_model(facts.model)
        except UnknownModel:
            if not facts.model:
                asked.read_object(body)  # raises what is wrong with a body in which no model can be found
                raise Refusal(400, "model: which model to ask", code="model_required") from None
            raise
        check_model(config, caller, choice.model, choice.provider.name)
        job = self._job(exchange, caller, dialect, choice, facts, body)
        if not self._meter.take(caller.owner, caller.max_streams):
            raise Refusal(429, f"this key has {caller.max_streams} streams open, which is its limit")
        try:
            record = job.account.observation.record
            exchange.job.native, exchange.job.stream = job, record.id
            exchange.job.more_headers = exchange.headers | {"X-Stream-Id": record.id}
            client = HttpClient(exchange.request, job)
            await native.deliver(job, client, self._means)
            return client.response
        finally:
            self._meter.give(caller.owner)

    def _job(
        self, exchange: Exchange, caller: Caller, dialect: Dialect, choice: Choice, facts: RequestFacts, body: bytes
    ) -> Job:
        request = exchange.request
        ask = Ask(
            dialect=dialect,
            provider=choice.provider.name,
            model=choice.model,
            path=renamed_path(request.path_qs, facts.model, choice.model),
            body=renamed_body(body, facts.model, choice.model),
            route=choice.route,
            targets=choice.targets,
            config=self._config(),
            caller=caller,
            headers=request.raw_headers,
            stream=facts.stream,
            proxy=exchange.job.proxy,
            proxy_auth=exchange.job.proxy_auth,
        )
        for number, target in enumerate(ask.targets, 1):
            try:
                first = prepare(ask, target)
                break
            except RuledOut as error:
                if number == len(ask.targets):
                    raise error.refusal from None
        account = _account(exchange, caller, dialect, first.provider, first.prices, facts.model)
        match = registry.Match(dialect, first.provider, first.prices, facts)
        account.prompt = lambda: flows.prompt_of(match, body)
        account.streamed, account.trace = facts.stream, request.headers.get("traceparent", "")[: flows.TRACE_LENGTH]
        return Job(ask=ask, account=account, held=exchange.job.held)


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
