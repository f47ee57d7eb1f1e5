"""Gemini's generateContent and streamGenerateContent, on the Gemini API, on Vertex AI and behind Code Assist.

https://ai.google.dev/api/generate-content
https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/projects.locations.publishers.models/streamGenerateContent
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, unquote

from midstream.dialects.base import TRUNCATED, AnswerOptions, Decoder, Dialect, RequestFacts
from midstream.dialects.gemini.answer import GeminiEncoder, write_answer
from midstream.dialects.gemini.parts import Parts, prompt_texts, read_usage
from midstream.dialects.gemini.request import adapt, read_conversation, write_request
from midstream.dialects.gemini.resume import resume
from midstream.dialects.gemini.words import write_error, write_failure
from midstream.events import END, OPAQUE, End, Event, Failure, Finish, Malformed, Start
from midstream.wire import Frame
from midstream.wire.framing import FramingName
from midstream.wire.json_text import Json, as_dict, as_int, as_list, as_str, parse_json

CANDIDATES_LIMIT = 128
"""Candidates of one answer; the API gives 8 at most."""

_PATH = re.compile(r"/(?:(models|tunedModels|endpoints)/([^/:]+)|v\d+internal)(?::|%3[Aa])(streamG|g)enerateContent$")
_ANSWER_KEYS = frozenset(("candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId"))


class GeminiDecoder:
    """GenerateContentResponse chunks, from SSE or as elements of a JSON array.

    There is no terminal event. An answer is whole once every candidate has a finishReason; END comes at once if usage came
    along, for then a client may rightly leave, else with the body's end. Older models repeat finishReason on every chunk:
    each is a Finish, and the last one counts. A body in which no candidate finishes is truncated.

    A blocked prompt has no candidate and no finishReason: it is a Failure of type `prompt_blocked`, its code Google's reason.
    """

    def __init__(self) -> None:
        self._parts: dict[int, Parts] = {}
        self._started = self._has_id = self._has_model = False
        self._ended = self._failed = False

    def feed(self, frame: Frame) -> list[Event]:
        """Return what one chunk means."""
        try:
            chunk = parse_json(frame.data)
        except ValueError:
            # Not Google's, but of gateways that speak Gemini and think of OpenAI.
            return [OPAQUE if frame.data.strip() == b"[DONE]" else Malformed("not JSON")]
        return self.read(chunk) or [OPAQUE]

    def close(self) -> list[Event]:
        """Return END after a finishReason for every candidate, unless it came already."""
        if self._failed:
            return []
        if not self._all_finished():
            return [TRUNCATED]
        return [] if self._ended else [END]

    def read(self, chunk: Any) -> list[Event]:
        """Return what a parsed chunk means; [] if nothing."""
        if not isinstance(chunk, dict):
            return [Malformed("not a JSON object")]
        if isinstance(inner := chunk.get("response"), dict):
            chunk = inner  # Code Assist (cloudcode-pa) wraps each chunk
        if chunk.get("error"):
            self._failed = True
            return [_read_failure(chunk["error"])]
        events = self._start(chunk)
        for position, candidate in enumerate(as_list(chunk.get("candidates"))):
            events += self._candidate(as_dict(candidate), position)
        usage = read_usage(chunk.get("usageMetadata"))
        events += usage
        events += self._blocked(as_dict(chunk.get("promptFeedback")))
        if usage and not self._ended and not self._failed and self._all_finished():
            self._ended = True
            events.append(END)
        return events

    def flush(self) -> list[Event]:
        """End what is open in an answer known to be whole."""
        return [event for parts in self._parts.values() for event in parts.flush()]

    def cut_calls(self) -> list[int]:
        """Return the candidates of which a call is open: begun, with more of its arguments to come."""
        return [index for index, parts in self._parts.items() if parts.is_open]

    def _start(self, chunk: Json) -> list[Event]:
        id_ = "" if self._has_id else as_str(chunk.get("responseId"))
        model = "" if self._has_model else as_str(chunk.get("modelVersion"))
        if (self._started and not id_ and not model) or _ANSWER_KEYS.isdisjoint(chunk):
            return []
        self._started = True
        self._has_id, self._has_model = self._has_id or bool(id_), self._has_model or bool(model)
        return [Start(id_, model)]

    def _candidate(self, candidate: Json, position: int) -> list[Event]:
        index = as_int(candidate.get("index"), position)
        assert index is not None  # noqa: S101 - the default is a number
        if not 0 <= index < CANDIDATES_LIMIT:
            return [Malformed("a candidate's index is out of range")]
        parts = self._parts.get(index)
        if parts is None:
            parts = self._parts[index] = Parts(index)
        events: list[Event] = []
        for part in as_list(as_dict(candidate.get("content")).get("parts")):
            events += parts.read(as_dict(part))
        reason = _enum(candidate.get("finishReason"))
        if reason:
            parts.finished = True
            return [*events, *parts.flush(), Finish(reason, index)]
        if events:
            parts.finished = False
        return events

    def _blocked(self, feedback: Json) -> list[Event]:
        reason = _enum(feedback.get("blockReason"))
        if not reason:
            return []
        self._failed = True
        message = as_str(feedback.get("blockReasonMessage")) or f"the prompt was blocked: {reason}"
        return [Failure(message, "prompt_blocked", reason, None, feedback)]

    def _all_finished(self) -> bool:
        return bool(self._parts) and all(parts.finished for parts in self._parts.values())


def _enum(value: Any) -> str:
    """An enum's name, or its number as text (`$alt=json;enum-encoding=int`); "" for proto's unset value."""
    if isinstance(value, str):
        return "" if value.endswith("_UNSPECIFIED") else value
    number = as_int(value)
    return str(number) if number else ""


def _read_failure(error: Any) -> Failure:
    """google.rpc.Status, as it comes inside a stream: {code, message, status}."""
    fields = as_dict(error)
    code = as_int(fields.get("code"))
    message = as_str(fields.get("message")) or (error if isinstance(error, str) else "the provider sent an error")
    status = code if code is not None and 100 <= code <= 599 else None
    return Failure(message, as_str(fields.get("status")), "" if code is None else str(code), status, error)


def read_answer(answer: Any) -> list[Event]:
    """A whole GenerateContentResponse (or an array of them): whole JSON is a whole answer, with or without finishReason."""
    decoder = GeminiDecoder()
    chunks = answer if isinstance(answer, list) else [answer]
    events = [event for chunk in chunks for event in decoder.read(chunk)]
    if not any(isinstance(event, Start | Failure) for event in events):
        return events or [Malformed("no GenerateContentResponse")]
    if not any(isinstance(event, End | Failure) for event in events):
        events += [*decoder.flush(), END]
    return events


def read_request(path: str, body: Json) -> RequestFacts:
    """The model is in the path (with its collection, unless that is `models`); Code Assist has it in the body."""
    match = _PATH.search(path)
    if match is None:
        return RequestFacts(as_str(body.get("model")))
    collection, name, verb = match.groups()
    if not name:
        return RequestFacts(as_str(body.get("model")), verb == "streamG")
    model = unquote(name) if collection == "models" else f"{collection}/{unquote(name)}"
    return RequestFacts(model, verb == "streamG")


def prompt(body: Json) -> list[str]:
    """The texts of the request; Code Assist wraps it."""
    inner = body.get("request")
    return prompt_texts(inner if isinstance(inner, dict) and "contents" not in body else body)


def _resume(options: AnswerOptions, events: Sequence[Event], decoder: Decoder | None) -> GeminiEncoder:
    return resume(options, events, decoder.cut_calls() if isinstance(decoder, GeminiDecoder) else ())


def _framing(path: str, body: Json) -> FramingName:
    """A JSON array, unless `alt=sse` is among the query's parameters (`$alt` too: Google's APIs take both)."""
    query = parse_qs(path.partition("?")[2])
    return "sse" if "sse" in query.get("alt", []) + query.get("$alt", []) else "json_array"


GEMINI = Dialect(
    name="gemini",
    paths=(_PATH,),
    body_keys=frozenset(("contents",)),
    read_request=read_request,
    decoder=GeminiDecoder,
    read_answer=read_answer,
    prompt=prompt,
    finish_reasons={
        "STOP": "stop",
        "MAX_TOKENS": "length",
        "SAFETY": "content_filter",
        "RECITATION": "content_filter",
        "BLOCKLIST": "content_filter",
        "PROHIBITED_CONTENT": "content_filter",
        "SPII": "content_filter",
        "LANGUAGE": "content_filter",
        "IMAGE_SAFETY": "content_filter",
        "IMAGE_PROHIBITED_CONTENT": "content_filter",
        "IMAGE_RECITATION": "content_filter",
        "1": "stop",
        "2": "length",
        "3": "content_filter",
        "4": "content_filter",
    },
    read_conversation=read_conversation,
    write_request=write_request,
    adapt=adapt,
    encoder=GeminiEncoder,
    write_answer=write_answer,
    resume=_resume,
    write_error=write_error,
    write_failure=write_failure,
    framing=_framing,
)
