"""An answer asked for anew, against what the client has of the first one: suppressed as long as it is the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from midstream.events import Event, Refusal, Text, ToolCall
from midstream.healing.after_break import calls_of, opened_call
from midstream.wire.json_text import parse_json

_ROOM = 1024
"""Characters by which arguments may be longer than those they are compared with, beside four times their length: JSON of the same
meaning, indented or escaped."""


@dataclass(slots=True)
class _Piece:
    """A text or a refusal that the client has, as far as it has come again."""

    kind: type[Text | Refusal]
    text: str
    at: int = 0

    @property
    def done(self) -> bool:
        return self.at == len(self.text)


@dataclass(slots=True)
class _Call:
    """A call that the client has, and its arguments as they come again. opened: it has no arguments yet, so they are new."""

    call: ToolCall
    opened: bool = False
    begun: bool = False
    said: list[str] = field(default_factory=list)
    size: int = 0
    literal: bool = True
    tried: int = -1
    same: bool = False

    def add(self, arguments: str) -> bool:
        """Take a piece; return whether this may still become the same."""
        self.literal = self.literal and self.call.arguments.startswith(arguments, self.size)
        self.said.append(arguments)
        self.size += len(arguments)
        return self.size <= 4 * len(self.call.arguments) + _ROOM

    @property
    def done(self) -> bool:
        """Whether the arguments are the same, or mean it; parsed only where they may be whole."""
        if not self.begun or self.opened or (self.literal and self.size >= len(self.call.arguments.rstrip())):
            return self.begun
        if self.tried != self.size:
            self.tried = self.size
            text = "".join(self.said).rstrip()
            self.same = text[-1:] in ("", "}", "l") and _meaning(text) == _meaning(self.call.arguments)
        return self.same


class Retold:
    """One choice. Reasoning is left out: nobody compares it. failed: where the new answer is another than the first."""

    def __init__(self, events: Sequence[Event], choice: int) -> None:
        self.failed = ""
        self._said = _said(events, choice)
        self._calls = [said for said in self._said if isinstance(said, _Call)]
        self._next = 0

    @property
    def done(self) -> bool:
        """Whether all that the client has came again: whatever comes now is new. A call that was the same may turn out to be
        another as long as its fragments come, so `end` looks once more."""
        return self._piece() is None and all(call.done for call in self._calls)

    def text(self, event: Text | Refusal) -> str:
        """Take a piece of text; return what is new."""
        text = event.text
        while text and not self.failed:
            said = self._piece()
            if said is None and self.done:
                return text
            if not isinstance(said, _Piece) or said.kind is not type(event):
                self._fail("goes on otherwise")
            elif said.text.startswith(text, said.at):
                said.at += len(text)
                return ""
            elif text.startswith(rest := said.text[said.at :]):
                said.at, text = len(said.text), text[len(rest) :]
            else:
                self._fail("is another")
        return ""

    def call(self, event: ToolCall) -> ToolCall | None:
        """Take a fragment of a call; return what is new. A call may begin before another is whole, but not before a text is."""
        said = self._calls[event.index] if event.index < len(self._calls) else None
        if said is None:
            return event if self.may_go_on() else None
        if not said.begun and event.name != said.call.name:
            self._fail("calls another tool")
        elif not said.begun and not self._texts_done(said):
            self._fail("calls a tool too early")
        elif said.opened:
            said.begun = True
            return (
                ToolCall(event.index, "", "", event.arguments, event.choice, event.block) if event.arguments else None
            )
        else:
            said.begun = True
            if not said.add(event.arguments):
                self._fail("calls a tool otherwise")
        return None

    def may_go_on(self) -> bool:
        """Whether something that was never compared may come now."""
        if not self.done:
            self._fail("goes on otherwise")
        return not self.failed

    def end(self) -> None:
        """The answer is over: all of the first one must have come by now."""
        if not self.failed and not self.done:
            self._fail("is over too early, or calls a tool otherwise" if self._calls else "is over too early")

    def _piece(self) -> _Piece | _Call | None:
        """What has not come again yet, the first of it."""
        said = self._said
        while self._next < len(said) and said[self._next].done:
            self._next += 1
        return said[self._next] if self._next < len(said) else None

    def _texts_done(self, call: _Call) -> bool:
        """Whether all texts before a call have come."""
        before = next(n for n, said in enumerate(self._said) if said is call)
        return all(isinstance(said, _Call) or said.done for said in self._said[self._next : before])

    def _fail(self, how: str) -> None:
        self.failed = f"the answer asked for anew {how}"


def _said(events: Sequence[Event], choice: int) -> list[_Piece | _Call]:
    """What the client has of a choice, in order: texts that follow one another as one, calls where they began."""
    mine = [event for event in events if isinstance(event, Text | Refusal | ToolCall) and event.choice == choice]
    opened = opened_call(events)
    calls = {call.index: call for call in calls_of(mine)}
    said: list[_Piece | _Call] = []
    for event in mine:
        if isinstance(event, ToolCall):
            if (call := calls.pop(event.index, None)) is not None:
                said.append(_Call(call, opened=call == opened))
        elif said and isinstance(last := said[-1], _Piece) and last.kind is type(event):
            last.text += event.text
        else:
            said.append(_Piece(type(event), event.text))
    return said


def _meaning(arguments: str) -> str:
    """JSON in one form, however it is spaced and ordered; no arguments are `{}`, as for Anthropic's clients."""
    try:
        value = parse_json(arguments) if arguments.strip() else None
        return json.dumps({} if value is None else value, sort_keys=True)
    except ValueError:  # also of a number with more digits than Python writes
        return arguments
