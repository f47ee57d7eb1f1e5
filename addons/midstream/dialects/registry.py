"""Which dialect a request speaks: by host and path, and on a host nobody here knows by path and body shape."""

from __future__ import annotations

from dataclasses import dataclass

from midstream.dialects.anthropic_messages import ANTHROPIC_COMPLETE, ANTHROPIC_MESSAGES
from midstream.dialects.base import Dialect, RequestFacts
from midstream.dialects.bedrock_converse import BEDROCK_CONVERSE
from midstream.dialects.bedrock_invoke import BEDROCK_INVOKE
from midstream.dialects.cohere import COHERE, COHERE_V1
from midstream.dialects.gemini import GEMINI
from midstream.dialects.gemini_interactions import GEMINI_INTERACTIONS
from midstream.dialects.gemini_live import GEMINI_LIVE
from midstream.dialects.ollama import OLLAMA
from midstream.dialects.openai_chat import OPENAI_CHAT
from midstream.dialects.openai_completions import OPENAI_COMPLETIONS
from midstream.dialects.openai_realtime import OPENAI_REALTIME
from midstream.dialects.openai_responses import OPENAI_RESPONSES
from midstream.dialects.unknown import UNKNOWN
from midstream.providers import Provider, provider_of
from midstream.wire.json_text import Json, as_dict, parse_json

DIALECTS = (
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    ANTHROPIC_MESSAGES,
    ANTHROPIC_COMPLETE,
    GEMINI,
    BEDROCK_CONVERSE,
    BEDROCK_INVOKE,
    OLLAMA,
    COHERE,
    COHERE_V1,
    GEMINI_INTERACTIONS,
    OPENAI_COMPLETIONS,
    OPENAI_REALTIME,
    GEMINI_LIVE,
)

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of a request body that are parsed. Providers take some 30 MB (Anthropic: 32) with images inline."""

STREAM_TYPES = frozenset(
    (
        "text/event-stream",
        "application/x-ndjson",
        "application/jsonl",
        "application/jsonlines",
        "application/stream+json",
        "application/vnd.amazon.eventstream",
    )
)
"""Content types that only streams have: such a body is never buffered, whoever it is from."""


_ASKING = frozenset(("inputs", "prompt", "messages", "input", "contents"))
"""What a request's body has one of if it asks a model for something."""


@dataclass(frozen=True, slots=True)
class Match:
    """An LLM request: its dialect, its provider (the host's name where nobody here knows it) and what it asks for."""

    dialect: Dialect
    provider: str
    prices: str
    facts: RequestFacts


def recognise(host: str, path: str, body: bytes | None) -> Match | None:
    """Return what an HTTP request means to an LLM provider, or None if it is none's.

    path: with or without its query. body: decoded of any content encoding.
    """
    path = path.partition("?")[0]
    candidates = [d for d in DIALECTS if any(pattern.search(path) for pattern in d.paths)]
    if not candidates:
        return None
    provider, said = provider_of(host), fields(body)
    fitting = [d for d in candidates if d.body_keys and d.body_keys <= said.keys()]
    if provider is None and not fitting:
        return None
    dialect = (fitting or candidates)[0]  # two share a path: Cohere's /v1/chat and Writer's
    return _match(dialect, provider, host, dialect.read_request(path, said))


def recognise_websocket(host: str, path: str) -> Match | None:
    """Return what a WebSocket handshake means to an LLM provider, or None. The path alone decides: it is telling enough."""
    path = path.partition("?")[0]
    dialect = next((d for d in DIALECTS if any(pattern.search(path) for pattern in d.websocket_paths)), None)
    return _match(dialect, provider_of(host), host, dialect.read_request(path, {})) if dialect else None


def recognise_late(host: str, path: str, body: bytes | None, status: int, content_type: str) -> Match | None:
    """Return what `recognise` could not tell from the request alone, once the response's head is there; else None.

    A path of a dialect whose response streams is that dialect's, whatever the host and the body. A provider's API that has no
    dialect here is `unknown` if its response streams, or if it refuses what asked for a model's answer.
    """
    provider, said = provider_of(host), fields(body)
    streams = is_stream_type(content_type)
    if streams:
        bare = path.partition("?")[0]
        for dialect in DIALECTS:
            if any(pattern.search(bare) for pattern in dialect.paths):
                return _match(dialect, provider, host, dialect.read_request(bare, said))
    asks = said.get("stream") is True or bool(_ASKING & said.keys())
    if provider is not None and (streams or (status >= 400 and asks)):
        return _match(UNKNOWN, provider, host, UNKNOWN.read_request(path, said))
    return None


def is_stream_type(content_type: str) -> bool:
    """Whether only a stream has this content type."""
    return content_type.partition(";")[0].strip().lower() in STREAM_TYPES


def _match(dialect: Dialect, provider: Provider | None, host: str, facts: RequestFacts) -> Match:
    if provider is None:
        return Match(dialect, host, "", facts)
    return Match(dialect, provider.name, provider.prices, facts)


def fields(body: bytes | None) -> Json:
    """A request's body as a JSON object; {} if it is none."""
    if not body or len(body) > BODY_LIMIT:
        return {}
    try:
        return as_dict(parse_json(body))
    except ValueError:
        return {}
