"""Events of any dialect → the lines of Ollama's /api/chat or /api/generate, or one whole answer.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from json import JSONEncoder
from typing import assert_never

from midstream.dialects.base import AnswerOptions, Unwritable
from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.dialects.whole_calls import HELD_LIMIT, WholeCall, WholeCalls
from midstream.events import (
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
from midstream.wire.json_text import Json, dump_json

_quote = JSONEncoder(ensure_ascii=False).encode  # of a str alone: a third of the cost of json.dumps
_OWN_REASONS = frozenset(("stop", "length", "load", "unload"))
_COUNTERS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
_LATEST = 253_402_300_799
"""The last second of the year 9999, beyond which there are no dates."""


def ollama_done_reason(reason: str, detail: str = "") -> str:
    """Return Ollama's word for any provider's. It has none for a filtered answer, whose OpenAI's word stays: it is no `stop`."""
    if reason in _OWN_REASONS:
        return reason
    said = openai_finish_reason(reason, detail)
    return "stop" if said == "tool_calls" else said


class OllamaEncoder:
    """Texts at once, calls when they are whole; the line with `done` has the reason and the counters, so both are held until
    END. Only the first choice: Ollama has no others.

    Durations are Ollama's own, or left out: nothing here has a clock.
    """

    def __init__(self, options: AnswerOptions) -> None:
        self._model = options.model
        self._generates = options.path.partition("?")[0].rstrip("/").endswith("/generate")
        created = datetime.fromtimestamp(min(max(options.created, 0), _LATEST), UTC)
        self._created = created.isoformat().replace("+00:00", "Z")
        self._calls = WholeCalls()
        self._finish = ("", "")
        self._usage: Usage | None = None
        self._over = False
        self.failure: Failure | None = None
        self._lead = b""
        self._tail = b""

    def feed(self, event: Event) -> list[Frame]:
        """Return the frames that say this event; [] after END or a Failure."""
        if type(event) is Text and self._lead and event.choice == 0 and not self._over and not self._calls:
            try:
                return [Frame(self._lead + _quote(event.text).encode() + self._tail)]
            except UnicodeEncodeError:  # a lone surrogate: half an emoji
                pass
        return [Frame(dump_json(line).encode()) for line in self.lines(event)]

    def lines(self, event: Event) -> list[Json]:
        """Return what `feed` does, before it is text."""
        if self._over or getattr(event, "choice", 0) != 0:
            return []
        match event:
            case Start(model=model):
                self._model = self._model if self._lead else model or self._model
            case Usage():
                self._usage = event
            case Text(text=text) | Refusal(text=text):
                return self._said(content=text)
            case Media(transcript=text) if text:
                return self._said(content=text)
            case Reasoning(text=text) if text:
                return self._said(thinking=text)
            case ToolCall():
                return self._call(event)
            case Finish(reason=reason, detail=detail):
                self._finish = (reason, detail)
            case End():
                return self._end()
            case Failure():
                return self._fail(event)
            case Media() | Reasoning() | ServerTool() | Asked() | Malformed() | Opaque():
                pass  # nothing of them has a place in a line
            case _:
                assert_never(event)
        return []

    def _said(self, content: str = "", thinking: str = "") -> list[Json]:
        return [*self._whole(self._calls.take()), self._line(content, thinking)]

    def _line(self, content: str = "", thinking: str = "", calls: Sequence[Json] = (), *, done: bool = False) -> Json:
        """The model's name is fixed with the first line."""
        head: Json = {"model": self._model, "created_at": self._created}
        if not self._lead:
            self._edges(head)
        more: Json = {"thinking": thinking} if thinking else {}
        if self._generates:
            return {**head, "response": content, **more, "done": done}
        more |= {"tool_calls": list(calls)} if calls else {}
        return {**head, "message": {"role": "assistant", "content": content, **more}, "done": done}

    def _edges(self, head: Json) -> None:
        """What stands around a text in a line of one text."""
        said = '"response":' if self._generates else '"message":{"role":"assistant","content":'
        self._lead = f"{dump_json(head)[:-1]},{said}".encode()
        self._tail = b',"done":false}' if self._generates else b'},"done":false}'

    def _call(self, event: ToolCall) -> list[Json]:
        calls = self._calls.add(event)
        if self._calls.overfull:
            return self._fail(Failure(f"a tool call's arguments are over {HELD_LIMIT} characters", type="unwritable"))
        return self._whole(calls)

    def _whole(self, calls: list[WholeCall]) -> list[Json]:
        """A line for each call; /api/generate has no place for one."""
        if self._generates:
            return []
        return [self._line(calls=[_said_call(call)]) for call in calls]

    def _end(self) -> list[Json]:
        """A call that never became whole: cut off by the limit, or, as from Ollama itself, an error."""
        self._over = True
        lines = self._whole(self._calls.take(last=True))
        reason = ollama_done_reason(*self._finish)
        if self._calls and reason != "length":
            said = "error parsing tool call: its arguments are no JSON object"
            return [*lines, *self._fail(Failure(said, type="unwritable"))]
        return [*lines, {**self._line(done=True), "done_reason": reason, **_counters(self._usage)}]

    def _fail(self, failure: Failure) -> list[Json]:
        self._over, self.failure = True, failure
        return [write_error(failure)]


def _said_call(call: WholeCall) -> Json:
    id_ = {"id": call.id} if call.id else {}
    return {**id_, "function": {"index": call.index, "name": call.name, "arguments": call.arguments}}


def _counters(usage: Usage | None) -> Json:
    if usage is None:
        return {}
    counts = {
        **{name: usage.raw.get(name) for name in _COUNTERS},
        "prompt_eval_count": usage.input_tokens,
        "eval_count": usage.output_tokens,
    }
    return {name: count for name, count in counts.items() if type(count) is int}


def write_answer(events: Sequence[Event], options: AnswerOptions) -> Json:
    """Return the one line that these events say. Raises Unwritable where it would be an error, or there is no end."""
    encoder = OllamaEncoder(options)
    lines = [line for event in events for line in encoder.lines(event)]
    if encoder.failure is not None or not lines:
        raise Unwritable(encoder.failure or Failure("the answer is not whole", type="truncated"))
    whole = lines[-1]
    if "response" in whole:
        return whole | _joined(lines, "response")
    messages = [line["message"] for line in lines]
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    message = {"role": "assistant", **_joined(messages, "content"), **({"tool_calls": calls} if calls else {})}
    return {**whole, "message": message}


def _joined(pieces: Sequence[Json], key: str) -> Json:
    said: Json = {key: "".join(piece[key] for piece in pieces)}
    thinking = "".join(piece.get("thinking", "") for piece in pieces)
    return {**said, "thinking": thinking} if thinking else said


def write_error(failure: Failure) -> Json:
    """Return the body of an HTTP error, which is also the line of an in-band one."""
    return {"error": failure.message or "the provider sent an error"}


def write_failure(failure: Failure) -> Frame:
    """Return the line of an in-band error."""
    return Frame(dump_json(write_error(failure)).encode())
