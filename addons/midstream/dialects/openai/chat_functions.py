"""Answers to clients that use OpenAI's legacy `functions`, of 2023: `function_call` in place of `tool_calls`.

https://platform.openai.com/docs/api-reference/chat/create#chat-create-functions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from midstream.dialects.base import AnswerOptions, Encoder
from midstream.events import Event, Failure
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_list, dump_json, parse_json

_SAYS_CALL = b'"tool_calls"'
"""Within a text, JSON escapes the quotes: there is no such sequence in one."""


def uses_functions(body: Json) -> bool:
    """Whether a request's client knows `functions` alone."""
    return bool(as_list(body.get("functions"))) and not body.get("tools")


class FunctionsEncoder:
    """What another encoder writes, each frame with a call said anew. There is one call in an answer: others are left out."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def failure(self) -> Failure | None:
        """The other's."""
        return self._encoder.failure

    def feed(self, event: Event) -> list[Frame]:
        """Return the frames that say this event."""
        return [_said(frame) for frame in self._encoder.feed(event)]


def _said(frame: Frame) -> Frame:
    if _SAYS_CALL not in frame.data:
        return frame
    chunk = as_dict(parse_json(frame.data))
    for choice in as_list(chunk.get("choices")):
        _rename(choice, "delta")
    return frame._replace(data=dump_json(chunk).encode())


def _rename(choice: Json, key: str) -> None:
    """Say a choice's call, and that it stopped for one."""
    said: dict[str, Any] = choice[key]
    calls = as_list(said.pop("tool_calls", None))
    first = next((call for call in calls if not call.get("index")), None)
    if first is not None:
        said["function_call"] = first["function"]
    if choice.get("finish_reason") == "tool_calls":
        choice["finish_reason"] = "function_call"


def with_functions(encoder: Callable[[AnswerOptions], Encoder]) -> Callable[[AnswerOptions], Encoder]:
    """The same encoders, for clients of either time."""

    def made(options: AnswerOptions) -> Encoder:
        return FunctionsEncoder(encoder(options)) if options.functions else encoder(options)

    return made


def whole_with_functions(
    write_answer: Callable[[Sequence[Event], AnswerOptions], Json],
) -> Callable[[Sequence[Event], AnswerOptions], Json]:
    """The same for whole answers."""

    def written(events: Sequence[Event], options: AnswerOptions) -> Json:
        answer = write_answer(events, options)
        if options.functions:
            for choice in answer.get("choices", ()):
                _rename(choice, "message")
        return answer

    return written
