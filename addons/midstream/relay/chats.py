"""Starts the gateway's chats: body → conversation → provider, within the caller's rights."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from midstream import flows
from midstream.config import Config, UnknownModel
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.keys import Meter
from midstream.ledger import Account, new_id, utc_now
from midstream.observation import NAME_LENGTH, Observation, StreamRecord, clean
from midstream.relay.access import Caller, check_model
from midstream.relay.ask import Ask
from midstream.relay.healing import Means
from midstream.relay.prepare import BY_NAME, RuledOut, prepare
from midstream.relay.producer import Producer
from midstream.relay.refusal import Refusal
from midstream.relay.streams import Stream, Streams
from midstream.wire.json_text import Json, as_dict, as_str, dump_json

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts chats; `config` gives the configuration in force."""

    config: Callable[[], Config]
    streams: Streams
    means: Means
    meter: Meter

    async def start(self, body: Json, caller: Caller, origin: tuple[str, str], *, proxy: tuple[str, str]) -> Stream:
        """Start a chat. origin: the client's address and User-Agent. Raises Refusal, or ValueError naming a wrong field."""
        self.means.admit()
        ask = self._ask(body, caller, proxy)
        account = _account(ask, as_str(body.get("model")), origin)
        account.prompt = lambda: (OPENAI_CHAT.prompt(body), _template_tokens(ask, body))
        stream = Stream(
            id=account.observation.record.id,
            owner=caller.owner,
            key=caller.key,
            model=as_str(body.get("model")),
            account=account,
            log=self.streams.new_log(),
        )
        if not self.meter.take(caller.owner, caller.max_streams):
            raise Refusal(429, f"this key has {caller.max_streams} streams open, which is its limit")
        work = self._metered(Producer(stream, ask, self.means).run(), caller.owner)
        try:
            self.streams.start(stream, work)
        except Refusal:
            self.meter.give(caller.owner)
            raise
        return stream

    def _ask(self, body: Json, caller: Caller, proxy: tuple[str, str]) -> Ask:
        model = as_str(body.get("model"))
        if not model:
            raise Refusal(400, "model: which model to ask", code="model_required")
        if not body.get("messages"):
            raise Refusal(400, "messages: what to ask: a list of at least one message")
        config = self.config()
        try:
            choice = config.provider_for_model(model)
        except UnknownModel:
            check_model(config, caller, model, "")
            raise
        check_model(config, caller, choice.model, choice.provider.name)
        ask = Ask(
            dialect=OPENAI_CHAT,
            provider=choice.provider.name,
            model=choice.model,
            path=PATH,
            body=dump_json(
                _streaming(body) | {"model": choice.model}, finite=True
            ).encode(),  # `provider/model` is our name for it
            route=choice.route,
            targets=choice.targets,
            config=config,
            caller=caller,
            proxy=proxy[0],
            proxy_auth=proxy[1],
        )
        _check(ask)
        return ask

    async def _metered(self, work: Coroutine[Any, Any, None], owner: str) -> None:
        try:
            await work
        finally:
            self.meter.give(owner)


def _streaming(body: Json) -> Json:
    """The chat, for an answer that streams and reports its usage."""
    return body | {"stream": True, "stream_options": as_dict(body.get("stream_options")) | {"include_usage": True}}


def _check(ask: Ask) -> None:
    """Raises what is wrong with the request, or why nobody can be asked it, before a stream of it is begun."""
    conversation = ask.read()
    reasons: list[Refusal] = []
    for target in ask.targets:
        try:
            prepare(ask, target, conversation=conversation)
        except RuledOut as error:
            reasons.append(error.refusal)
        else:
            return
    raise reasons[0]


def _template_tokens(ask: Ask, body: Json) -> int | None:
    provider = ask.config.provider(ask.targets[0].provider)
    dialect = BY_NAME.get(provider.dialect or "") if provider is not None else None
    return dialect.template_tokens(body) if dialect is not None else None


def _account(ask: Ask, model: str, origin: tuple[str, str]) -> Account:
    provider = ask.config.provider(ask.targets[0].provider)
    record = StreamRecord(
        id=new_id(),
        started_at=utc_now(),
        client=origin[0],
        app=flows.app_of(origin[1]),
        key=ask.caller.key,
        provider=ask.targets[0].provider,
        dialect=(provider.dialect if provider is not None else None) or ask.dialect.name,
        model_requested=clean(model, NAME_LENGTH),
        delivery="sse",
    )
    return Account(Observation(record, time.monotonic()), prices=provider.prices if provider is not None else "")
