"""Targets that cannot be asked: their stream's rows and the log tell of them, and nothing counts them as asked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from midstream.attempts import add_up
from midstream.config import Config
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import RequestFacts
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.registry import Match
from midstream.events import Event, Failure, Usage
from midstream.ledger import Account, Ledger, utc_now
from midstream.observation import Observation, StreamRecord
from midstream.relay.ask import intercepted
from midstream.relay.healing import Healing, Means
from midstream.relay.job import Head
from midstream.relay.passed_over import REASONS, Reasons
from midstream.relay.prepare import Prepared, RuledOut
from midstream.relay.questions import Question, Questions
from midstream.relay.refusal import Refusal
from midstream.relay.shown import Shown
from midstream.relay.sink import Refused, Said
from midstream.relay.upstream import Upstream, UpstreamError, UpstreamRequest
from relay.fake_pieces import FakePieces

ANSWER = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
DOWN = json.dumps({"error": {"message": "down", "type": "server_error"}}).encode()
UNSET = "the environment variable NO_SUCH_KEY, its api_key, is not set"
KEYLESS = {"api_key": "env:NO_SUCH_KEY"}
FALLBACK = "anthropic/claude-x"


class Response:
    reason = ""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self._named = {"content-type": "text/event-stream" if status == 200 else "application/json"}
        self.headers = [(k.encode(), v.encode()) for k, v in self._named.items()]
        self._left = [body]

    def header(self, name: str) -> str:
        return self._named.get(name, "")

    def pieces(self) -> AsyncIterator[bytes]:
        return FakePieces(self._next)

    async def _next(self) -> bytes:
        return self._left.pop() if self._left else b""

    def close(self) -> None: ...


class Providers:
    """By a word of their address: a status and a body, or None for no connection."""

    def __init__(self, **answers: tuple[int, bytes] | None) -> None:
        self._answers = answers
        self.asked: list[str] = []

    async def open(self, request: UpstreamRequest, *, connect: float, stream: str) -> Response:
        name = next(name for name in self._answers if f".{name}." in request.url)
        self.asked.append(name)
        if (answer := self._answers[name]) is None:
            raise UpstreamError("connection_error", "refused")
        return Response(*answer)


class NoLedger:
    draining = stopping = False

    def first_content(self, account: Account) -> None: ...

    async def billed(self, account: Account) -> Usage:
        return add_up([])


class Sink:
    """What a client of the provider's own bytes has."""

    takes_bytes = True

    def __init__(self) -> None:
        self.got = b""
        self.refused: Refused | None = None
        self.whole = False

    async def begin(self, prepared: Prepared, head: Head, decoder: AnswerDecoder) -> None: ...

    async def pass_on(self, data: bytes, *, whole: bool = False) -> None:
        self.got += data

    async def say(self, events: Sequence[Event], said: Said) -> None: ...

    async def finish(self) -> Failure | None:
        self.whole = True
        return None

    async def refuse(self, refused: Refused) -> None:
        self.refused = refused

    async def break_off(self, failure: Failure, said: Said) -> None: ...


class Case:
    """One request for openai/gpt-4o, by a route with these targets."""

    def __init__(self, providers: Providers, tables: Any, *targets: str, means: Means | None = None) -> None:
        self.sink = Sink()
        self.means = means or Means(cast(Upstream, providers), cast(Ledger, NoLedger()))
        route = {"targets": targets, "attempts": 1, "backoff": {"base": 0.001, "max": 0.001}}
        self._config = Config.model_validate({"providers": tables, "routes": [route]})
        record = StreamRecord(id="st_1", started_at=utc_now(), provider="openai", model_requested="gpt-4o")
        self.observation = Observation(record, time.monotonic())

    def run(self, content: Any = "Hi") -> Case:
        body = json.dumps({"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": content}]})
        url = "https://api.openai.com/v1/chat/completions"
        request = UpstreamRequest(method="POST", url=url, headers=(), body=body.encode())
        match = Match(OPENAI_CHAT, "openai", "gpt-4o", RequestFacts(model="gpt-4o", stream=True))
        account = Account(self.observation)
        shown = Shown(
            intercepted(self._config, request, match, body.encode()), account, cast(Ledger, NoLedger()), self.sink
        )
        healing = Healing(shown, self.means)
        asyncio.run(asyncio.wait_for(healing.run(), 30))
        failure = healing.failure
        self.observation.settle(
            "complete" if failure is None else "failed",
            time.monotonic(),
            error_type=failure.type if failure else "",
            error=failure.message if failure else "",
        )
        return self

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        return [(one.provider, one.ended, one.next) for one in self.observation.attempts]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)


def test_a_fallback_without_its_key_is_told_of_in_the_row_of_the_attempt_before() -> None:
    providers = Providers(openai=(500, DOWN))
    case = Case(providers, {"anthropic": KEYLESS}, "openai", FALLBACK).run()
    said = f"asks {FALLBACK}; not asked: provider anthropic: {UNSET}; gives up: no target is left"
    assert case.rows == [("openai", "server_error", said)]
    assert case.sink.refused is not None
    assert case.sink.refused.body == DOWN


def test_nothing_counts_it_as_asked() -> None:
    providers = Providers(openai=(500, DOWN), groq=(200, ANSWER))
    case = Case(providers, {"anthropic": KEYLESS, "groq": {"api_key": "k"}}, "openai", FALLBACK, "groq/m").run()
    assert providers.asked == ["openai", "groq"]
    assert (case.observation.record.attempts, case.observation.record.rerouted) == (2, 1)
    assert [row[0] for row in case.rows] == providers.asked
    assert case.rows[0][2] == f"asks {FALLBACK}; not asked: provider anthropic: {UNSET}; asks groq/m"
    assert case.sink.got == ANSWER
    failures = {str(target): breaker.failures for target, breaker in case.means.targets.breakers()}
    assert sorted(failures.values()) == [0, 0, 1]


def test_what_a_target_cannot_express_is_said() -> None:
    providers = Providers(openai=(500, DOWN))
    audio = [{"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}]
    case = Case(providers, {"anthropic": {"api_key": "k"}}, "openai", FALLBACK).run(audio)
    ((_, _, said),) = case.rows
    assert "; not asked: anthropic cannot be asked this: audio; gives up" in said


def test_who_was_passed_over_before_the_first_attempt_stands_in_its_row() -> None:
    tables = {"openai": KEYLESS, "groq": {"api_key": "k"}}
    case = Case(Providers(groq=(200, ANSWER)), tables, "openai", "groq/m").run()
    assert case.rows == [("groq", "complete", f"openai/gpt-4o not asked: provider openai: {UNSET}")]
    assert case.sink.whole


def test_where_nobody_could_be_asked_the_client_learns_why_whom_it_asked_was_not() -> None:
    case = Case(Providers(), {"openai": KEYLESS, "anthropic": KEYLESS}, "openai", FALLBACK).run()
    assert case.sink.refused is not None
    assert case.sink.refused.failure.message == f"provider openai: {UNSET}"
    ((_, _, said),) = case.rows
    assert f"{FALLBACK} not asked: provider anthropic: {UNSET}" in said


def test_who_was_not_asked_does_not_speak_for_who_was() -> None:
    """Its variable's name is none of the client's business, nor what it has to look for."""
    case = Case(Providers(openai=None), {"anthropic": KEYLESS}, "openai", FALLBACK).run()
    assert case.sink.refused is not None
    assert case.sink.refused.failure.type == "connection_error"
    assert case.observation.record.error_type == "connection_error"


def test_the_log_tells_each_reason_once(caplog: pytest.LogCaptureFixture) -> None:
    providers = Providers(openai=(500, DOWN))
    first = Case(providers, {"anthropic": KEYLESS}, "openai", FALLBACK).run()
    Case(providers, {"anthropic": KEYLESS}, "openai", FALLBACK, means=first.means).run()
    assert [record.getMessage() for record in caplog.records] == [
        f"{FALLBACK} was not asked: provider anthropic: {UNSET}"
    ]


def test_the_log_is_not_told_without_end(caplog: pytest.LogCaptureFixture) -> None:
    reasons = Reasons()
    for number in range(2 * REASONS):
        reasons.tell(FALLBACK, f"no file {number}")
    assert len(caplog.records) == REASONS


def test_a_target_that_takes_neither_way_of_asking_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It rejected the one, and the other cannot be written."""
    put, puts = Questions.put, list[int]()

    def then_ruled_out(self: Questions, number: int) -> Question:
        puts.append(number)
        assert len(puts) < 5, "asked for ever"
        if len(puts) > 1:
            raise RuledOut(Refusal(400, "no way to say it"))
        return put(self, number)

    monkeypatch.setattr(Questions, "put", then_ruled_out)
    monkeypatch.setattr(Questions, "wrongly_put", lambda *_: True)
    case = Case(Providers(openai=(400, DOWN)), {}, "openai").run()
    assert case.rows == [
        ("openai", "server_error", "asks again; not asked: no way to say it; gives up: no target is left")
    ]
