"""The three ways a later attempt's content joins what the client has: in the attempt's own numbering, without its signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from midstream.events import CONTENT, Event, Media, Reasoning, Refusal, ServerTool, Text, ToolCall
from midstream.healing.after_break import opened_call
from midstream.healing.joint import Joint, Thoughts
from midstream.healing.retold import Retold

type Content = Text | Reasoning | ToolCall | ServerTool | Refusal | Media


class Joining(Protocol):
    """One way. What is returned together with a failure does not count."""

    @property
    def failed(self) -> str:
        """Why not; "" while it can be."""
        ...

    @property
    def joined(self) -> bool:
        """Whether all is decided: whatever comes now is new."""
        ...

    def content(self, event: Content) -> Sequence[Content]:
        """Return what is new of an event, and of what was held before it."""
        ...

    def finish(self, choice: int | None = None) -> Sequence[Content]:
        """A choice is over, or with None the answer: return what was held and is new."""
        ...


class Anew:
    """The client has no more than reasoning and white space. Its reasoning goes on with the new attempt's, unless it was whole:
    then it has its signature, which more would spoil."""

    def __init__(self, told: Sequence[Event], limit: int) -> None:
        self.failed = ""
        thoughts, spaces = dict[int, str](), dict[int, str]()
        self._past = set[int]()
        for event in told:
            if isinstance(event, Reasoning):
                thoughts[event.choice] = thoughts.get(event.choice, "") + event.text
                self._past |= {event.choice} if event.signature else set()
            elif isinstance(event, Text):
                spaces[event.choice] = spaces.get(event.choice, "") + event.text
        self._past |= spaces.keys()
        self._thoughts = {n: Thoughts(text, limit=limit) for n, text in thoughts.items() if n not in self._past}
        self._spaces = {n: Joint(text, limit=limit, prefilled=True) for n, text in spaces.items()}

    @property
    def joined(self) -> bool:
        """Whether all is decided."""
        return not self._thoughts and all(joint.through for joint in self._spaces.values())

    def content(self, event: Content) -> Sequence[Content]:
        """Return what is new of an event. Where the reasoning is past, there is no place for more."""
        if isinstance(event, Reasoning):
            if event.choice in self._past:
                return []
            thoughts = self._thoughts.get(event.choice)
            text = thoughts.feed(event.text) if thoughts else event.text
            return [replace(event, text=text)] if text else []
        self._thoughts.pop(event.choice, None)
        if not isinstance(event, Text):
            self._spaces.pop(event.choice, None)
        elif joint := self._spaces.get(event.choice):
            text = joint.feed(event.text)
            return [replace(event, text=text)] if text else []
        return [event]

    def finish(self, choice: int | None = None) -> Sequence[Content]:
        """Return what was held and is new: white space."""
        ended = [(n, joint.end()) for n, joint in self._spaces.items() if choice in (None, n)]
        return [Text(text, n) for n, text in ended if text]


class Onward:
    """The attempt was asked to go on from the text. Where the client has the name of a call already, the call must come next."""

    def __init__(self, told: Sequence[Event], limit: int, *, prefilled: bool) -> None:
        self.failed = ""
        text = "".join(event.text for event in told if isinstance(event, Text) and not event.choice)
        self._joint = Joint(text, limit=limit, prefilled=prefilled)
        self._opened = opened_call(told)
        self._awaits = self._opened is not None
        last = max((event.index for event in told if isinstance(event, ToolCall)), default=-1)
        self._first_call = last if self._opened else last + 1
        self._block = 0

    @property
    def joined(self) -> bool:
        """Whether all is decided."""
        return self._joint.through and not self._awaits

    def content(self, event: Content) -> Sequence[Content]:
        """Return what is new of an event. The client is past reasoning, and has one choice."""
        if event.choice or isinstance(event, Reasoning):
            return []
        if isinstance(event, ServerTool):
            return [event] if self.joined else []
        if isinstance(event, Text):
            self._block = event.block
            return self._say(self._joint.feed(event.text))
        before = self._say(self._joint.end())
        if isinstance(event, ToolCall):
            return [*before, *self._call(event)]
        if self._awaits:
            self._fail()
        return [*before, event]

    def finish(self, choice: int | None = None) -> Sequence[Content]:
        """Return what was held and is new."""
        said = self._say(self._joint.end())
        if self._awaits:
            self._fail()
        return said

    def _say(self, text: str) -> list[Content]:
        self.failed = self.failed or self._joint.failed
        if self._awaits:
            if text.strip():
                self._fail()
            return []
        return [Text(text, 0, self._block)] if text else []

    def _call(self, event: ToolCall) -> list[Content]:
        index = self._first_call + event.index
        if self._opened is None or event.index:
            return [replace(event, index=index)]
        if self._awaits and event.name != self._opened.name:
            self._fail()
        self._awaits = False
        return [ToolCall(index, "", "", event.arguments, 0, event.block)] if event.arguments else []

    def _fail(self) -> None:
        self.failed = self.failed or "the answer does not go on with the tool call that had begun"


class Again:
    """The attempt was asked for the same answer, choice by choice."""

    def __init__(self, told: Sequence[Event]) -> None:
        choices = dict.fromkeys(event.choice for event in told if isinstance(event, CONTENT))
        self._choices = {choice: Retold(told, choice) for choice in choices}

    @property
    def failed(self) -> str:
        """Where a choice is another than it was."""
        return next((retold.failed for retold in self._choices.values() if retold.failed), "")

    @property
    def joined(self) -> bool:
        """Whether all that the client has came again."""
        return all(retold.done for retold in self._choices.values())

    def content(self, event: Content) -> Sequence[Content]:
        """Return what is new of an event. What a tool of the provider's own does before that is not told again."""
        retold = self._choices.get(event.choice)
        if retold is None:
            return [event]
        match event:
            case Text() | Refusal():
                text = retold.text(event)
                return [replace(event, text=text)] if text else []
            case ToolCall():
                call = retold.call(event)
                return [call] if call else []
            case Media():
                return [event] if retold.may_go_on() else []
            case ServerTool():
                return [event] if retold.done else []
            case Reasoning():
                return []

    def finish(self, choice: int | None = None) -> Sequence[Content]:
        """All that the client has must have come."""
        for number, retold in self._choices.items():
            if choice in (None, number):
                retold.end()
        return []
