"""What one client has of one answer: cheap to note, chunk by chunk, and in order when a break asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from midstream.conversation import Conversation
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
from midstream.healing.after_break import Way, way_after

__all__ = ["LIMIT", "Delivered", "OnBreak", "Way"]

LIMIT = 1 << 20
"""Characters of one answer that are kept to go on from. Models write far below it; an answer without end must not fill memory."""

RUN_COST = 64
"""What each piece counts beside its characters that joins none before it: about what it takes in memory."""

BATCH = 512
"""Events that wait to be joined: they cost less joined together than one by one."""

type OnBreak = Literal["continue", "restart", "error"]

_SPOKEN = (Text, Reasoning, Refusal)

_UNTOLD = (Asked, End, Failure, Malformed, Opaque)
"""Of no use to whoever goes on: they say nothing of the answer, or that it is over."""


class Delivered:
    """What one client has of one answer: what a later attempt goes on from.

    overfull: it was over LIMIT characters. Nothing of it is kept then, and no way leads on.
    """

    def __init__(self) -> None:
        self.overfull = False
        self._begun = False
        self._size = 0
        self._raw: list[Event] = []
        self._sealed: list[Event] = []
        self._open: Event | None = None
        self._pieces: list[str] = []
        self._usage: Usage | None = None

    def note(self, events: Iterable[Event]) -> None:
        """Take what went out to the client. Called for every chunk: most of the work is left for later."""
        if self.overfull:
            return
        raw, size = self._raw, 0
        for event in events:
            if event.__class__ is Text:
                size += len(event.text)
            elif event.__class__ is Reasoning:
                size += len(event.text) + len(event.signature)
            else:
                size += _size(event)
            raw.append(event)
        self._size += size
        if self._size > LIMIT or len(raw) >= BATCH:
            self._join()

    @property
    def begun(self) -> bool:
        """Whether the client has any content."""
        self._begun = self._begun or any(isinstance(event, CONTENT) for event in self._raw)
        return self._begun

    @property
    def events(self) -> list[Event]:
        """All that was noted, in order; adjacent fragments of one text, reasoning, refusal or call are one event. Of Usage, which
        some providers send with every chunk, the last, at the end. No Opaque or its like, and nothing that ends an answer."""
        self._join()
        last = [_grown(self._open, self._pieces)] if self._open is not None else []
        return [*self._sealed, *last, *([self._usage] if self._usage else [])]

    @property
    def text(self) -> str:
        """The visible text of the first choice."""
        return "".join(event.text for event in self.events if isinstance(event, Text) and not event.choice)

    def finished(self, choices: int = 1) -> bool:
        """Whether every choice that has content has had its Finish since, and as many as were asked for: only the terminal event
        is missing."""
        spoke, over = set[int](), set[int]()
        for event in self.events:
            if isinstance(event, CONTENT):
                spoke.add(event.choice)
                over.discard(event.choice)
            elif isinstance(event, Finish):
                over.add(event.choice)
        return len(over) >= choices and spoke <= over

    def way(self, on_break: OnBreak, conversation: Conversation | None = None) -> Way:
        """Decide what can follow a break now; of an answer that is `finished` nothing but its end can.

        conversation: what was asked, where that is known: structured output and several choices are never continued, only
        restarted.
        """
        if not self.begun:
            return Way("anew", "the stream broke before any content")
        if on_break == "error":
            return Way("impossible", "the stream broke")
        if self.finished(conversation.choices if conversation is not None else 1):
            return Way("impossible", "the stream broke between its finish and its end")
        events = self.events
        if self.overfull:
            return Way("impossible", f"the stream broke after more than {LIMIT} characters")
        bound = conversation is not None and (conversation.output_format is not None or conversation.choices > 1)
        return way_after(events, "restart" if bound else on_break)

    def _join(self) -> None:
        raw, self._raw = self._raw, []
        self._begun = self._begun or any(isinstance(event, CONTENT) for event in raw)
        if self._size <= LIMIT:
            self._read(raw)
        if self._size > LIMIT:
            self.overfull = True
            self._open, self._pieces, self._sealed, self._usage = None, [], [], None

    def _read(self, raw: list[Event]) -> None:
        open_, batch = self._open, list[str]()
        for event in raw:
            if (
                event.__class__ is Text
                and open_.__class__ is Text
                and event.block == open_.block
                and event.choice == open_.choice
            ):
                batch.append(event.text)  # nearly all are
            elif (piece := _piece(event, open_)) is not None:
                batch.append(piece)
            elif event.__class__ is Usage:
                self._usage = event
            elif not isinstance(event, _UNTOLD):
                self._pieces.append("".join(batch))
                batch = []
                open_ = self._begin(event)
        if batch:
            self._pieces.append("".join(batch))

    def _begin(self, event: Event) -> Event:
        """Begin a piece that joins none before it."""
        if self._open is not None:
            self._sealed.append(_grown(self._open, self._pieces))
        self._open, self._pieces = event, []
        self._size += RUN_COST
        return event


def _size(event: Event) -> int:
    """The characters of an event that is neither Text nor Reasoning; of what is kept once, or not at all, none."""
    match event:
        case ToolCall():
            return len(event.arguments) + len(event.name) + len(event.id)
        case Refusal(text=text) | Media(transcript=text) | ServerTool(name=text):
            return len(text)
        case Finish():
            return len(event.reason) + len(event.detail)
        case Start():
            return len(event.id) + len(event.model)
        case _:
            return 0


def _piece(event: Event, open_: Event | None) -> str | None:
    """What an event adds to the one before; None where it begins something else. A signature stays where it stands, and so what
    it signs."""
    if event.__class__ is not open_.__class__:
        return None
    if isinstance(event, _SPOKEN) and isinstance(open_, _SPOKEN):
        if event.block != open_.block or event.choice != open_.choice:
            return None
        signed = isinstance(event, Reasoning) and isinstance(open_, Reasoning) and (event.signature or open_.signature)
        return None if signed else event.text
    if isinstance(event, ToolCall) and isinstance(open_, ToolCall):
        same = (event.index, event.choice, event.block) == (open_.index, open_.choice, open_.block)
        return event.arguments if same and not event.id and not event.name else None
    return "" if isinstance(event, ServerTool) and event == open_ else None


def _grown(event: Event, pieces: list[str]) -> Event:
    """An event and the pieces that joined it."""
    more = "".join(pieces)
    if not more:
        return event
    match event:
        case Text(text=text) | Reasoning(text=text) | Refusal(text=text):
            return replace(event, text=text + more)
        case ToolCall(arguments=arguments):
            return replace(event, arguments=arguments + more)
        case _:
            return event
