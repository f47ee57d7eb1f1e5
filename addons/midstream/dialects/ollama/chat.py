"""Ollama's own API: /api/chat and /api/generate, JSON lines.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import re
from typing import Any

from midstream.dialects.arguments import arguments_text
from midstream.dialects.base import TRUNCATED, Dialect, RequestFacts
from midstream.dialects.ollama.answer import OllamaEncoder, write_answer, write_error, write_failure
from midstream.dialects.ollama.request import read_conversation, write_request
from midstream.dialects.ollama.resume import resume
from midstream.dialects.token_counts import count
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Reasoning,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_list, as_str, parse_json

_COUNTERS = ("_count", "_duration")


class OllamaDecoder:
    """Lines of one answer, of /api/chat (`message`) or /api/generate (`response`); the one with `done` ends it.

    With `stream: false` the answer is a single such line.
    """

    def __init__(self) -> None:
        self._started = self._over = False
        self._calls = 0

    def feed(self, frame: Frame) -> list[Event]:
        """Return what one line means."""
        try:
            line = parse_json(frame.data)
        except ValueError:
            return [Malformed("not JSON")]
        return self.read(line) or [OPAQUE]

    def close(self) -> list[Event]:
        """Return [] after `done` or an error."""
        return [] if self._over else [TRUNCATED]

    def read(self, line: Any) -> list[Event]:
        """Return what a parsed line means; [] if nothing."""
        if not isinstance(line, dict):
            return [Malformed("not a JSON object")]
        if self._over:
            return []
        if line.get("error"):
            self._over = True
            return [_read_failure(line)]
        events = self._start(line)
        message = line.get("message")
        if isinstance(message, dict):
            events += _said(message, "content")
            for call in as_list(message.get("tool_calls")):
                events.append(self._call(as_dict(call)))
        else:
            events += _said(line, "response")
        if line.get("done") is True:
            self._over = True
            events += _ending(line)
        return events

    def _start(self, line: Json) -> list[Event]:
        model = as_str(line.get("model"))
        if self._started or not (model or "message" in line or "response" in line):
            return []
        self._started = True
        return [Start(model=model)]

    def _call(self, call: Json) -> ToolCall:
        function = as_dict(call.get("function"))
        index, self._calls = self._calls, self._calls + 1
        arguments = arguments_text(function.get("arguments"))
        return ToolCall(index, as_str(call.get("id")), as_str(function.get("name")), arguments)


def _said(said: Json, key: str) -> list[Event]:
    events: list[Event] = []
    if thinking := as_str(said.get("thinking")):
        events.append(Reasoning(thinking))
    if text := as_str(said.get(key)):
        events.append(Text(text))
    for image in (said.get("image"), *as_list(said.get("images"))):  # image models, since 0.14
        if isinstance(image, str) and image:
            events.append(Media("image", len(image)))
    return events


def _ending(line: Json) -> list[Event]:
    """Usage, Finish where there is a reason (servers before 0.3.7 give none), END."""
    counters = {key: value for key, value in line.items() if key.endswith(_COUNTERS)}
    prompt_tokens, answer = count(counters.get("prompt_eval_count")), count(counters.get("eval_count"))
    events: list[Event] = []
    if prompt_tokens is not None or answer is not None:
        events.append(Usage(prompt_tokens, answer, raw=counters))
    if reason := as_str(line.get("done_reason")):
        events.append(Finish(reason))
    return [*events, END]


def _read_failure(line: Json) -> Failure:
    """An error after the answer has begun; its HTTP status was 200, so what it would have been is not known."""
    error = line["error"]
    if isinstance(error, str):
        return Failure(error, raw=line)
    fields = as_dict(error)
    message = as_str(fields.get("message")) or "the provider sent an error"
    code = fields.get("code")
    return Failure(message, as_str(fields.get("type")), str(code) if isinstance(code, str | int) else "", raw=error)


def read_answer(answer: Any) -> list[Event]:
    """An answer with `stream: false`: one line. Whole JSON without `done` is truncated all the same."""
    decoder = OllamaDecoder()
    return decoder.read(answer) + decoder.close()


def read_request(path: str, body: Json) -> RequestFacts:
    """Ollama streams unless told not to."""
    return RequestFacts(as_str(body.get("model")), body.get("stream") is not False)


def prompt(body: Json) -> list[str]:
    """The texts of either API, as a template puts them: system, tools as JSON, messages; or prompt and suffix."""
    tools = body.get("tools")
    texts = [as_str(body.get("system")), arguments_text(tools) if tools else ""]
    for message in as_list(body.get("messages")):
        fields = as_dict(message)
        calls = fields.get("tool_calls")
        texts += [as_str(fields.get("content")), arguments_text(calls) if calls else ""]
    texts += [as_str(body.get("prompt")), as_str(body.get("suffix"))]
    return [text for text in texts if text]


OLLAMA = Dialect(
    name="ollama",
    paths=(re.compile(r"/api/(?:chat|generate)/?$"),),
    body_keys=frozenset(("model",)),
    read_request=read_request,
    decoder=OllamaDecoder,
    read_answer=read_answer,
    prompt=prompt,
    finish_reasons={"stop": "stop", "length": "length"},
    keepalive=b"",
    object_lines=True,
    read_conversation=read_conversation,
    write_request=write_request,
    encoder=OllamaEncoder,
    write_answer=write_answer,
    resume=resume,
    write_error=write_error,
    write_failure=write_failure,
    framing=lambda path, body: "ndjson",
)
