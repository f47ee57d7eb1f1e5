"""What chat.completions, the legacy completions and all their imitators share: chunks, usage, in-band errors, the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from midstream.dialects.base import TRUNCATED
from midstream.dialects.openai.tool_calls import ToolCalls
from midstream.dialects.template import TextTemplate
from midstream.dialects.token_counts import count
from midstream.events import END, OPAQUE, Event, Failure, Finish, Malformed, Start, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_int, as_list, as_str, parse_json

CHOICE_LIMIT = 128
"""Choices followed in one answer: OpenAI's own limit of `n`. What comes for more of them is opaque."""

REASON_LIMIT = 256
"""Characters of a finish reason that are kept."""

NO_MESSAGE = "the provider reported an error without a message"


@dataclass(slots=True)
class Choice:
    """What is remembered of one choice: its last finish reason, whether a delta came, the field that its reasoning last came
    in, its tool calls."""

    number: int
    reason: str = ""
    spoke: bool = False
    reasoning: str = ""
    calls: ToolCalls | None = None

    def numbered_calls(self) -> ToolCalls:
        """Return the choice's tool calls, made at the first one."""
        if self.calls is None:
            self.calls = ToolCalls()
        return self.calls


class ChunkDecoder:
    """The decoder of a stream of chunks with `choices`; a dialect's own knowledge is in `_read_choice` and `_read_bare`."""

    def __init__(self) -> None:
        self._choices: dict[int, Choice] = {}
        self._start = Start()
        self._begun = self._named = False
        self._ended = self._failed = False
        self._template = TextTemplate()

    @property
    def choices(self) -> Mapping[int, Choice]:
        """What is remembered of each choice."""
        return self._choices

    def _read_choice(self, events: list[Event], choice: Json, state: Choice) -> None:
        raise NotImplementedError

    def _read_bare(self, events: list[Event], chunk: Json) -> None:
        """Read a chunk that has no `choices`, and no error."""

    def feed(self, frame: Frame) -> list[Event]:
        """Return what this chunk means, at least one event."""
        data = frame.data
        if not frame.event and (text := self._template.read(data)) is not None:
            return [text]
        if data[:1] != b"{" and data.strip().startswith(b"[DONE]"):  # openai-python too takes any [DONE]… as the end
            return self._done()
        try:
            chunk = parse_json(data)
        except ValueError:
            return [self._unreadable(frame, "the chunk is not valid JSON")]
        if not isinstance(chunk, dict):
            return [self._unreadable(frame, "the chunk is no JSON object")]
        events = self._read(chunk, frame.event)
        self._template.learn(data, events, self._parse_anew)
        return events or [OPAQUE]

    def _parse_anew(self, data: bytes) -> list[Event]:
        """What a decoder without a template makes of a frame."""
        decoder = type(self)()
        decoder._template.give_up()
        return decoder.feed(Frame(data))

    def close(self) -> list[Event]:
        """The body has ended. Perplexity, Writer and gpustack send no [DONE]: finished choices make a whole answer too."""
        if self._ended or self._failed:
            return []
        if self._is_whole():
            return self._done()
        return [TRUNCATED]

    def answer(self, body: Any) -> list[Event]:
        """Return what a whole, not streamed, answer means; END is missing where it is an error."""
        if not isinstance(body, dict):
            return [Failure("the answer is no JSON object", type="invalid_response", raw=body)]
        events = self._read(body, "")
        if not self._failed and not isinstance(body.get("choices"), list):
            self._failed = True
            events.append(Failure("the answer has no choices", type="invalid_response"))
        return events if self._failed else [*events, *self._done()]

    def _is_whole(self) -> bool:
        return bool(self._choices) and all(choice.reason for choice in self._choices.values())

    def _done(self) -> list[Event]:
        if self._ended:
            return [OPAQUE]
        self._ended = True
        return [END]

    def _unreadable(self, frame: Frame, reason: str) -> Event:
        if frame.event != "error":
            return Malformed(reason)
        self._failed = True
        return Failure(frame.data.decode("utf-8", "replace") or NO_MESSAGE)

    def _read(self, chunk: Json, event: str) -> list[Event]:
        events: list[Event] = []
        if not self._named:
            self._name(events, chunk)
        choices = chunk.get("choices")
        failure = None
        if choices is None or event == "error" or "error" in chunk or "x_groq" in chunk:
            failure = in_band_failure(chunk, event)
            if failure is not None:
                self._fail(events, failure)
        if isinstance(choices, list):
            for position, choice in enumerate(choices):
                if isinstance(choice, dict):
                    self._choice(events, choice, position)
        elif choices is None and failure is None:
            self._read_bare(events, chunk)
        usage = find_usage(chunk)
        if usage is not None:
            events.append(usage)
        return events

    def _choice(self, events: list[Event], choice: Json, position: int) -> None:
        index = choice.get("index")
        number = index if index.__class__ is int else as_int(index, position) or 0
        state = self._choices.get(number)
        if state is None:
            if len(self._choices) >= CHOICE_LIMIT:
                return
            state = self._choices[number] = Choice(number)
        if error := choice.get("error"):  # OpenRouter's whole answers
            self._fail(events, failure_of(error))
        self._read_choice(events, choice, state)
        reason = choice.get("finish_reason")
        if reason and isinstance(reason, str) and reason[:REASON_LIMIT] != state.reason:
            state.reason = reason[:REASON_LIMIT]
            native = as_str(choice.get("native_finish_reason"))  # OpenRouter: what the model's own provider said
            events.append(Finish(reason, state.number, native if native != reason else ""))

    def _fail(self, events: list[Event], failure: Failure) -> None:
        self._failed = True
        events.append(failure)

    def _name(self, events: list[Event], chunk: Json) -> None:
        """Azure's first chunk has neither id nor model; Snowflake never has an id."""
        known = self._start
        id_ = known.id or as_str(chunk.get("id"))
        model = known.model or as_str(chunk.get("model"))
        new = id_ != known.id or model != known.model
        if new or (not self._begun and isinstance(chunk.get("choices"), list)):
            created = known.created or as_int(chunk.get("created")) or None
            self._start = Start(id_, model, created)
            events.append(self._start)
            self._begun = True
        self._named = bool(id_ and model)


def in_band_failure(chunk: Json, event: str = "") -> Failure | None:
    """Return the error that a frame of a stream, or a 200's body, holds.

    Shapes: {"error": {…}} or {"error": "text"} beside choices or alone; Groq's `event: error` and x_groq.error; Mistral's and
    older vLLM's {"object": "error", "message", "type", "code"}; a bare {"code", "message"} (DashScope).
    """
    error = chunk.get("error") or as_dict(chunk.get("x_groq")).get("error")
    if error:
        return failure_of(error)
    bare = "choices" not in chunk and isinstance(chunk.get("message"), str) and ("code" in chunk or "type" in chunk)
    if bare or event == "error" or chunk.get("object") == "error":
        return failure_of(chunk)
    return None


def failure_of(error: Any) -> Failure:
    """Return the Failure that an in-band error object, or text, means; `status` is the HTTP status it names, if any."""
    if isinstance(error, str):
        return Failure(error or NO_MESSAGE, raw=error)
    fields = as_dict(error)
    code = fields.get("code")
    named = as_int(fields.get("status_code")) or as_int(code)
    return Failure(
        as_str(fields.get("message")) or as_str(fields.get("detail")) or NO_MESSAGE,
        type=as_str(fields.get("type")),
        code=str(code) if isinstance(code, str | int) and not isinstance(code, bool) else "",
        status=named if named is not None and 400 <= named <= 599 else None,
        raw=error,
    )


def find_usage(chunk: Json) -> Usage | None:
    """Return a chunk's usage: its own, Groq's in x_groq, Moonshot's in a choice."""
    usage = chunk.get("usage")
    if usage is None and "x_groq" in chunk:
        usage = as_dict(chunk["x_groq"]).get("usage")
    if usage is None:
        for choice in as_list(chunk.get("choices")):
            usage = usage or as_dict(choice).get("usage")
    return read_usage(usage) if usage and isinstance(usage, dict) else None


def read_usage(usage: Json) -> Usage:
    """Return OpenAI's usage object, and its relatives', as a Usage."""
    prompt, completion = as_dict(usage.get("prompt_tokens_details")), as_dict(usage.get("completion_tokens_details"))
    cached = count(
        prompt.get("cached_tokens"),
        usage.get("prompt_cache_hit_tokens"),  # DeepSeek
        usage.get("cached_tokens"),  # Moonshot, Together
        usage.get("cache_read_input_tokens"),  # Doubleword
    )
    written = count(
        prompt.get("cache_write_tokens"),  # OpenRouter
        prompt.get("cache_creation_input_tokens"),  # Alibaba
        usage.get("cache_creation_input_tokens"),
    )
    reasoning = count(completion.get("reasoning_tokens"), usage.get("reasoning_tokens"))
    input_ = count(usage.get("prompt_tokens"), usage.get("input_tokens"))
    output = count(usage.get("completion_tokens"), usage.get("output_tokens"))
    total = count(usage.get("total_tokens"))
    if total is not None and input_ is not None and output is not None and total > input_ + output:
        surplus = total - input_ - output
        audio = count(prompt.get("audio_tokens"))
        if surplus != reasoning and surplus in (audio, cached, (cached or 0) + (written or 0)):
            input_ += surplus  # Mistral's audio is not in its prompt_tokens
        else:
            output += surplus  # nor xAI's reasoning, nor Gemini's (which it names nowhere), in completion_tokens
    return Usage(input_, output, cached, written, reasoning, usage)
