"""Starts the gateway's chats: body → conversation → provider, within the caller's rights."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from midstream import flows
from midstream.config import Config, UnknownModel
from midstream.dialects.openai_chat import OPENAI_CHAT
from midstream.keys import Meter
from midstream.ledger import Account, Ledger, new_id, utc_now
from midstream.observation import NAME_LENGTH, Observation, StreamRecord, clean
from midstream.relay.access import Caller, check_model
from midstream.relay.producer import Producer
from midstream.relay.refusal import Refusal
from midstream.relay.streams import Stream, Streams
from midstream.relay.target import Prepared, prepare
from midstream.relay.upstream import Upstream
from midstream.wire.json_text import Json, as_str

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts chats; `config` gives the configuration in force."""

    config: Callable[[], Config]
    streams: Streams
    upstream: Upstream
    ledger: Ledger
    meter: Meter

    async def start(self, body: Json, caller: Caller, origin: tuple[str, str], *, proxy: tuple[str, str]) -> Stream:
        """Start a chat. origin: the client's address and User-Agent. Raises Refusal, or ValueError naming a wrong field."""
        prepared = self._prepare(body, caller, proxy)
        account = _account(prepared, as_str(body.get("model")), caller.key, origin)
        account.prompt = lambda: (OPENAI_CHAT.prompt(body), prepared.dialect.template_tokens(body))
        stream = Stream(
            id=account.observation.record.id,
            owner=caller.owner,
            key=caller.key,
            model=as_str(body.get("model")),
            account=account,
            log=self.streams.new_log(),
            dropped=prepared.dropped,
        )
        if not self.meter.take(caller.owner, caller.max_streams):
            raise Refusal(429, f"this key has {caller.max_streams} streams open, which is its limit")
        work = self._metered(Producer(stream, prepared, self.upstream, self.ledger).run(), caller.owner)
        try:
            self.streams.start(stream, work)
        except Refusal:
            self.meter.give(caller.owner)
            raise
        return stream

    def _prepare(self, body: Json, caller: Caller, proxy: tuple[str, str]) -> Prepared:
        model = as_str(body.get("model"))
        if not model:
            raise Refusal(400, "model: which model to ask", code="model_required")
        if not body.get("messages"):
            raise Refusal(400, "messages: what to ask: a list of at least one message")
        if OPENAI_CHAT.read_conversation is None:
            raise Refusal(501, "chats cannot be read yet")
        config = self.config()
        try:
            choice = config.provider_for_model(model)
        except UnknownModel:
            check_model(config, caller, model, "")
            raise
        check_model(config, caller, choice.model, choice.provider.name)
        prepared = prepare(config, choice, OPENAI_CHAT.read_conversation(PATH, body), caller)
        return replace(prepared, request=replace(prepared.request, proxy=proxy[0], proxy_auth=proxy[1]))

    async def _metered(self, work: Coroutine[Any, Any, None], owner: str) -> None:
        try:
            await work
        finally:
            self.meter.give(owner)


def _account(prepared: Prepared, model: str, key: str | None, origin: tuple[str, str]) -> Account:
    record = StreamRecord(
        id=new_id(),
        started_at=utc_now(),
        client=origin[0],
        app=flows.app_of(origin[1]),
        key=key,
        provider=prepared.provider.name,
        dialect=prepared.dialect.name,
        model_requested=clean(model, NAME_LENGTH),
        delivery="sse",
    )
    return Account(Observation(record, time.monotonic()), prices=prepared.provider.prices)
