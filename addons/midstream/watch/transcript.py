"""What one answer said, put together from its events, for whoever reads it as a whole. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, assert_never

from midstream.events import (
    CONTENT,
    Asked,
    End,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.gaps import Gaps

type Kind = Literal["text", "reasoning", "refusal", "tool call", "server tool", "audio", "image"]
type Key = tuple[Kind, int, int]


@dataclass(slots=True)
class Part:
    """A stretch of the answer, of one kind. `size`: bytes of media, as encoded on the wire."""

    kind: Kind
    choice: int = 0
    id: str = ""
    name: str = ""
    size: int = 0
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class Transcript:
    """Feed it events as they come, with the milliseconds since the request where they are known."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.model = ""
        self.usage: Usage | None = None
        self.finishes: dict[int, Finish] = {}
        self.failure: Failure | None = None
        self.ended = False
        self.malformed: list[str] = []
        self.content = 0
        """Events that carried content."""
        self.gaps = Gaps()
        self.first: float | None = None
        self.last: float | None = None
        self._open: dict[Key, Part] = {}
        self._latest: dict[int, Key] = {}

    @property
    def over(self) -> bool:
        """Whether the stream itself has said that it is."""
        return self.ended or self.failure is not None

    def feed(self, events: Iterable[Event], at: float | None = None) -> None:
        """Take what arrived at once."""
        content = 0
        for event in events:
            if isinstance(event, CONTENT):
                content += 1
            self._take(event)
        self.content += content
        if content and at is not None:
            self._tick(content, at)

    def _tick(self, count: int, at: float) -> None:
        self.gaps.together += count - 1
        if self.last is None:
            self.first = at
        else:
            self.gaps.add(at - self.last)
        self.last = at

    def _take(self, event: Event) -> None:
        match event:
            case Text(text=text, choice=choice, block=block):
                self._part("text", choice, block).pieces.append(text)
            case Reasoning(text=text, choice=choice, block=block):
                if text:  # else it is a signature alone
                    self._part("reasoning", choice, block).pieces.append(text)
            case Refusal(text=text, choice=choice, block=block):
                self._part("refusal", choice, block).pieces.append(text)
            case ToolCall():
                self._call(event)
            case ServerTool(name=name, choice=choice, block=block):
                part = self._part("server tool", choice, block)
                part.name = name or part.name
            case Media(kind=kind, size=size, transcript=transcript, choice=choice, block=block):
                part = self._part(kind, choice, block)
                part.size += size
                part.pieces.append(transcript)
            case _:
                self._note(event)

    def _note(self, event: Event) -> None:
        match event:
            case Start(model=model):
                self.model = model or self.model
            case Usage():
                self.usage = event
            case Finish(choice=choice):
                self.finishes[choice] = event
            case End():
                self.ended = True
            case Failure():
                self.failure = self.failure or event
            case Malformed(reason=reason):
                self.malformed.append(reason)
            case Asked() | Opaque():
                pass
            case Text() | Reasoning() | Refusal() | ToolCall() | ServerTool() | Media():
                raise AssertionError(f"content reached _note: {event!r}")
            case _:
                assert_never(event)

    def _part(self, kind: Kind, choice: int, block: int) -> Part:
        """The part that goes on here: the last one of its choice, or a new one."""
        key = (kind, choice, block)
        if self._latest.get(choice) != key:
            self._begin(key, choice)
        return self._open[key]

    def _call(self, event: ToolCall) -> None:
        """Calls may be told in turns: each is one part, whatever comes between."""
        key: Key = ("tool call", event.choice, event.index)
        if key not in self._open:
            self._begin(key, event.choice)
        self._latest[event.choice] = key
        part = self._open[key]
        part.id, part.name = event.id or part.id, event.name or part.name
        part.pieces.append(event.arguments)

    def _begin(self, key: Key, choice: int) -> None:
        part = self._open[key] = Part(key[0], choice)
        self._latest[choice] = key
        self.parts.append(part)
