"""Events of any dialect → Gemini's GenerateContentResponse chunks, or one whole GenerateContentResponse.

https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from json import JSONEncoder
from typing import Any, assert_never

from midstream.dialects.base import AnswerOptions, Unwritable
from midstream.dialects.gemini.words import gemini_finish_reason, write_error
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
from midstream.wire.json_text import Json, as_dict, dump_json

_quote = JSONEncoder(ensure_ascii=False).encode  # of a str alone: a third of the cost of json.dumps
_ID = re.compile(r"(?!msg_|gen-|run-|cmpl-|resp_|chatcmpl-)[A-Za-z0-9_-]{20,24}")


@dataclass(slots=True)
class _Choice:
    """One candidate. lead, tail: a chunk before and after a text. signature: what the next part is signed with."""

    index: int
    lead: bytes
    tail: bytes
    calls: WholeCalls = field(default_factory=WholeCalls)
    signature: str = ""
    finish: tuple[str, str] = ("", "")

    @property
    def plain(self) -> bool:
        """Whether a text is a chunk with nothing else."""
        return not self.signature and not self.calls

    def signed(self, part: Json) -> Json:
        signature, self.signature = self.signature, ""
        return {**part, "thoughtSignature": signature} if signature else part


class GeminiEncoder:
    """Texts at once, calls when they are whole. Gemini has no terminal event: the last chunk says the finish reasons and the
    usage, so they are held until END, and a broken answer never has them.

    Signatures pass only while the model that was started is a Gemini: clients send them back, and no other's would verify.
    """

    def __init__(self, options: AnswerOptions) -> None:
        self._id, self._model = options.id, options.model
        self._wrapped = "internal:" in options.path  # Code Assist
        self._frozen = self._signs = self._over = False
        self.failure: Failure | None = None
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None

    def feed(self, event: Event) -> list[Frame]:
        """Return the frames that say this event; [] after END or a Failure."""
        if type(event) is Text and not self._over:
            choice = self._choices.get(event.choice)
            if choice is not None and choice.plain and choice.lead:
                try:
                    return [Frame(choice.lead + _quote(event.text).encode() + choice.tail)]
                except UnicodeEncodeError:  # a lone surrogate: half an emoji
                    pass
        return [Frame(dump_json(self._wrap(chunk)).encode()) for chunk in self.chunks(event)]

    def _wrap(self, chunk: Json) -> Json:
        return {"response": chunk} if self._wrapped and "error" not in chunk else chunk

    def chunks(self, event: Event) -> list[Json]:
        """Return what `feed` does, before it is text."""
        if self._over:
            return []
        match event:
            case Start():
                self._start(event)
            case Usage():
                self._usage = event
            case (
                Text(text=text, choice=number)
                | Refusal(text=text, choice=number)
                | Media(transcript=text, choice=number)
            ) if text:
                return self._text(number, text)
            case Reasoning():
                return self._reasoning(event)
            case ToolCall():
                return self._call(event)
            case Finish():
                self._choice(event.choice).finish = (event.reason, event.detail)
            case End():
                return self._end()
            case Failure():
                return self._fail(event)
            case ServerTool(choice=number):
                self._choice(number).signature = ""  # it signed what is not said here
            case Text() | Refusal() | Media() | Asked() | Malformed() | Opaque():
                pass  # nothing of them has a place in a chunk
            case _:
                assert_never(event)
        return []

    def _start(self, start: Start) -> None:
        if start.model:
            self._signs = "gemini" in start.model.lower()
        if not self._frozen:
            self._id = start.id if _ID.fullmatch(start.id) else self._id
            self._model = start.model or self._model

    def _choice(self, number: int) -> _Choice:
        choice = self._choices.get(number)
        if choice is None:
            lead, tail = self._edges(number)
            choice = self._choices[number] = _Choice(number, lead, tail)
        return choice

    def _edges(self, number: int) -> tuple[bytes, bytes]:
        """What stands around a text in a chunk of one text; the answer's names are fixed from then on."""
        self._frozen = True
        mark = "\0text\0"
        whole = dump_json(self._wrap(self._chunk([_candidate(number, [{"text": mark}])])))
        lead, _, tail = whole.partition(_quote(mark))
        return lead.encode(), tail.encode()

    def _chunk(self, candidates: list[Json]) -> Json:
        self._frozen = True
        return {"candidates": candidates, **self._names()}

    def _names(self) -> Json:
        return {"modelVersion": self._model, "responseId": self._id}

    def _said(self, choice: _Choice, parts: list[Json]) -> list[Json]:
        return [self._chunk([_candidate(choice.index, [part])]) for part in parts]

    def _text(self, number: int, text: str) -> list[Json]:
        choice = self._choice(number)
        calls = _parts(choice.calls.take())
        return self._said(choice, [*calls, choice.signed({"text": text})])

    def _reasoning(self, event: Reasoning) -> list[Json]:
        choice = self._choice(event.choice)
        signature = event.signature if self._signs else ""
        calls = _parts(choice.calls.take())
        if not event.text:
            before = [choice.signed({"text": ""})] if signature and choice.signature else []
            choice.signature = signature or choice.signature
            return self._said(choice, [*calls, *before])
        thought: Json = {"text": event.text, "thought": True}
        return self._said(choice, [*calls, {**thought, "thoughtSignature": signature} if signature else thought])

    def _call(self, event: ToolCall) -> list[Json]:
        choice = self._choice(event.choice)
        signature, choice.signature = choice.signature, ""
        calls = choice.calls.add(event, signature)
        if choice.calls.overfull:
            return self._fail(Failure(f"a tool call's arguments are over {HELD_LIMIT} characters", code="500"))
        return self._said(choice, _parts(calls))

    def _end(self) -> list[Json]:
        self._over = True
        chunks: list[Json] = []
        last: list[Json] = []
        for choice in [self._choices[number] for number in sorted(self._choices)] or [self._choice(0)]:
            chunks += self._said(choice, _parts(choice.calls.take(last=True)))
            reason = gemini_finish_reason(*choice.finish)
            if choice.calls and reason != "MAX_TOKENS":
                reason = "MALFORMED_FUNCTION_CALL"
            candidate = _candidate(choice.index, [choice.signed({"text": ""})])
            last.append({**candidate, "finishReason": reason})
        return [*chunks, self._last(last)]

    def _last(self, candidates: list[Json]) -> Json:
        return {**self._chunk(candidates), **_usage(self._usage)}

    def _fail(self, failure: Failure) -> list[Json]:
        self._over, self.failure = True, failure
        if failure.type == "prompt_blocked" and not self._choices:
            return [{**_blocked(failure), **_usage(self._usage), "modelVersion": self._model, "responseId": self._id}]
        return [write_error(failure)]


def _candidate(number: int, parts: list[Json]) -> Json:
    return {"content": {"parts": parts, "role": "model"}, "index": number}


def _parts(calls: list[WholeCall]) -> list[Json]:
    parts: list[Json] = []
    for call in calls:
        id_ = {"id": call.id} if call.id else {}
        part: Json = {"functionCall": {**id_, "name": call.name, "args": call.arguments}}
        parts.append({**part, "thoughtSignature": call.signature} if call.signature else part)
    return parts


def _usage(usage: Usage | None) -> Json:
    """usageMetadata: Google counts thoughts beside the answer; only what was reported."""
    if usage is None:
        return {}
    answer, total = usage.output_tokens, None
    if answer is not None:
        answer = max(answer - (usage.reasoning_tokens or 0), 0)
    if usage.input_tokens is not None and usage.output_tokens is not None:
        total = usage.input_tokens + usage.output_tokens
    counts = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": answer,
        "totalTokenCount": total,
        "cachedContentTokenCount": usage.cached_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
    }
    known = {name: count for name, count in counts.items() if count is not None}
    return {"usageMetadata": known} if known else {}


def _blocked(failure: Failure) -> Json:
    """A prompt that Gemini refused: an answer without candidates, not an error."""
    message = {"blockReasonMessage": failure.message} if as_dict(failure.raw).get("blockReasonMessage") else {}
    return {"promptFeedback": {"blockReason": failure.code or "OTHER", **message}}


def write_answer(events: Sequence[Event], options: AnswerOptions) -> Json:
    """Return the GenerateContentResponse that these events say. Raises Unwritable where an error is among them; that the prompt
    was blocked is none."""
    encoder = GeminiEncoder(options)
    whole: Json = {"candidates": []}
    candidates: dict[int, Json] = {}
    for chunk in [chunk for event in events for chunk in encoder.chunks(event)]:
        if "promptFeedback" in chunk:
            return chunk
        if "error" in chunk and encoder.failure is not None:
            raise Unwritable(encoder.failure)
        for candidate in chunk.pop("candidates"):
            _join(candidates.setdefault(candidate["index"], _candidate(candidate["index"], [])), candidate)
        whole |= chunk
    said = [candidates[number] for number in sorted(candidates)]
    return {**whole, "candidates": said}


def _join(whole: Json, candidate: Json) -> None:
    """Add a chunk's candidate; texts of one kind become one part."""
    parts: list[Any] = whole["content"]["parts"]
    for part in candidate.pop("content")["parts"]:
        if parts and _text_alone(part) and _text_alone(parts[-1]) and part.get("thought") == parts[-1].get("thought"):
            parts[-1]["pieces"].append(part["text"])
        elif part.get("text") != "" or "thoughtSignature" in part or not parts:
            parts.append({**part, "pieces": [part["text"]]} if _text_alone(part) else part)
    if "finishReason" in candidate:
        for part in parts:
            if "pieces" in part:
                part["text"] = "".join(part.pop("pieces"))
    whole |= candidate


def _text_alone(part: Json) -> bool:
    return "text" in part and "thoughtSignature" not in part
