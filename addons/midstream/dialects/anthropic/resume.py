"""Events of ours behind a provider's own of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Sequence

from midstream.dialects.anthropic import blocks as anthropic_blocks
from midstream.dialects.anthropic.answer import MessagesEncoder
from midstream.dialects.anthropic.output import OpenBlock
from midstream.dialects.base import AnswerOptions
from midstream.dialects.identity import named
from midstream.events import CONTENT, End, Event, Failure, Finish, Start
from midstream.wire.json_text import Json


def resume(options: AnswerOptions, events: Sequence[Event], blocks: anthropic_blocks.Blocks | None) -> MessagesEncoder:
    """Return an encoder that goes on behind a message_start and blocks which meant these events.

    blocks: as the provider numbered them. None: those that the events name, the last of them open.
    """
    return _Resumed(options, events, blocks)


class _Resumed(MessagesEncoder):
    """Blocks are numbered on from the provider's, of which an open one goes on or is closed; what its message_start and
    message_delta said is not said again."""

    def __init__(self, options: AnswerOptions, events: Sequence[Event], blocks: anthropic_blocks.Blocks | None) -> None:
        super().__init__(options)
        self._strays: list[Json] = []
        self._finished, self._counted = False, self._usage
        self._identity.adopt(named(events))
        for event in events:
            self.feed(event)  # the frames are out already
        self._identity.used = self._identity.used or any(isinstance(event, Start) for event in events)
        self._over, self.failure = any(isinstance(event, End | Failure) for event in events), None
        self._finished = any(isinstance(event, Finish) for event in events)
        self._counted = self._usage
        count, unclosed = self._unclosed(events, blocks)
        self._open = None
        self._strays = self._blocks.go_on(count, unclosed)

    def _unclosed(self, events: Sequence[Event], blocks: anthropic_blocks.Blocks | None) -> tuple[int, list[OpenBlock]]:
        mine = self._blocks.open
        if blocks is None:
            last = max((event.block for event in events if isinstance(event, CONTENT)), default=-1)
            if mine is not None:
                mine.index = last
            return last + 1, [mine] if mine and not self._finished else []
        return blocks.count, [self._taken(mine, i, kind, blocks.call_of(i)) for i, kind in blocks.unclosed.items()]

    def _taken(self, mine: OpenBlock | None, index: int, kind: str, call: int) -> OpenBlock:
        """The open block; with what is known of its arguments, or its signature, if it is the one open here."""
        if mine is None or mine.kind != kind or mine.call != call or (kind == "thinking" and mine.block != index):
            return OpenBlock(index, kind, 0 if kind == "text" else index, call)
        mine.index, mine.signed = index, mine.signature
        return mine

    def events(self, event: Event) -> list[Json]:
        """Return what `feed` does, before it is text; first of all, what closes blocks that were open side by side."""
        said = super().events(event)
        if said and self._strays:
            said, self._strays = [*self._strays, *said], []
        return said

    def _end(self) -> list[Json]:
        if not self._finished or self._usage != self._counted:
            return super()._end()
        self._over = True
        return [*self._blocks.close(), {"type": "message_stop"}]
