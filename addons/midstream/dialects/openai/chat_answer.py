"""Events of any dialect → OpenAI's chat.completion chunks, or one whole chat.completion.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from json import JSONEncoder
from typing import assert_never

from midstream.dialects.base import AnswerOptions, Unwritable
from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.dialects.identity import Identity
from midstream.dialects.openai.errors import write_error, write_failure
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

__all__ = ["ChatEncoder", "write_answer", "write_error", "write_failure"]

_ID = "chatcmpl-"
_DONE = Frame(b"[DONE]")
_TAIL = b'},"finish_reason":null}]}'
_quote = JSONEncoder(ensure_ascii=False).encode  # of a str alone: a third of the cost of json.dumps


@dataclass(slots=True)
class Choice:
    """One choice of a stream. head: a chunk as far as its delta; lead: as far as a text.

    calls: index → whether it has had arguments. indexes: the same → as it is written, where that differs. reason: as last
    written, in OpenAI's word. finished: nothing came since. reasoning: the field that has it.
    """

    head: bytes
    lead: bytes
    calls: dict[int, bool] = field(default_factory=dict)
    reason: str = ""
    finished: bool = False
    reasoning: str = "reasoning_content"
    indexes: dict[int, int] = field(default_factory=dict)

    def index_of(self, call: int) -> int:
        """The index that a call is written with; new calls go on behind those that a provider numbered its own way."""
        return self.indexes.setdefault(call, max(self.indexes.values()) + 1) if self.indexes else call


class ChatEncoder:
    """Each event at once, as it comes: no text is kept. The first frame comes with the first content, not with Start, so that
    a later Start (Azure's first chunk has no model) can still name the answer.

    Every delta has a `content` that is a string, "" where it says something else: the gateway's clients print it unseen.
    """

    def __init__(self, options: AnswerOptions) -> None:
        self._identity = Identity(options, _ID)
        self._include_usage = options.include_usage
        self._usage: Usage | None = None
        self._choices: dict[int, Choice] = {}
        self._over = False
        self.failure: Failure | None = None
        self._bare = False  # whether a delta has only what it says, as the providers write it

    def feed(self, event: Event) -> list[Frame]:
        """Return the frames that say this event; [] after END or a Failure."""
        if type(event) is Text and not self._over:
            choice = self._choices.get(event.choice)
            if choice is None:
                return self._delta(event.choice, {"content": event.text})
            choice.finished = False
            try:
                return [Frame(choice.lead + _quote(event.text).encode() + _TAIL)]
            except UnicodeEncodeError:  # a lone surrogate: half an emoji
                return self._delta(event.choice, {"content": event.text})
        return [] if self._over else self._rest(event)

    def _rest(self, event: Event) -> list[Frame]:
        match event:
            case Start():
                self._identity.read(event)
            case Usage():
                self._usage = event
            case Reasoning(text=text, choice=number) if text:
                return self._delta(number, self._reasoning(number, text))
            case Refusal(text=text, choice=number):
                return self._delta(number, {"content": "", "refusal": text})
            case Media(transcript=text, choice=number) if text:
                return self._delta(number, {"content": "", "audio": {"transcript": text}})
            case ToolCall():
                return self._call(event)
            case Finish():
                return self._finish(event.choice, event.reason, event.detail)
            case End():
                return self._end()
            case Failure():
                self._over, self.failure = True, event
                return [write_failure(event)]
            case Text() | Reasoning() | Media() | ServerTool() | Asked() | Malformed() | Opaque():
                pass  # nothing of them has a place in a chunk
            case _:
                assert_never(event)
        return []

    def _delta(self, number: int, delta: Json) -> list[Frame]:
        frames, choice = self._choice(number)
        choice.finished = False
        return [*frames, self._chunk(choice, delta)]

    def _reasoning(self, number: int, text: str) -> Json:
        choice = self._choices.get(number)
        if choice is not None and choice.reasoning == "content":  # a list of parts (Mistral)
            return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}
        return {"content": "", choice.reasoning if choice else "reasoning_content": text}

    def _chunk(self, choice: Choice, delta: Json, reason: str = "") -> Frame:
        if self._bare and delta.get("content") == "":
            del delta["content"]
        return _chunk(choice, delta, reason)

    def _choice(self, number: int) -> tuple[list[Frame], Choice]:
        """The choice, and, where it is new, the chunk that opens it."""
        choice = self._choices.get(number)
        if choice is not None:
            return [], choice
        head = self._head() + f'[{{"index":{number},"delta":'.encode()
        choice = self._choices[number] = Choice(head, head + b'{"content":')
        return [_chunk(choice, {"role": "assistant", "content": ""})], choice

    def _head(self) -> bytes:
        name = self._identity
        name.used = True
        head = {"id": name.id, "object": "chat.completion.chunk", "created": name.created, "model": name.model}
        return dump_json(head)[:-1].encode() + b',"choices":'

    def _call(self, call: ToolCall) -> list[Frame]:
        frames, choice = self._choice(call.choice)
        index = choice.index_of(call.index)
        if call.index in choice.calls:
            function = {"name": call.name} if call.name else {}
            said: Json = {"index": index, "function": {**function, "arguments": call.arguments}}
        else:
            choice.calls[call.index] = False
            said = {"index": index, **_opened(call, self._identity)}
        choice.calls[call.index] |= bool(call.arguments)
        return frames + self._delta(call.choice, {"content": "", "tool_calls": [said]})

    def _finish(self, number: int, word: str, detail: str = "") -> list[Frame]:
        frames, choice = self._choice(number)
        reason = openai_finish_reason(word, detail, called=bool(choice.calls))
        if choice.finished and choice.reason == reason:
            return frames
        frames += self._empty_arguments(choice)
        choice.reason, choice.finished = reason, True
        return [*frames, self._chunk(choice, {"content": ""}, reason)]

    def _empty_arguments(self, choice: Choice) -> list[Frame]:
        """Calls without arguments (Anthropic's) get `{}`: clients parse them."""
        empty = [index for index, filled in choice.calls.items() if not filled]
        choice.calls.update(dict.fromkeys(empty, True))
        calls = [{"index": choice.index_of(index), "function": {"arguments": "{}"}} for index in empty]
        return [self._chunk(choice, {"content": "", "tool_calls": calls})] if calls else []

    def _end(self) -> list[Frame]:
        frames: list[Frame] = []
        for number in list(self._choices) or [0]:
            choice = self._choices.get(number)
            if choice is None or not choice.finished:
                frames += self._finish(number, choice.reason if choice else "")
        self._over = True
        return [*frames, *self._count(), _DONE]

    def _count(self) -> list[Frame]:
        usage = _usage(self._usage) if self._include_usage else None
        return [Frame(self._head() + f'[],"usage":{dump_json(usage)}}}'.encode())] if usage else []


def _chunk(choice: Choice, delta: Json, reason: str = "") -> Frame:
    end = f',"finish_reason":{dump_json(reason or None)}}}]}}'
    return Frame(choice.head + (dump_json(delta) + end).encode())


def _opened(call: ToolCall, identity: Identity) -> Json:
    """A call's first fragment, less its index."""
    id_ = call.id or identity.item_id("call", call.choice, call.index)
    return {"id": id_, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _usage(usage: Usage | None) -> Json | None:
    """OpenAI's usage object: only what was reported; None if nothing was."""
    if usage is None:
        return None
    prompt = _known(cached_tokens=usage.cached_tokens, cache_write_tokens=usage.cache_write_tokens)
    completion = _known(reasoning_tokens=usage.reasoning_tokens)
    both = usage.input_tokens is not None and usage.output_tokens is not None
    said: Json = _known(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=(usage.input_tokens or 0) + (usage.output_tokens or 0) if both else None,
    )
    if prompt:
        said["prompt_tokens_details"] = prompt
    if completion:
        said["completion_tokens_details"] = completion
    return said or None


def _known(**counts: int | None) -> Json:
    return {name: count for name, count in counts.items() if count is not None}


@dataclass(slots=True)
class _Message:
    """One choice of a whole answer."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    transcript: str = ""
    calls: dict[int, Json] = field(default_factory=dict)
    finish: tuple[str, str] = ("", "")

    def read(self, event: Event, identity: Identity) -> None:
        match event:
            case Text(text=text):
                self.text += text
            case Reasoning(text=text):
                self.reasoning += text
            case Refusal(text=text):
                self.refusal += text
            case Media(transcript=text):
                self.transcript += text
            case Finish(reason=reason, detail=detail):
                self.finish = (reason, detail)
            case ToolCall(index=index) if index in self.calls:
                self.calls[index]["function"]["name"] += event.name
                self.calls[index]["function"]["arguments"] += event.arguments
            case ToolCall(index=index):
                self.calls[index] = _opened(event, identity)
            case _:
                pass

    def write(self, index: int) -> Json:
        """This choice of a chat.completion; absent is null, as OpenAI writes it."""
        for call in self.calls.values():
            call["function"]["arguments"] = call["function"]["arguments"] or "{}"
        silent = self.calls or self.refusal or self.transcript
        message: Json = {"role": "assistant", "content": self.text or (None if silent else "")}
        message["refusal"] = self.refusal or None
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.transcript:
            message["audio"] = {"transcript": self.transcript}
        if self.calls:
            message["tool_calls"] = list(self.calls.values())
        reason = openai_finish_reason(*self.finish, called=bool(self.calls))
        return {"index": index, "message": message, "logprobs": None, "finish_reason": reason}


def write_answer(events: Sequence[Event], options: AnswerOptions) -> Json:
    """Return the chat.completion that these events say. Raises Unwritable where an error is among them."""
    identity, messages, usage = Identity(options, _ID), dict[int, _Message](), None
    for event in events:
        match event:
            case Failure():
                raise Unwritable(event)
            case Start():
                identity.read(event)
            case Usage():
                usage = _usage(event)
            case Text() | Reasoning() | Refusal() | Media() | ToolCall() | Finish():
                messages.setdefault(event.choice, _Message()).read(event, identity)
            case _:
                pass
    said = sorted((messages or {0: _Message()}).items())
    head: Json = {"id": identity.id, "object": "chat.completion", "created": identity.created, "model": identity.model}
    answer = {**head, "choices": [message.write(index) for index, message in said]}
    return {**answer, "usage": usage} if usage else answer
