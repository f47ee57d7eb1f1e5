"""A WebSocket session, message by message: what each means, and behind the one that ends an answer the whole of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from midstream.dialects.base import SessionDecoder
from midstream.events import Asked, End, Event, Failure, Start
from midstream.watch import wording
from midstream.watch.transcript import Transcript
from midstream.watch.wording import Known
from midstream.wire import Frame
from midstream.wire.json_text import parse_json

LONG = 400
"""Characters of a string in a message that are shown: audio comes as base64."""


class Message(Protocol):
    """mitmproxy's WebSocketMessage, as far as it matters here."""

    content: bytes
    from_client: bool
    timestamp: float


class SessionReading:
    """Reads each message once, in order, however often the session is shown while it grows."""

    def __init__(self, decoder: SessionDecoder, known: Known) -> None:
        self._decoder = decoder
        self._known = replace(known, head_ms=None, duration_ms=None)
        self._last: Message | None = None
        self._told: dict[int, str] = {}
        self._count = 0
        self._answer: Transcript | None = None
        self._asked_at = 0.0

    def goes_on(self, messages: Sequence[Message]) -> bool:
        """Whether what was read is still the beginning of these."""
        return self._count == 0 or (len(messages) >= self._count and messages[self._count - 1] is self._last)

    def told(self, messages: Sequence[Message], wanted: Message) -> str:
        """What one of them means."""
        for message in messages[self._count :]:
            self._count, self._last = self._count + 1, message
            self._told[id(message)] = self._read(message)
        return self._told.get(id(wanted)) or _shown(wanted.content)

    def _read(self, message: Message) -> str:
        events = self._decoder.feed(Frame(message.content), from_client=message.from_client)
        whole = ""
        told = Transcript()
        for event in events:
            whole = self._take(event, message.timestamp) or whole
            told.feed([event])
        if whole:
            return whole
        return _brief(told, events) or _shown(message.content)

    def _take(self, event: Event, now: float) -> str:
        """Return the whole answer, if this ends it."""
        if isinstance(event, Asked) or (isinstance(event, Start) and self._answer is None):
            if self._answer is None or not self._answer.content:
                self._asked_at = now
            self._answer = self._answer or Transcript()
        answer = self._answer
        if answer is None:
            return ""
        answer.feed([event], (now - self._asked_at) * 1000)
        if not isinstance(event, End | Failure):
            return ""
        self._answer = None
        return wording.write(answer, replace(self._known, duration_ms=(now - self._asked_at) * 1000))


def _brief(told: Transcript, events: Sequence[Event]) -> str:
    """One message in a line or two; "" where it has no meaning of its own."""
    lines = [wording.line("asks", event.model or "for an answer") for event in events if isinstance(event, Asked)]
    for part in told.parts:
        name = f"{part.kind} {part.name}".strip()
        size = f"{part.size} bytes " if part.size else ""
        lines.append(f"{name}: {size}{json.dumps(part.text, ensure_ascii=False) if part.text else ''}".strip())
    return "\n".join(lines)


def _shown(content: bytes) -> str:
    """A message as it is, long strings cut."""
    try:
        return json.dumps(_cut(parse_json(content)), indent=2, ensure_ascii=False)
    except ValueError:
        return content.decode("utf-8", "backslashreplace")


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONG:
        return f"{value[:LONG]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {key: _cut(inner) for key, inner in value.items()}
    return [_cut(inner) for inner in value] if isinstance(value, list) else value
