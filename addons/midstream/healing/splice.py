"""How a later attempt joins what the client has: which events of it go out, and under which numbers (design section 7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from midstream.events import CONTENT, End, Event, Failure, Finish, Reasoning, Start, Text, ToolCall, Usage
from midstream.healing.after_break import opened_call
from midstream.healing.continuation import continuation
from midstream.healing.delivered import Delivered, Way
from midstream.healing.joining import Again, Anew, Content, Joining, Onward

__all__ = ["SEAM", "Delivered", "Seam", "Way", "continuation"]

SEAM = 200
"""Characters of a new text that are held at most until it is decided where it joins: two or three sentences, which is as far as
models look back, and some 50 tokens, which pass in a second. Most texts are known to be new after one or two words."""

SEAM_MOST = 4096
"""No more is held whatever is asked for: the comparisons grow with its square, and a longer overlap than this is an answer begun
anew."""


@dataclass(slots=True)
class _Place:
    """The block that the client is in, and the attempt's block that goes on in it: the first that says something of its kind."""

    block: int
    own: int | None = None


class Seam:
    """Joins a later attempt's events to what the client has. Feed its provider's events; pass on what it returns.

    Ids, model, choices and blocks stay the first attempt's: no Start goes out twice, blocks and calls are numbered on. Usage
    and Failure pass, and so do Finish and End after an answer that could be joined. A signature passes only before a call that
    it signs (Gemini's), from the same model: reasoning of which the client has the beginning from elsewhere verifies nowhere.

    failed: why this attempt cannot be joined. From then on nothing of it passes but its usage.
    """

    def __init__(self, delivered: Delivered, way: Way, *, limit: int = SEAM, prefilled: bool = False) -> None:
        told = delivered.events
        self.failed = way.reason or "nothing can follow" if way.kind == "impossible" else ""
        self._joining = _joining(told, way, min(limit, SEAM_MOST), prefilled=prefilled)
        self._single = way.kind == "continue"
        blocks = [event.block for event in told if isinstance(event, CONTENT)]
        self._begun = bool(blocks)
        self._next_block = max(blocks, default=-1) + 1
        self._places = _places(told)
        self._starts = [event for event in told if isinstance(event, Start)]
        self._ids = {event.id for event in told if isinstance(event, ToolCall)} - {""}
        self._same_model = not self._begun and not self._starts
        self._signature: Reasoning | None = None
        self._block: int | None = None  # the block whose texts pass without a look, under the number that follows
        self._as_block = 0

    @property
    def joined(self) -> bool:
        """Whether all is decided: from now on everything passes."""
        return not self.failed and self._joining.joined

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Return what the client gets of these events."""
        out: list[Event] = []
        for event in events:
            if event.__class__ is Text and event.block == self._block and not event.choice:
                out.append(event if self._block == self._as_block else Text(event.text, 0, self._as_block))
            else:
                out += self._read(event)
        return out

    def flush(self) -> list[Event]:
        """The attempt broke as well: return what was held and is new. That is nothing: what is undecided may be a repetition, and
        what went out cannot be taken back; the next attempt says it again."""
        return []

    def _read(self, event: Event) -> Sequence[Event]:
        if self.failed:
            return [event] if isinstance(event, Usage) else []
        match event:
            case Usage() | Failure():
                return [event]
            case Start():
                return self._start(event)
            case Finish(choice=choice):
                return self._over(choice, event)
            case End():
                return self._over(None, event)
            case _ if isinstance(event, CONTENT):
                return self._content(event)
            case _:
                return []

    def _start(self, start: Start) -> list[Event]:
        if not self._begun and not self._starts:
            return [start]
        if start.model:
            self._same_model = any(start.model == first.model for first in self._starts)
        return []

    def _over(self, choice: int | None, event: Finish | End) -> list[Event]:
        if choice and self._single:
            return []
        said = self._passed(self._joining.finish(choice))
        return [] if self.failed else [*said, event]

    def _content(self, event: Content) -> Sequence[Event]:
        if isinstance(event, Reasoning) and not (self._same_model and not self._begun):
            self._signature = event if self._same_model and not event.text else None
            self._block = None
            event = Reasoning(event.text, event.choice, event.block)
            return self._passed(self._joining.content(event)) if event.text else []
        signature, self._signature = self._signature, None
        said = self._passed(self._joining.content(event))
        if isinstance(event, Text) and said and not event.choice and self.joined:
            self._block, self._as_block = event.block, said[-1].block
        signed = signature and isinstance(event, ToolCall) and event.choice == signature.choice
        if signature and signed and said and event.block == signature.block:
            return [*said[:-1], self._put(signature), said[-1]]
        return said

    def _passed(self, said: Sequence[Content]) -> list[Content]:
        self.failed = self._joining.failed
        if self.failed:
            self._block = None
            return []
        return [self._put(event) for event in said]

    def _put(self, event: Content) -> Content:
        """The event under the client's numbers. A call's id that the client has already is left out: its encoder makes one."""
        if not self._begun:
            return event
        place = self._places.get((type(event), event.choice))
        if place is not None and place.own is None:
            place.own = event.block
        block = place.block if place and place.own == event.block else self._next_block + event.block
        if isinstance(event, ToolCall) and event.id in self._ids:
            return replace(event, block=block, id="")
        if isinstance(event, Text):
            return event if block == event.block else Text(event.text, event.choice, block)
        return replace(event, block=block)


def _joining(told: Sequence[Event], way: Way, limit: int, *, prefilled: bool) -> Joining:
    if way.kind == "continue":
        return Onward(told, limit, prefilled=prefilled)
    return Again(told) if way.kind == "restart" else Anew(told, limit)


def _places(told: Sequence[Event]) -> dict[tuple[type[Event], int], _Place]:
    """Where each choice stands: at its last content, which is reasoning only if nothing else is. A whole call never goes on."""
    last: dict[int, Content] = {}
    for event in told:
        if isinstance(event, CONTENT):
            past = isinstance(event, Reasoning) and not isinstance(last.get(event.choice, event), Reasoning)
            last[event.choice] = last[event.choice] if past else event
    opened = opened_call(told)
    return {
        (type(event), choice): _Place(event.block)
        for choice, event in last.items()
        if not isinstance(event, ToolCall) or (opened is not None and opened.choice == choice)
    }
