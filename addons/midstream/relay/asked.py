"""What a request to the gateway asks for: its delivery, its chat, its place in a stream. Pure; a parse error is a ValueError
that names the field."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_plus

from midstream.dialects.base import Dialect
from midstream.wire.json_text import Json, parse_json

type Delivery = Literal["sse", "websocket", "ndjson", "text"]

SECRETS = frozenset(("access_token", "api_key", "api-key", "key"))
"""Query parameters that are credentials: `access_token` the gateway's (and RFC 6750's), `key` the Gemini API's."""

BINARY = "midstream.binary"
TEXT = "midstream.text"
"""WebSocket subprotocols: the same frames, as binary or as text messages."""

_OFFERED: Mapping[str, Delivery] = {
    "text/event-stream": "sse",
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/plain": "text",
    "*/*": "sse",
    "text/*": "sse",
    "application/*": "ndjson",
}
_OTHER: Mapping[str, Delivery] = {
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/plain": "text",
}
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_RANGE = re.compile(r"bytes=(\d{1,15})-\d{0,16}", re.ASCII)


class NotAcceptable(ValueError):
    """None of the media types asked for is one that a stream has."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader wants to go on. stream: "" where only the path names it; after: number of the last event it has."""

    stream: str
    after: int


def delivery_of(accept: str, upgrade: str = "") -> Delivery:
    """How a stream is wanted. The highest q wins, then the more specific type, then the one named first (RFC 9110, 12.5.1)."""
    if upgrade.strip().lower() == "websocket":
        return "websocket"
    if not accept.strip():
        return "sse"
    best: tuple[float, int] = (0.0, 0)
    chosen: Delivery | None = None
    for item in accept.split(","):
        media, _, parameters = item.partition(";")
        media = media.strip().lower()
        offered = _OFFERED.get(media)
        rank = (_quality(parameters), 2 - media.count("*"))
        if offered is not None and rank[0] > 0 and rank > best:
            best, chosen = rank, offered
    if chosen is None:
        raise NotAcceptable("Accept: a stream is text/event-stream, application/x-ndjson or text/plain")
    return chosen


def other_delivery_of(dialect: Dialect, accept: str, upgrade: str = "") -> Delivery | None:
    """The delivery that a request to a provider asks for instead of the provider's own; None for that one.

    It must be preferred to all else that is named: axios sends `application/json, text/plain, */*` with whatever it asks.
    """
    if dialect.read_conversation is None:
        return None
    if upgrade:
        return "websocket"
    wanted: Delivery | None = None
    best = 0.0
    for item in accept.split(","):
        media, _, parameters = item.partition(";")
        offered, quality = _OTHER.get(media.strip().lower()), _quality(parameters)
        if quality > best:
            wanted, best = offered, quality
        elif quality == best and offered is None:
            wanted = None
    # Ollama answers in JSON lines of its own, and its clients send `application/x-ndjson` for them
    return None if wanted == "ndjson" and dialect.object_lines else wanted


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def place_of_event_id(value: str) -> Place:
    """Parse a Last-Event-ID, `<stream>:<n>`."""
    stream, separator, number = value.strip().rpartition(":")
    if not separator or not _ID.fullmatch(stream):
        raise ValueError("Last-Event-ID: expected <stream>:<n>, as in the id of the last event received")
    return Place(stream, _count("Last-Event-ID", number))


def after_of(value: Any) -> int:
    """Parse an `after`, from a query or a WebSocket message."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53:
        return value
    if isinstance(value, str):
        return _count("after", value)
    raise ValueError("after: expected the number of the last event received, 0 or more")


def offset_of_range(value: str) -> int:
    """Parse a Range, `bytes=N-`; a last position, if there is one, is taken for open (RFC 8673 sends a very large one)."""
    match = _RANGE.fullmatch(value.strip().lower())
    if match is None:
        raise ValueError("Range: expected bytes=N-")
    return int(match[1])


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise ValueError(f"{name}: expected the number of the last event received, 0 or more")
    return int(text)


def place_of(headers: Mapping[str, str], query: Mapping[str, str], stream: str = "") -> Place | None:
    """Where to go on, if the request says; the header wins, for it is what an EventSource adds to the URL it began with.

    stream: what the path names; a Last-Event-ID of another one is an error.
    """
    if last := headers.get("last-event-id", ""):
        place = place_of_event_id(last)
        if stream and place.stream != stream:
            raise ValueError("Last-Event-ID: names another stream than the path does")
        return place
    if "after" not in query:
        return None
    named = stream or query.get("stream", "")
    if not named:
        raise ValueError("stream: which stream to go on with, as X-Stream-Id named it")
    return Place(named, after_of(query["after"]))


def wants_async(prefer: str) -> bool:
    """Whether a Prefer header asks for `respond-async` (RFC 7240)."""
    return any(item.partition(";")[0].strip().lower() == "respond-async" for item in prefer.split(","))


def wants_binary(query: Mapping[str, str], protocols: str) -> bool:
    """Whether WebSocket messages shall be binary: `?binary=1`, or the subprotocol."""
    return query.get("binary", "") in ("1", "true") or BINARY in [p.strip() for p in protocols.split(",")]


def chat_of_query(query: Mapping[str, str]) -> Json | None:
    """The chat body that a GET's query says; None without model, prompt and messages. What is not known is ignored."""
    if not any(query.get(name) for name in ("model", "prompt", "messages")):
        return None
    if not query.get("model"):
        raise ValueError("model: which model to ask")
    body: Json = {"model": query["model"], "messages": _messages(query), "stream": True}
    for name, parse in _PARAMETERS.items():
        if value := query.get(name, ""):
            body[name] = _parsed(name, value, parse)
    return body


def _messages(query: Mapping[str, str]) -> list[Any]:
    if given := query.get("messages", ""):
        messages = _parsed("messages", given, parse_json)
        if not isinstance(messages, list):
            raise ValueError("messages: expected a JSON array of messages")
    else:
        messages = []
    if system := query.get("system", ""):
        messages = [{"role": "system", "content": system}, *messages]
    if prompt := query.get("prompt", ""):
        messages = [*messages, {"role": "user", "content": prompt}]
    if not messages:
        raise ValueError("prompt: what to ask (or messages, as JSON)")
    return messages


def _parsed(name: str, value: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{name}: cannot be read") from None


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "temperature": _number,
    "top_p": _number,
    "presence_penalty": _number,
    "frequency_penalty": _number,
    "max_tokens": int,
    "max_completion_tokens": int,
    "seed": int,
    "stop": str,
    "reasoning_effort": str,
    "user": str,
    "tools": parse_json,
    "tool_choice": lambda text: parse_json(text) if text.startswith("{") else text,
    "response_format": parse_json,
}


def split_secrets(path: str) -> tuple[str, str]:
    """A request target without the credentials in its query, and the first of them ("" if none): nothing shall show them."""
    bare, question, query = path.partition("?")
    if not question:
        return path, ""
    kept, secret = [], ""
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if unquote_plus(name).lower() in SECRETS:
            secret = secret or unquote_plus(value)
        else:
            kept.append(pair)
    return (f"{bare}?{'&'.join(kept)}" if kept else bare), secret


def is_short(headers: Mapping[str, str], limit: int, *, may_be_empty: bool) -> bool:
    """Whether a request's body is known to be within the limit. may_be_empty: no framing header means no body (HTTP/1)."""
    length = headers.get("content-length", "")
    if length.isdecimal():
        return len(length) < 20 and int(length) <= limit
    return not length and may_be_empty and "transfer-encoding" not in headers


def read_object(text: bytes | str) -> Json:
    """A JSON object, or a ValueError."""
    try:
        value = parse_json(text)
    except ValueError:
        raise ValueError("body: not valid JSON") from None
    if not isinstance(value, dict):
        raise ValueError("body: expected a JSON object")
    return value
