"""Recorded exchanges for the tests: from `recordings/`, and from a larger corpus where MIDSTREAM_CORPUS names its folder.

`decode` runs a body through the product's own AnswerDecoder in pieces of a given size; `Said` folds the events into the
shape of a recording's `expect`.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import Dialect
from midstream.events import (
    End,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Reasoning,
    Refusal,
    Start,
    Text,
    ToolCall,
    Usage,
)

CORPUS = os.environ.get("MIDSTREAM_CORPUS", "")


@dataclass(frozen=True)
class Exchange:
    id: str
    provider: str
    api: str
    kind: str  # stream | error | websocket
    framing: str
    fidelity: str
    features: tuple[str, ...]
    request: dict[str, Any]  # method, url, headers, body
    status: int
    headers: dict[str, str]
    body: bytes
    ws_frames: list[dict[str, Any]]  # direction (sent | received), opcode (text | binary), data
    expect: dict[str, Any]

    @property
    def content_type(self) -> str:
        return next((v for k, v in self.headers.items() if k.lower() == "content-type"), "")


def load(file: Path) -> Exchange:
    d = json.loads(file.read_text())
    r = d["response"]
    body = base64.b64decode(r["body_base64"]) if "body_base64" in r else r.get("body_text", "").encode()
    return Exchange(
        id=d["id"],
        provider=d["provider"],
        api=d["api"],
        kind=d["kind"],
        framing=d["framing"],
        fidelity=d["fidelity"],
        features=tuple(d["features"]),
        request=d["request"],
        status=r["status"],
        headers=r["headers"],
        body=body,
        ws_frames=r.get("ws_frames") or [],
        expect=d["expect"],
    )


@cache
def corpus() -> tuple[Exchange, ...]:
    """Every exchange of the corpus; none where MIDSTREAM_CORPUS is not set."""
    return tuple(load(f) for f in sorted(Path(CORPUS).glob("*/*.json"))) if CORPUS else ()


def of(*apis: str, kind: str = "stream") -> list[Exchange]:
    return [e for e in corpus() if e.api in apis and e.kind == kind]


def sizes(body: bytes) -> list[int]:
    """The chunk sizes a body is fed at: every one that can matter for a small body, the telling ones for a large one."""
    if len(body) <= 4_000:
        return [*range(1, 18), 31, 64, 100, 1000, max(len(body), 1)]
    if len(body) <= 40_000:
        return [1, 2, 3, 7, 64, 1000, 4096, len(body)]
    return [1, 13, 1460, len(body)]


def decode(dialect: Dialect, exchange: Exchange, size: int, *, status: int | None = None) -> list[Event]:
    decoder = AnswerDecoder(dialect, status=status or exchange.status, content_type=exchange.content_type)
    events: list[Event] = []
    for at in range(0, len(exchange.body), size):
        events += decoder.feed(exchange.body[at : at + size])
    return events + decoder.close()


@dataclass
class Said:
    """Events folded: what the answer said."""

    model: str = ""
    texts: dict[int, str] = field(default_factory=dict)
    reasoning: str = ""
    refusal: str = ""
    transcript: str = ""
    tools: dict[tuple[int, int], dict[str, str]] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    usage_events: list[Usage] = field(default_factory=list)
    finishes: dict[int, str] = field(default_factory=dict)
    failure: Failure | None = None
    ended: bool = False
    malformed: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.texts.get(0, "")

    @property
    def finish_reason(self) -> str | None:
        return self.finishes.get(0)

    @property
    def tool_calls(self) -> list[dict[str, str]]:
        return [call for (choice, _), call in sorted(self.tools.items()) if choice == 0]


def fold(events: list[Event]) -> Said:
    said = Said()
    for event in events:
        match event:
            case Start(model=model) if model:
                said.model = model
            case Text(text=text, choice=choice):
                said.texts[choice] = said.texts.get(choice, "") + text
            case Reasoning(text=text, choice=0):
                said.reasoning += text
            case Refusal(text=text, choice=0):
                said.refusal += text
            case Media(transcript=transcript):
                said.transcript += transcript
            case ToolCall():
                call = said.tools.setdefault((event.choice, event.index), {"id": "", "name": "", "arguments": ""})
                call["id"] = call["id"] or event.id
                call["name"] = call["name"] or event.name
                call["arguments"] += event.arguments
            case Usage():
                said.usage = dict(event.raw)
                said.usage_events.append(event)
            case Finish(reason=reason, choice=choice):
                said.finishes[choice] = reason
            case Failure():
                said.failure = said.failure or event
            case Malformed(reason=reason):
                said.malformed.append(reason)
            case _:
                said.ended = said.ended or isinstance(event, End)
    return said
