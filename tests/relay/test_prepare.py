"""A request in a provider's words, with the right credential and no other."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from midstream.config import Config
from midstream.dialects.anthropic.messages import ANTHROPIC_MESSAGES
from midstream.dialects.base import Dialect
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.relay.access import Caller
from midstream.relay.ask import Ask
from midstream.relay.credentials import forwarded_headers
from midstream.relay.job import Head
from midstream.relay.native_sink import NativeSink
from midstream.relay.prepare import Prepared, RuledOut, prepare

LOCAL = Caller("caller:x", credential="sk-own")
KEYED = Caller("key:app", "app")


def prepared(model: str, caller: Caller = LOCAL, providers: Any = None, **asked: Any) -> Prepared:
    config = Config.model_validate({"providers": providers or {}})
    choice = config.provider_for_model(model)
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]} | asked
    question = Ask(
        dialect=OPENAI_CHAT,
        provider=choice.provider.name,
        model=choice.model,
        path="/v1/chat/completions",
        body=json.dumps(body).encode(),
        route=choice.route,
        targets=choice.targets,
        config=config,
        caller=caller,
    )
    return prepare(question, choice.targets[0], conversation=question.read())


def headers_of(request: Prepared) -> dict[str, str]:
    return {k.decode().lower(): v.decode() for k, v in request.request.headers}


def test_it_always_streams_and_asks_for_usage() -> None:
    request = prepared("openai/gpt-4o", stream=False, temperature=0.5)
    body = json.loads(request.request.body)
    assert request.request.url == "https://api.openai.com/v1/chat/completions"
    assert (body["model"], body["stream"], body["stream_options"]) == ("gpt-4o", True, {"include_usage": True})
    assert body["temperature"] == 0.5


@pytest.mark.parametrize(
    ("model", "header", "value"),
    [
        ("gpt-4o", "authorization", "Bearer sk-own"),
        ("claude-haiku-4-5", "x-api-key", "sk-own"),
        ("gemini-2.5-flash", "x-goog-api-key", "sk-own"),
    ],
)
def test_a_credential_goes_where_the_api_wants_it(model: str, header: str, value: str) -> None:
    headers = headers_of(prepared(model))
    assert headers[header] == value
    assert sum("sk-own" in v for v in headers.values()) == 1


def test_anthropic_gets_its_version() -> None:
    assert headers_of(prepared("claude-haiku-4-5"))["anthropic-version"] == "2023-06-01"


def test_the_configured_key_wins_and_a_gateway_key_never_goes_out() -> None:
    configured = {"openai": {"api_key": "sk-configured"}}
    for caller in (LOCAL, KEYED):
        assert headers_of(prepared("gpt-4o", caller, configured))["authorization"] == "Bearer sk-configured"
    with pytest.raises(RuledOut, match="API key") as ruled_out:
        prepared("gpt-4o", KEYED)
    assert ruled_out.value.refusal.status == 500


def test_a_key_that_the_environment_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(RuledOut, match="NO_SUCH_KEY"):
        prepared("gpt-4o", LOCAL, {"openai": {"api_key": "env:NO_SUCH_KEY"}})


def test_a_credential_cannot_smuggle_a_header() -> None:
    assert "authorization" not in headers_of(prepared("gpt-4o", Caller("x", credential="a\r\nx-evil: 1")))


def test_forwarded_headers_hold_no_credential_and_nothing_of_the_browser() -> None:
    given = [
        (b"Authorization", b"Bearer mst_x"),
        (b"X-Api-Key", b"mst_x"),
        (b"x-goog-api-key", b"mst_x"),
        (b"api-key", b"mst_x"),
        (b"Cookie", b"c"),
        (b"Helicone-Auth", b"Bearer sk-helicone"),
        (b"cf-aig-authorization", b"Bearer x"),
        (b"X-Auth-Token", b"t"),
        (b"OpenAI-Organization", b"org"),
        (b"OpenAI-Project", b"p"),
        (b"Host", b"localhost"),
        (b"Origin", b"http://localhost"),
        (b"Sec-Fetch-Site", b"none"),
        (b"X-Midstream-Ticket", b"t"),
        (b"Connection", b"close"),
        (b"anthropic-beta", b"tools"),
        (b"Content-Type", b"application/json"),
    ]
    assert forwarded_headers(given) == [(b"anthropic-beta", b"tools"), (b"Content-Type", b"application/json")]


def own(model: str, targets: list[str], dialect: Dialect, path: str, **body: Any) -> list[Prepared]:
    """The client's own request, as each target of a route gets it."""
    question = asks(model, targets, dialect, path, **body)
    return [prepare(question, target) for target in question.targets]


def asks(model: str, targets: list[str], dialect: Dialect, path: str, **body: Any) -> Ask:
    keys = {name: {"api_key": "k"} for name in ("openai", "anthropic")}
    config = Config.model_validate({"providers": keys, "routes": [{"model": model, "targets": targets}]})
    choice = config.provider_for_model(model)
    return Ask(
        dialect=dialect,
        provider=choice.provider.name,
        model=choice.model,
        path=path,
        body=json.dumps({"model": model, "of_tomorrow": 1} | body).encode(),
        route=choice.route,
        targets=choice.targets,
        config=config,
        caller=KEYED,
    )


class Heads:
    """A client who remembers the head of its answer."""

    def __init__(self) -> None:
        self.head: Head | None = None

    async def begin(self, head: Head, keepalive: bytes) -> None:
        self.head = head


def test_the_client_hears_what_another_model_of_its_dialect_was_not_told() -> None:
    targets, messages = ["openai/gpt-4.1", "openai/gpt-5-mini"], [{"role": "user", "content": "hi"}]
    question = asks("gpt-4.1", targets, OPENAI_CHAT, "/v1/chat/completions", messages=messages, temperature=0.2)
    heard: list[dict[bytes, bytes]] = []
    for target in question.targets:
        client = Heads()
        sink = NativeSink(question, "id", cast("Any", client))
        asyncio.run(sink.begin(prepare(question, target), Head(200, "OK", []), cast("Any", None)))
        assert client.head is not None
        heard.append(dict(client.head.headers))
    assert heard == [{}, {b"x-midstream-target": b"openai/gpt-5-mini", b"x-midstream-dropped": b"temperature"}]


def test_another_model_of_the_own_dialect_is_not_told_what_it_refuses() -> None:
    targets = ["openai/gpt-4.1", "openai/gpt-5-mini", "openai/of-tomorrow"]
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, "temperature": 0.2}
    first, second, third = own("gpt-4.1", targets, OPENAI_CHAT, "/v1/chat/completions", stream=True, **asked)
    known = {"of_tomorrow": 1, "stream": True, "messages": asked["messages"]}
    assert json.loads(first.request.body) == {**known, **asked, "model": "gpt-4.1"}
    assert json.loads(second.request.body) == {**known, "model": "gpt-5-mini", "max_completion_tokens": 50}
    assert json.loads(third.request.body) == {**known, **asked, "model": "of-tomorrow"}
    assert [prepared.dropped for prepared in (first, second, third)] == [(), ("temperature",), ()]
    assert all(prepared.own for prepared in (first, second, third))


def test_thoughts_stay_with_the_first_target_of_an_alias() -> None:
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    answer = {"role": "assistant", "content": [thought, {"type": "text", "text": "x"}]}
    hi = {"role": "user", "content": "hi"}
    targets = ["anthropic/claude-opus-5", "anthropic/claude-sonnet-5"]
    both = own("smart", targets, ANTHROPIC_MESSAGES, "/v1/messages", max_tokens=9, messages=[hi, answer, hi])
    kept = [len(json.loads(prepared.request.body)["messages"][1]["content"]) for prepared in both]
    assert kept == [2, 1]


def test_a_model_that_refuses_what_cannot_be_left_out_is_ruled_out() -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "so"}]
    targets = ["anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-5"]
    with pytest.raises(RuledOut, match="anthropic cannot be asked this: a prefill"):
        own("claude-haiku-4-5", targets, ANTHROPIC_MESSAGES, "/v1/messages", max_tokens=9, messages=messages)
