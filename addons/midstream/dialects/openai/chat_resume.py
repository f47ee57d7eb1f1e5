"""Chunks of ours behind a provider's own chat.completion chunks."""

from __future__ import annotations

from collections.abc import Sequence

from midstream.dialects.base import AnswerOptions, Decoder, Encoder
from midstream.dialects.identity import named
from midstream.dialects.openai.chat_answer import ChatEncoder, Choice
from midstream.dialects.openai.chat_functions import FunctionsEncoder
from midstream.dialects.openai.chunks import ChunkDecoder
from midstream.events import End, Event, Failure, Start, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json


def resume(options: AnswerOptions, events: Sequence[Event], decoder: Decoder | None = None) -> Encoder:
    """Return an encoder that goes on behind chunks which meant these events."""
    encoder = _Resumed(options, events, decoder if isinstance(decoder, ChunkDecoder) else None)
    return FunctionsEncoder(encoder) if options.functions else encoder


class _Resumed(ChatEncoder):
    """What the provider said is not said again: a role, a finish reason, usage. SDKs join strings, the role's too: a second
    role chunk would make an `assistantassistant`, and a `content` of "" would make one of a null."""

    def __init__(self, options: AnswerOptions, events: Sequence[Event], decoder: ChunkDecoder | None) -> None:
        super().__init__(options)
        self._bare = True
        self._counted: Usage | None = None
        self._identity.adopt(named(events))
        for event in events:
            self.feed(event)  # the frames are out already
        if decoder is not None:
            self._learn(decoder)
        elif any(isinstance(event, Start) for event in events):
            self._choice(0)
        self._over, self.failure = any(isinstance(event, End | Failure) for event in events), None
        self._counted = self._usage
        self._include_usage = self._include_usage or self._usage is not None

    def _learn(self, decoder: ChunkDecoder) -> None:
        for number, known in decoder.choices.items():
            if not known.spoke and number not in self._choices:
                continue
            _, choice = self._choice(number)
            choice.reasoning = known.reasoning or choice.reasoning
            indexes = known.calls.indexes() if known.calls else {}
            if any(call != index for call, index in indexes.items()):
                choice.indexes = indexes

    def _chunk(self, choice: Choice, delta: Json, reason: str = "") -> Frame:
        self._counted = None  # SDKs keep the last chunk's usage: where chunks follow, it is said again
        return super()._chunk(choice, delta, reason)

    def _count(self) -> list[Frame]:
        return super()._count() if self._usage != self._counted else []
