"""Chunks of ours behind a provider's own GenerateContentResponse chunks."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from midstream.dialects.base import AnswerOptions
from midstream.dialects.gemini.answer import GeminiEncoder
from midstream.dialects.identity import named
from midstream.dialects.whole_calls import WholeCalls
from midstream.events import CONTENT, End, Event, Failure, Finish, Start, ToolCall, Usage
from midstream.wire.json_text import Json


def resume(options: AnswerOptions, events: Sequence[Event], cut_calls: Collection[int]) -> GeminiEncoder:
    """Return an encoder that goes on behind chunks which meant these events.

    cut_calls: the candidates of which the provider had begun a call in pieces (Vertex's streamFunctionCallArguments). Nothing can
    go on with one, so such an answer ends as an error.
    """
    return _Resumed(options, events, cut_calls)


class _Resumed(GeminiEncoder):
    """What the provider said is not said again: calls, signatures, a finishReason, usage."""

    def __init__(self, options: AnswerOptions, events: Sequence[Event], cut_calls: Collection[int]) -> None:
        super().__init__(options)
        self._finished = set[int]()
        self._counted: Usage | None = None
        self._cut = bool(cut_calls)
        start = named(events)
        began = any(isinstance(event, Start) for event in events)
        if began:
            self._id, self._model = start.id, start.model
        for event in events:
            self.feed(event)  # the frames are out already
        self._frozen = began
        self._over, self.failure = any(isinstance(event, End | Failure) for event in events), None
        self._counted = self._usage
        self._leave(events)

    def _leave(self, events: Sequence[Event]) -> None:
        """Forget the candidates that are finished, and of the others all but which calls they had."""
        for event in events:
            if isinstance(event, Finish):
                self._finished.add(event.choice)
            elif isinstance(event, CONTENT):
                self._finished.discard(event.choice)
        for number in self._finished:
            self._choices.pop(number, None)
        for number, choice in self._choices.items():
            said = {event.index for event in events if isinstance(event, ToolCall) and event.choice == number}
            choice.calls, choice.signature, choice.finish = WholeCalls(said), "", ("", "")

    def _names(self) -> Json:
        """Where the provider's own chunks have none (older models), ours have none."""
        return {name: value for name, value in super()._names().items() if value}

    def _end(self) -> list[Json]:
        if self._cut:
            return self._fail(Failure("a function call was cut off", type="truncated"))
        if self._choices or not self._finished:
            return super()._end()
        self._over = True
        return [self._last([])] if self._usage != self._counted else []
