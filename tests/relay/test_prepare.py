"""A request in a provider's words, with the right credential and no other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from midstream.config import Config
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.relay.access import Caller
from midstream.relay.ask import Ask
from midstream.relay.credentials import forwarded_headers
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
