"""Lines of ours behind a server's own."""

from __future__ import annotations

from collections.abc import Sequence

from midstream.dialects.base import AnswerOptions, Decoder
from midstream.dialects.ollama.answer import OllamaEncoder
from midstream.dialects.whole_calls import WholeCalls
from midstream.events import End, Event, Failure, Start, ToolCall


def resume(options: AnswerOptions, events: Sequence[Event], decoder: Decoder | None = None) -> OllamaEncoder:
    """Return an encoder that goes on behind lines which meant these events: the events say all that it needs."""
    return _Resumed(options, events)


class _Resumed(OllamaEncoder):
    """The calls that are out are whole, and not said again."""

    def __init__(self, options: AnswerOptions, events: Sequence[Event]) -> None:
        super().__init__(options)
        for event in events:
            self.feed(event)  # the lines are out already
        if any(isinstance(event, Start) for event in events):
            self._line()  # fixes the model's name
        self._calls = WholeCalls({event.index for event in events if isinstance(event, ToolCall)})
        self._over, self.failure = any(isinstance(event, End | Failure) for event in events), None
