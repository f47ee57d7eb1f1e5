"""OpenAI's Responses API, on whatever prefix (Azure, Copilot, ChatGPT's backend, Bedrock, xAI …), over SSE and over WebSocket.

https://platform.openai.com/docs/api-reference/responses-streaming
https://platform.openai.com/docs/guides/websocket-mode
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from midstream.dialects.arguments import arguments_text
from midstream.dialects.base import TRUNCATED, AnswerOptions, Decoder, Dialect, RequestFacts
from midstream.dialects.openai.background import read_on
from midstream.dialects.openai.chat_answer import write_error
from midstream.dialects.openai.items import Items, read_failure, read_usage
from midstream.dialects.openai.other_model import adapt_responses
from midstream.dialects.openai.responses_answer import ResponsesEncoder, write_answer
from midstream.dialects.openai.responses_request import read_conversation, write_request
from midstream.dialects.openai.responses_resume import resume
from midstream.dialects.openai.responses_written import Written
from midstream.events import END, OPAQUE, Asked, Event, Finish, Malformed, Start
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_int, as_list, as_str, parse_json

_BEGINNINGS = frozenset(("response.created", "response.queued", "response.in_progress"))
_ENDINGS = frozenset(f"response.{word}" for word in ("completed", "incomplete", "failed", "cancelled", "done"))


class _Answer:
    """One answer: events, already parsed, → what they mean. `over` once its terminal event has come."""

    def __init__(self) -> None:
        self.over = False
        self._items = Items()
        self._named = (False, False)

    def read(self, kind: str, event: Json) -> list[Event]:
        """Return what one event means; [] if nothing."""
        events = self._items.read(kind, event)
        if events:
            return events
        if kind in _BEGINNINGS:
            return self._begin(as_dict(event.get("response")))
        if kind in _ENDINGS:
            return self._end(kind.removeprefix("response."), as_dict(event.get("response")))
        if kind == "error" or (not kind and event.get("error")):
            self.over = True
            return [read_failure(event, "the provider sent an error event")]
        return []

    def _begin(self, response: Json) -> list[Event]:
        """Start, on the first event and again on one that names what was missing."""
        id_, model = as_str(response.get("id")), as_str(response.get("model"))
        named = (self._named[0] or bool(id_), self._named[1] or bool(model))
        if named == self._named:
            return []
        self._named = named
        return [Start(id_, model, as_int(response.get("created_at")))]

    def _end(self, word: str, response: Json) -> list[Event]:
        self.over = True
        if word == "done":  # not OpenAI's here, but Realtime's; the status says what the event's name does not
            word = as_str(response.get("status")) or "completed"
        return self._begin(response) + _ending(word, response, self._items.rest(response.get("output")))


def _ending(status: str, response: Json, rest: list[Event]) -> list[Event]:
    usage = read_usage(response.get("usage"))
    if status == "failed":
        return [*rest, *usage, read_failure(response, "the response failed")]
    detail = as_str(as_dict(response.get("incomplete_details")).get("reason"))
    return [*rest, *usage, Finish(status, 0, detail), END]


class ResponsesDecoder:
    """The answer to one HTTP request, as SSE."""

    def __init__(self) -> None:
        self._answer = _Answer()
        self.written = Written()

    def feed(self, frame: Frame) -> list[Event]:
        """Return what this frame means. After the terminal event nothing means anything."""
        if self._answer.over:
            return [OPAQUE]
        try:
            event = parse_json(frame.data)
        except ValueError:
            done = frame.data.strip() == b"[DONE]"  # OpenRouter's and xAI's; the terminal event came before it
            return [OPAQUE if done else Malformed("not JSON")]
        if not isinstance(event, dict):
            return [Malformed("not a JSON object")]
        kind = as_str(event.get("type")) or frame.event
        self.written.read(kind, event, frame.data)
        return self._answer.read(kind, event) or [OPAQUE]

    def close(self) -> list[Event]:
        """An answer without its terminal event is truncated, whatever else it had."""
        return [] if self._answer.over else [TRUNCATED]


class ResponsesSession:
    """Responses over WebSocket: one answer after another, each asked for by the client's `response.create`.

    The server runs one at a time. So while an answer is open, a further `response.create` means nothing yet (that answer then
    begins at its Start), and between two answers everything but a new one's beginning is opaque.
    """

    def __init__(self) -> None:
        self._answer: _Answer | None = None
        self._open = False

    def feed(self, frame: Frame, *, from_client: bool) -> list[Event]:
        """Return what this message means."""
        if from_client and b'"response.' not in frame.data:
            return [OPAQUE]
        try:
            event = parse_json(frame.data)
        except ValueError:
            return [Malformed("not JSON")]
        if not isinstance(event, dict):
            return [Malformed("not a JSON object")]
        kind = as_str(event.get("type"))
        return (self._asked(kind, event) if from_client else self._answered(kind, event)) or [OPAQUE]

    def _asked(self, kind: str, event: Json) -> list[Event]:
        if self._open or kind not in ("response.create", "response.append"):  # append: Codex, early 2026
            return []
        self._answer = _Answer()
        return [Asked(as_str(event.get("model")) or as_str(as_dict(event.get("response")).get("model")))]

    def _answered(self, kind: str, event: Json) -> list[Event]:
        if kind in _BEGINNINGS and not self._open:
            self._answer, self._open = self._answer or _Answer(), True
        if self._answer is None:
            return []
        events = self._answer.read(kind, event)
        if self._answer.over:
            self._answer, self._open = None, False
        return events


def read_answer(answer: Any) -> list[Event]:
    """A whole `response` object. One that still runs in the background (`queued`, `in_progress`) is END without a Finish:
    this HTTP exchange is whole, and what the model will say is another's to measure."""
    response = as_dict(answer)
    status = as_str(response.get("status"))
    if not status and not isinstance(response.get("output"), list):
        return (
            [read_failure(response, "the provider sent an error")]
            if response.get("error")
            else [Malformed("no response object")]
        )
    start = Start(as_str(response.get("id")), as_str(response.get("model")), as_int(response.get("created_at")))
    said = Items().whole(response.get("output"))
    if status in ("queued", "in_progress", ""):
        return [start, *said, *read_usage(response.get("usage")), END]
    return [start, *_ending(status, response, said)]


def read_request(path: str, body: Json) -> RequestFacts:
    """The model is left out where a stored prompt names it."""
    return RequestFacts(model=as_str(body.get("model")), stream=body.get("stream") is True)


def prompt(body: Json) -> list[str]:
    """The instructions, tools and the schema of the answer as JSON, then every text of every input item."""
    schema = as_dict(as_dict(body.get("text")).get("format")).get("schema")
    as_json = [arguments_text(said) for said in (body.get("tools"), schema) if said]
    texts = [as_str(body.get("instructions")), *as_json, *_texts(body.get("input"))]
    return [text for text in texts if text]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [
        text for item in as_list(value) for text in ([item] if isinstance(item, str) else _item_texts(as_dict(item)))
    ]


def _item_texts(item: Json) -> list[str]:
    """An item's texts, or a content part's: their fields do not clash."""
    texts = [as_str(item.get(key)) for key in ("text", "refusal", "name", "arguments", "input")]
    for key in ("content", "summary", "output"):
        inside = item.get(key)
        if isinstance(inside, str):
            texts.append(inside)
        else:
            texts += [
                as_str(as_dict(part).get("text")) or as_str(as_dict(part).get("refusal")) for part in as_list(inside)
            ]
    return texts


def _resume(options: AnswerOptions, events: Sequence[Event], decoder: Decoder | None) -> ResponsesEncoder:
    return resume(options, events, decoder.written if isinstance(decoder, ResponsesDecoder) else None)


OPENAI_RESPONSES = Dialect(
    name="openai_responses",
    paths=(re.compile(r"/responses/?$"),),
    websocket_paths=(re.compile(r"/responses/?$"),),
    body_keys=frozenset(("model", "input")),
    read_request=read_request,
    decoder=ResponsesDecoder,
    session=ResponsesSession,
    read_answer=read_answer,
    prompt=prompt,
    finish_reasons={
        "completed": "stop",
        "incomplete": "length",
        "max_output_tokens": "length",
        "content_filter": "content_filter",
    },
    read_conversation=read_conversation,
    write_request=write_request,
    adapt=adapt_responses,
    encoder=ResponsesEncoder,
    write_answer=write_answer,
    resume=_resume,
    write_error=write_error,
    read_on=read_on,
)
