"""Which dialect a request speaks, by host, path and body; and what only its response tells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from midstream.dialects import registry
from midstream.dialects.base import RequestFacts
from midstream.dialects.registry import (
    is_stream_type,
    recognise,
    recognise_get,
    recognise_late,
    recognise_websocket,
)
from midstream.providers import Owner, provider_of

SSE = "text/event-stream"
MESSAGES: Any = {"model": "m", "messages": []}


def said(match: registry.Match | None) -> tuple[str, str] | None:
    return (match.dialect.name, match.provider) if match else None


def asked(host: str, path: str, body: Any) -> tuple[str, str] | None:
    return said(recognise(host, path, json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("host", "path", "body", "found"),
    [
        ("api.openai.com", "/v1/chat/completions", MESSAGES, ("openai_chat", "openai")),
        ("api.openai.com", "/v1/chat/completions?x=/v1/messages", MESSAGES, ("openai_chat", "openai")),
        ("API.OpenAI.com", "/v1/chat/completions", MESSAGES, ("openai_chat", "openai")),
        ("api.openai.com", "/v1/responses", {"input": "hi"}, ("openai_responses", "openai")),
        ("x.openai.azure.com", "/openai/deployments/d/chat/completions", MESSAGES, ("openai_chat", "azure")),
        ("api.groq.com", "/openai/v1/chat/completions", MESSAGES, ("openai_chat", "groq")),
        ("api.anthropic.com", "/v1/messages", MESSAGES, ("anthropic_messages", "anthropic")),
        ("api.anthropic.com", "/v1/complete", {"prompt": "hi"}, ("anthropic_complete", "anthropic")),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            {"contents": []},
            ("gemini", "gemini"),
        ),
        (
            "bedrock-runtime.us-east-1.amazonaws.com",
            "/model/m/converse-stream",
            {"messages": []},
            ("bedrock_converse", "bedrock"),
        ),
        ("api.openai.com", "/v1/models", {}, None),
        ("api.openai.com", "/v1/embeddings", {"input": "hi"}, None),
        ("api.anthropic.com", "/v1/messages/count_tokens", MESSAGES, None),
    ],
)
def test_a_known_host_is_recognised_by_its_path(host: str, path: str, body: Any, found: tuple[str, str] | None) -> None:
    assert asked(host, path, body) == found


@pytest.mark.parametrize(
    ("path", "body", "found"),
    [
        ("/v1/chat/completions", MESSAGES, "openai_chat"),
        ("/api/chat", MESSAGES, "ollama"),
        ("/api/generate", {"model": "m", "prompt": "hi"}, "ollama"),
        ("/v1/completions", {"model": "m", "prompt": "hi"}, "openai_completions"),
        ("/v1/chat/completions", {"text": "no LLM's"}, None),
        ("/api/chat", {"room": 1}, None),
        ("/upload", MESSAGES, None),
    ],
)
def test_an_unknown_host_is_recognised_by_path_and_body_and_named_by_itself(
    path: str, body: Any, found: str | None
) -> None:
    assert asked("llm.example:8000", path, body) == ((found, "llm.example:8000") if found else None)


@pytest.mark.parametrize("body", [None, b"", b"\xff\x00", b"[]", b"[" * 100_000, b'"x"', b"null"])
def test_a_body_that_is_no_object_tells_nothing_and_a_known_host_still_does(body: bytes | None) -> None:
    assert recognise("llm.example", "/v1/chat/completions", body) is None
    assert said(recognise("api.openai.com", "/v1/chat/completions", body)) == ("openai_chat", "openai")


@dataclass(frozen=True)
class Mine:
    """A configured provider."""

    dialect: str | None
    name: str = "mine"
    prices: str = "groq"


def whose(dialect: str | None) -> registry.Whose:
    """llm.example is mine, and speaks this dialect."""

    def look(host: str) -> Owner | None:
        return Mine(dialect) if host == "llm.example" else None

    return look


@pytest.mark.parametrize(
    ("dialect", "path", "body", "found"),
    [
        # a dialect's path is its own, whatever the host's dialect
        ("anthropic_messages", "/v1/chat/completions", MESSAGES, "openai_chat"),
        (None, "/v1/chat/completions", {}, "openai_chat"),
        ("openai_chat", "/v1/chat", {}, "openai_chat"),
        ("openai_chat", "/v1/chat", {"message": "hi"}, "cohere"),
        # under a prefix of the server's own the end of the path is enough, if the body asks for something
        ("anthropic_messages", "/claude/v2/messages", MESSAGES, "anthropic_messages"),
        ("anthropic_messages", "/messages/", MESSAGES, "anthropic_messages"),
        ("anthropic_messages", "/threads/t/messages", {"role": "user", "content": "hi"}, None),
        ("anthropic_messages", "/messages/count_tokens", MESSAGES, None),
        ("cohere", "/chat", MESSAGES, "cohere"),
        ("ollama", "/llama/generate", {"model": "m", "prompt": "hi"}, "ollama"),
        ("gemini", "/g/gemini-2.5-flash:streamGenerateContent", {"contents": []}, "gemini"),
        ("bedrock_converse", "/m/converse-stream", {"messages": []}, "bedrock_converse"),
        ("openai_chat", "/claude/v2/messages", MESSAGES, None),
        (None, "/claude/v2/messages", MESSAGES, None),
        ("no_such_dialect", "/claude/v2/messages", MESSAGES, None),
    ],
)
def test_a_configured_host_speaks_its_dialect_where_no_path_says_otherwise(
    dialect: str | None, path: str, body: Any, found: str | None
) -> None:
    match = recognise("llm.example", path, json.dumps(body).encode(), whose(dialect))
    assert said(match) == ((found, "mine") if found else None)
    assert match is None or match.prices == "groq"
    assert recognise("other.example", "/claude/v2/messages", json.dumps(MESSAGES).encode(), whose(dialect)) is None


def test_a_path_under_a_prefix_is_enough_for_a_handshake() -> None:
    """Of a WebSocket to be opened there is no body."""
    assert said(recognise("llm.example", "/x/messages", None, whose("anthropic_messages"))) == (
        "anthropic_messages",
        "mine",
    )


def test_every_dialect_that_can_be_configured_has_its_ending() -> None:
    from midstream.config.values import DialectName

    assert set(registry._ENDINGS) == set(DialectName.__value__.__args__)
    assert set(registry._ENDINGS) <= {dialect.name for dialect in registry.DIALECTS}


def test_a_body_over_the_limit_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps(MESSAGES).encode()
    monkeypatch.setattr(registry, "BODY_LIMIT", len(body))
    assert recognise("llm.example", "/v1/chat/completions", body) is not None
    assert recognise("llm.example", "/v1/chat/completions", body + b" ") is None


def test_two_dialects_on_one_path_are_told_apart_by_the_body() -> None:
    """Cohere's /v1/chat has `message`, Writer's `messages`."""
    cohere = recognise("api.cohere.com", "/v1/chat", b'{"message":"hi"}')
    writer = recognise("api.writer.com", "/v1/chat", b'{"messages":[]}')
    assert (said(cohere), said(writer)) == (("cohere", "cohere"), ("openai_chat", "writer"))


def test_what_is_asked_for_is_read_from_the_body_or_the_path() -> None:
    match = recognise("api.openai.com", "/v1/chat/completions", b'{"model":"gpt-4o","stream":true,"messages":[]}')
    assert match is not None
    assert (match.facts.model, match.facts.stream, match.prices) == ("gpt-4o", True, "openai")
    match = recognise("bedrock-runtime.eu-west-1.amazonaws.com", "/model/anthropic.claude/converse-stream", b"{}")
    assert match is not None
    assert match.facts.model == "anthropic.claude"


@pytest.mark.parametrize(
    ("host", "path", "found"),
    [
        ("api.openai.com", "/v1/realtime?model=gpt-realtime", ("openai_realtime", "openai")),
        ("api.openai.com", "/v1/responses", ("openai_responses", "openai")),
        ("proxy.example", "/v1/realtime", ("openai_realtime", "proxy.example")),
        ("api.openai.com", "/v1/chat/completions", None),
        ("chat.example", "/socket", None),
    ],
)
def test_a_handshake_is_recognised_by_its_path(host: str, path: str, found: tuple[str, str] | None) -> None:
    assert said(recognise_websocket(host, path)) == found


def test_a_handshake_on_a_configured_host_is_its_providers() -> None:
    assert said(recognise_websocket("llm.example", "/v1/realtime", whose(None))) == ("openai_realtime", "mine")


@pytest.mark.parametrize(
    ("host", "path", "provider"),
    [
        ("api.openai.com", "/v1/responses/resp_1?stream=true", "openai"),
        ("api.openai.com", "/v1/responses/resp_1?starting_after=7&stream=true", "openai"),
        ("x.openai.azure.com", "/openai/v1/responses/resp_1?stream=true", "azure"),
        ("llm.example", "/api/responses/4711?stream=true", "mine"),
        ("other.example", "/v1/responses/resp_1?stream=true", "other.example"),
        ("other.example", "/survey/responses/4711?stream=true", None),
        ("api.openai.com", "/v1/responses/resp_1", None),
        ("api.openai.com", "/v1/responses/resp_1?stream=false", None),
        ("api.openai.com", "/v1/responses/resp_1?upstream=true", None),
        ("api.openai.com", "/v1/responses?stream=true", None),
        ("api.openai.com", "/v1/responses/resp_1/input_items?stream=true", None),
        ("api.openai.com", "/v1/chat/completions?stream=true", None),
    ],
)
def test_a_get_is_recognised_where_it_streams_a_response_that_runs_already(
    host: str, path: str, provider: str | None
) -> None:
    match = recognise_get(host, path, lambda h: whose(None)(h) or provider_of(h))
    assert said(match) == (("openai_responses", provider) if provider else None)
    assert match is None or match.facts == RequestFacts(stream=True)


@pytest.mark.parametrize(
    ("host", "path", "body", "status", "content_type", "found"),
    [
        # a dialect's path whose response streams, whatever the host and the body
        ("llm.example", "/v1/chat/completions", b"no JSON", 200, SSE, ("openai_chat", "llm.example")),
        ("llm.example", "/v1/chat/completions", b"no JSON", 200, "text/html", None),
        # a provider's API without a dialect: a stream, or the refusal of what asked for one
        ("api.openai.com", "/v1/threads/t/runs", b"{}", 200, SSE, ("unknown", "openai")),
        ("api.openai.com", "/v1/threads/t/runs", b"{}", 200, "application/json", None),
        ("api.openai.com", "/v1/new", b'{"stream":true}', 429, "application/json", ("unknown", "openai")),
        ("api.openai.com", "/v1/new", b'{"prompt":"hi"}', 500, "application/json", ("unknown", "openai")),
        ("api.openai.com", "/v1/files", b'{"purpose":"batch"}', 400, "application/json", None),
        # nobody's
        ("news.example", "/events", b'{"stream":true}', 200, SSE, None),
        ("news.example", "/events", b'{"stream":true}', 500, "application/json", None),
    ],
)
def test_the_response_tells_what_the_request_did_not(
    host: str, path: str, body: bytes, status: int, content_type: str, found: tuple[str, str] | None
) -> None:
    assert said(recognise_late(host, path, body, status, content_type)) == found


@pytest.mark.parametrize(
    ("path", "status", "content_type", "found"),
    [
        ("/claude/v2/messages", 200, SSE, "anthropic_messages"),
        ("/v1/chat/completions", 200, SSE, "openai_chat"),
        ("/other", 200, SSE, "unknown"),
        ("/other", 200, "text/html", None),
    ],
)
def test_the_response_of_a_configured_host_tells_too(
    path: str, status: int, content_type: str, found: str | None
) -> None:
    match = recognise_late("llm.example", path, b"no JSON", status, content_type, whose("anthropic_messages"))
    assert said(match) == ((found, "mine") if found else None)


@pytest.mark.parametrize(
    ("content_type", "stream"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("application/x-ndjson", True),
        ("application/vnd.amazon.eventstream", True),
        ("application/json", False),
        ("text/event-streams", False),
        ("", False),
    ],
)
def test_some_content_types_only_streams_have(content_type: str, stream: bool) -> None:
    assert is_stream_type(content_type) is stream
