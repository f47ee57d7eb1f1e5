"""Events of any dialect → the events of OpenAI's Responses API, or one whole response.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections import abc
from typing import assert_never

from midstream.dialects.base import AnswerOptions, Unwritable
from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.dialects.identity import Identity
from midstream.dialects.openai.responses_output import (
    REASONING_TEXT,
    REFUSAL,
    SUMMARY,
    TEXT,
    CallItem,
    OtherItem,
    PartKind,
    Sequence,
    TextItem,
    call,
    message,
    reasoning,
)
from midstream.events import (
    CONTENT,
    END,
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
from midstream.wire import Frame
from midstream.wire.json_text import Json

TEXT_LIMIT = 64 * 1024 * 1024
"""Characters of one answer. Its last event repeats the answer whole, so it is kept; models write far below 1 MB."""

SIGNATURE_START = "gAAAA"
"""How what OpenAI encrypts begins (Fernet). Another provider's signature must not come back to OpenAI as its own."""

_ID = "resp_"
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponsesEncoder:
    """One choice alone: the API has no more. The first frame comes with the first content, not with Start, so that a later
    Start can still name the answer."""

    def __init__(self, options: AnswerOptions) -> None:
        self._identity = Identity(options, _ID)
        self._sequence = Sequence()
        self._items: list[TextItem | CallItem | OtherItem] = []
        self._count = 0
        self._calls: dict[int, CallItem] = {}
        self._text: TextItem | None = None
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._room = TEXT_LIMIT
        self._over = False
        self.failure: Failure | None = None
        self.response: Json = {}
        """The whole response, once END has come."""

    def feed(self, event: Event) -> list[Frame]:
        """Return the frames that say this event; [] after END or a Failure."""
        if self._over:
            return []
        if isinstance(event, CONTENT):
            return [] if event.choice else self._content(event)
        match event:
            case Start():
                self._identity.read(event)
            case Usage():
                self._usage = event
            case Finish():
                self._finish = self._finish if event.choice else event
            case End():
                return self._end()
            case Failure():
                return self._fail(event)
            case Asked() | Malformed() | Opaque():
                pass
            case _:
                assert_never(event)
        return []

    def _content(self, event: Text | Reasoning | ToolCall | ServerTool | Refusal | Media) -> list[Frame]:
        match event:
            case Text(text=text, block=block):
                return self._say(TEXT, text, block)
            case Reasoning():
                return self._reason(event)
            case ToolCall():
                return self._call(event)
            case Refusal(text=text, block=block):
                return self._say(REFUSAL, text, block)
            case Media(transcript=text, block=block):
                return self._say(TEXT, text, block) if text else []
            case ServerTool():
                return self._close_text("completed")
            case _:
                assert_never(event)

    def _begin(self) -> list[Frame]:
        if self._identity.used:
            return []
        self._identity.used = True
        response = self._response("in_progress", [])
        return [
            self._sequence.frame(kind, {"response": response}) for kind in ("response.created", "response.in_progress")
        ]

    def _say(self, kind: PartKind, text: str, block: int) -> list[Frame]:
        item = self._text
        if item is not None and self._room >= len(text) and item.goes_on(kind, block):
            self._room -= len(text)
            return item.add(kind, text, block)
        self._room -= len(text)
        if self._room < 0:
            return self._fail(Failure(f"the answer is over the limit of {TEXT_LIMIT} characters", code="server_error"))
        frames, item = self._open(kind.item)
        return frames + item.add(kind, text, block)

    def _open(self, kind: str) -> tuple[list[Frame], TextItem]:
        """The message, or the reasoning, that is open; a new one where another item is."""
        frames, item = self._begin(), self._text
        if item is not None and item.item["type"] == kind:
            return frames, item
        frames += self._close_text("completed") + self._close_whole_calls()
        index = self._next()
        if kind == "message":
            item = message(self._sequence, index, self._identity.item_id("msg", index))
        else:
            item = reasoning(self._sequence, index, self._identity.item_id("rs", index))
        self._text = item
        self._items.append(item)
        return frames + item.opening(), item

    def _next(self) -> int:
        self._count += 1
        return self._count - 1

    def _close_text(self, status: str) -> list[Frame]:
        item, self._text = self._text, None
        return item.close(status) if item else []

    def _reason(self, event: Reasoning) -> list[Frame]:
        kind = REASONING_TEXT if self._text and self._text.kind is REASONING_TEXT else SUMMARY
        frames = self._say(kind, event.text, event.block) if event.text else []
        if event.signature.startswith(SIGNATURE_START) and not self._over:
            opened, item = self._open("reasoning")
            item.item = {**item.item, "encrypted_content": event.signature}
            frames += opened
        return frames

    def _call(self, event: ToolCall) -> list[Frame]:
        self._room -= len(event.arguments)
        if self._room < 0:
            return self._say(TEXT, event.arguments, 0)  # over the limit
        item = self._calls.get(event.index)
        if item is not None:
            item.item["name"] = item.item.get("name") or event.name
            return item.add(event.arguments)
        frames = self._begin() + self._close_text("completed") + self._close_whole_calls()
        index = self._next()
        call_id = event.id or self._identity.item_id("call", 0, event.index)
        item = call(self._sequence, index, self._identity.item_id("fc", index), call_id, event.name)
        self._items.append(item)
        self._calls[event.index] = item
        return frames + item.opening() + item.add(event.arguments)

    def _close_whole_calls(self) -> list[Frame]:
        """Calls close once the next item opens, save those that go on beside it."""
        calls = [item for item in self._calls.values() if not item.closed and item.is_whole()]
        return [frame for item in calls for frame in item.close("completed")]

    def _close_all(self, status: str) -> list[Frame]:
        """What is still open was cut off, where the answer was."""
        frames = self._close_whole_calls() + self._close_text(status)
        return frames + [frame for item in self._calls.values() for frame in item.close(status)]

    def _end(self) -> list[Frame]:
        frames = self._begin()
        finish = self._finish or Finish("")
        why = _INCOMPLETE.get(openai_finish_reason(finish.reason, finish.detail))
        status = "incomplete" if why else "completed"
        frames += self._close_all(status)
        self._over = True
        details = {"incomplete_details": {"reason": why} if why else None, "usage": _usage(self._usage)}
        self.response = self._response(status, [item.item for item in self._items], **details)
        return [*frames, self._sequence.frame(f"response.{status}", {"response": self.response})]

    def _fail(self, failure: Failure) -> list[Frame]:
        """The items that were whole by then are named; those that were not are not."""
        frames = self._begin()
        self._over, self.failure = True, failure
        whole = [item.item for item in self._items if item.closed]
        code = failure.code or ("rate_limit_exceeded" if failure.status == 429 else "server_error")
        response = self._response("failed", whole, error={"code": code, "message": failure.message})
        return [*frames, self._sequence.frame("response.failed", {"response": response})]

    def _response(self, status: str, output: list[Json], **more: Json | None) -> Json:
        return {
            "id": self._identity.id,
            "object": "response",
            "created_at": self._identity.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": self._identity.model,
            "output": output,
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": None,
            **more,
        }


def _usage(usage: Usage | None) -> Json | None:
    """OpenAI's usage object; None where the provider did not report both sums: its clients want numbers."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached: Json = {"cached_tokens": usage.cached_tokens or 0}
    if usage.cache_write_tokens is not None:
        cached["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": cached,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def write_answer(events: abc.Sequence[Event], options: AnswerOptions) -> Json:
    """Return the response that these events say. Raises Unwritable where an error is among them, or it is over the limit."""
    encoder = ResponsesEncoder(options)
    for event in (*events, END):
        encoder.feed(event)
        if encoder.failure is not None:
            raise Unwritable(encoder.failure)
    return encoder.response
