"""Which dialect a request speaks: by host and path, and on a host nobody here knows by path and body shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from midstream.dialects.anthropic.messages import ANTHROPIC_COMPLETE, ANTHROPIC_MESSAGES
from midstream.dialects.base import Dialect, RequestFacts
from midstream.dialects.bedrock.converse import BEDROCK_CONVERSE
from midstream.dialects.bedrock.invoke import BEDROCK_INVOKE
from midstream.dialects.cohere.v2 import COHERE, COHERE_V1
from midstream.dialects.gemini.generate import GEMINI
from midstream.dialects.gemini.interactions import GEMINI_INTERACTIONS
from midstream.dialects.gemini.live import GEMINI_LIVE
from midstream.dialects.ollama.chat import OLLAMA
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.openai.completions import OPENAI_COMPLETIONS
from midstream.dialects.openai.realtime import OPENAI_REALTIME
from midstream.dialects.openai.responses import OPENAI_RESPONSES
from midstream.dialects.unknown import UNKNOWN
from midstream.providers import Owner, provider_of
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

_ENDINGS: Mapping[str, re.Pattern[str]] = {
    "openai_responses": re.compile(r"/responses/?$"),
    "openai_chat": re.compile(r"/chat/completions/?$"),
    "anthropic_messages": re.compile(r"/messages/?$"),
    "gemini": re.compile(r"(?::|%3[Aa])(?:streamG|g)enerateContent$"),
    "bedrock_converse": re.compile(r"/converse(?:-stream)?/?$"),
    "ollama": re.compile(r"/(?:chat|generate)/?$"),
    "cohere": re.compile(r"/chat/?$"),
}
"""What is left of a dialect's paths where a server has put them under a prefix of its own: too little to tell on a host whose
dialect nobody has named."""

_RUNNING = re.compile(r"/responses/([^/]+)/?$")
"""A response of OpenAI's, by its id: with `?stream=true` one that was begun in background mode is streamed (design section 7).
https://platform.openai.com/docs/api-reference/responses/get"""

type Whose = Callable[[str], Owner | None]
"""Whose a host is: `providers.provider_of`, or what a configuration says."""


@dataclass(frozen=True, slots=True)
class Match:
    """An LLM request: its dialect, its provider (the host's name where nobody here knows it) and what it asks for."""

    dialect: Dialect
    provider: str
    prices: str
    facts: RequestFacts


def recognise(host: str, path: str, body: bytes | None, whose: Whose = provider_of) -> Match | None:
    """Return what a POST means to an LLM provider, or None if it is none's.

    path: with or without its query. body: decoded of any content encoding.
    """
    path = path.partition("?")[0]
    owner = whose(host)
    by_path = _by_path(path)
    candidates = by_path or _by_ending(path, owner)
    if not candidates:
        return None
    said = fields(body)
    fitting = [d for d in candidates if d.body_keys and d.body_keys <= said.keys()]
    if not fitting and (owner is None or (body is not None and not by_path)):
        return None
    dialect = _preferred(fitting or candidates, owner)  # two share a path: Cohere's /v1/chat and Writer's
    return _match(dialect, owner, host, dialect.read_request(path, said))


def recognise_get(host: str, path: str, whose: Whose = provider_of) -> Match | None:
    """Return what a GET means to an LLM provider: the stream of a response that was asked for before; else None.

    path: with its query. Of a host nobody here knows, the id must be one of OpenAI's form.
    """
    path, _, query = path.partition("?")
    running = _RUNNING.search(path)
    if running is None or "true" not in parse_qs(query).get("stream", ()):
        return None
    owner = whose(host)
    if owner is None and not running[1].startswith("resp_"):
        return None
    return _match(OPENAI_RESPONSES, owner, host, RequestFacts(stream=True))


def recognise_websocket(host: str, path: str, whose: Whose = provider_of) -> Match | None:
    """Return what a WebSocket handshake means to an LLM provider, or None. The path alone decides: it is telling enough."""
    path = path.partition("?")[0]
    dialect = next((d for d in DIALECTS if any(pattern.search(path) for pattern in d.websocket_paths)), None)
    return _match(dialect, whose(host), host, dialect.read_request(path, {})) if dialect else None


def recognise_late(
    host: str, path: str, body: bytes | None, status: int, content_type: str, whose: Whose = provider_of
) -> Match | None:
    """Return what `recognise` could not tell from the request alone, once the response's head is there; else None.

    A path of a dialect whose response streams is that dialect's, whatever the host and the body. A provider's API that has no
    dialect here is `unknown` if its response streams, or if it refuses what asked for a model's answer.
    """
    owner, said = whose(host), fields(body)
    streams = is_stream_type(content_type)
    if streams:
        bare = path.partition("?")[0]
        candidates = _by_path(bare) or _by_ending(bare, owner)
        if candidates:
            dialect = _preferred(candidates, owner)
            return _match(dialect, owner, host, dialect.read_request(bare, said))
    asks = said.get("stream") is True or bool(_ASKING & said.keys())
    if owner is not None and (streams or (status >= 400 and asks)):
        return _match(UNKNOWN, owner, host, UNKNOWN.read_request(path, said))
    return None


def _by_path(path: str) -> list[Dialect]:
    return [d for d in DIALECTS if any(pattern.search(path) for pattern in d.paths)]


def _by_ending(path: str, owner: Owner | None) -> list[Dialect]:
    """The owner's own dialect, if the path's end is one of its."""
    ending = _ENDINGS.get(owner.dialect or "") if owner is not None else None
    if owner is None or ending is None or not ending.search(path):
        return []
    return [d for d in DIALECTS if d.name == owner.dialect]


def _preferred(candidates: Sequence[Dialect], owner: Owner | None) -> Dialect:
    """The owner's own dialect, else the first."""
    return next((d for d in candidates if owner is not None and d.name == owner.dialect), candidates[0])


def is_stream_type(content_type: str) -> bool:
    """Whether only a stream has this content type."""
    return content_type.partition(";")[0].strip().lower() in STREAM_TYPES


def _match(dialect: Dialect, owner: Owner | None, host: str, facts: RequestFacts) -> Match:
    if owner is None:
        return Match(dialect, host, "", facts)
    return Match(dialect, owner.name, owner.prices, facts)


def fields(body: bytes | None) -> Json:
    """A request's body as a JSON object; {} if it is none."""
    if not body or len(body) > BODY_LIMIT:
        return {}
    try:
        return as_dict(parse_json(body))
    except ValueError:
        return {}
