"""The answers of Bedrock's models in their own shapes, of which InvokeModel knows nothing: Titan, Llama, Cohere, Mistral …

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

from typing import Any, Protocol

from midstream.dialects.anthropic import messages as anthropic_messages
from midstream.dialects.anthropic.messages import REASON_LIMIT, AnthropicDecoder
from midstream.dialects.base import TRUNCATED, Decoder
from midstream.dialects.bedrock import converse as bedrock_converse
from midstream.dialects.bedrock.converse import EVENTS, ConverseDecoder
from midstream.dialects.cohere import v1 as cohere_v1
from midstream.dialects.cohere.v1 import CohereV1Decoder
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.token_counts import count
from midstream.events import END, Event, Failure, Finish, Malformed, Start, Text, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_int, as_list, as_str, dump_json

CHOICE_LIMIT = 128
"""Answers of one request; Cohere gives 5 at most."""

_LISTS = ("generations", "outputs", "results", "completions")  # Cohere · Mistral · Titan · AI21's Jurassic
_TEXTS = ("outputText", "generation", "text", "completion")  # Titan · Llama · Cohere, Mistral · Anthropic
_REASONS = ("completionReason", "stop_reason", "finish_reason")  # Titan · Llama, Mistral, Anthropic · Cohere
_COUNTS = ("inputTextTokenCount", "prompt_token_count", "generation_token_count")


class ModelDecoder(Protocol):
    """One model's chunks → events."""

    def read(self, chunk: Json, data: bytes) -> list[Event]:
        """Return what a chunk means; [] if nothing. data: the chunk's bytes."""
        ...

    def close(self) -> list[Event]:
        """Return [END] or [] where the chunks so far make a whole answer, else a failure."""
        ...


def decoder_for(chunk: Json) -> ModelDecoder | None:
    """Choose by the shape of the first chunk: a model's id may be an ARN that tells nothing. None: no shape known here."""
    if isinstance(chunk.get("type"), str):
        return _Anthropic()
    if not EVENTS.isdisjoint(chunk):
        return _Nova()
    if "choices" in chunk:
        return _Choices()
    if "event_type" in chunk:
        return _CohereChat()
    return _Plain() if any(key in chunk for key in _LISTS + _TEXTS) else None


class _Anthropic:
    def __init__(self) -> None:
        self._decoder = AnthropicDecoder()

    def read(self, chunk: Json, data: bytes) -> list[Event]:
        return self._decoder.read(chunk, "", len(data))

    def close(self) -> list[Event]:
        return self._decoder.close()


class _Nova:
    """Converse's events, each in an object under its name."""

    def __init__(self) -> None:
        self._decoder = ConverseDecoder()

    def read(self, chunk: Json, data: bytes) -> list[Event]:
        name = next((key for key in chunk if key in EVENTS), "")
        return self._decoder.read(name, chunk.get(name, {}))

    def close(self) -> list[Event]:
        return self._decoder.close()


class _Choices:
    """OpenAI's open models, AI21's Jamba, Mistral Large: chunks of chat.completions."""

    def __init__(self) -> None:
        assert OPENAI_CHAT.decoder is not None  # noqa: S101 - a constant
        self._decoder: Decoder = OPENAI_CHAT.decoder()

    def read(self, chunk: Json, data: bytes) -> list[Event]:
        mended = as_openai(chunk, "delta")
        return self._decoder.feed(Frame(data if mended is chunk else dump_json(mended).encode()))

    def close(self) -> list[Event]:
        return self._decoder.close()


class _CohereChat:
    def __init__(self) -> None:
        self._decoder = CohereV1Decoder()

    def read(self, chunk: Json, data: bytes) -> list[Event]:
        return self._decoder.read(chunk)

    def close(self) -> list[Event]:
        return self._decoder.close()


class _Plain:
    """Text and a reason to stop, for Cohere several answers at once."""

    def __init__(self) -> None:
        self._begun = self._finished = False

    def read(self, chunk: Json, data: bytes) -> list[Event]:
        events: list[Event] = [] if self._begun else [Start()]
        self._begun = True
        events += pieces(chunk)
        self._finished = self._finished or any(isinstance(event, Finish) for event in events)
        return events

    def close(self) -> list[Event]:
        return [END] if self._finished else [TRUNCATED]


def as_openai(body: Json, key: str) -> Json:
    """Return the body itself, or, where its choices are Mistral's (a message and a stop_reason), one with OpenAI's."""
    choices = as_list(body.get("choices"))
    if not any(isinstance(c, dict) and "message" in c and "finish_reason" not in c for c in choices):
        return body
    mended = [
        {"index": fields.get("index"), key: fields.get("message"), "finish_reason": fields.get("stop_reason")}
        for fields in map(as_dict, choices)
    ]
    return body | {"choices": mended}


def pieces(body: Json) -> list[Event]:
    """Return the texts and finish reasons of a chunk, or of a whole answer."""
    listed = next((body[key] for key in _LISTS if isinstance(body.get(key), list)), None)
    if listed is None:
        # Titan numbers its chunks with `index`, Cohere (which alone says is_finished) its answers.
        return _piece(body, (as_int(body.get("index"), 0) or 0) if "is_finished" in body else 0)
    return [event for position, one in enumerate(listed[:CHOICE_LIMIT]) for event in _piece(as_dict(one), position)]


def _piece(fields: Json, choice: int) -> list[Event]:
    if not 0 <= choice < CHOICE_LIMIT:
        return [Malformed("an answer's index is out of range")]
    events: list[Event] = []
    text = next((fields[key] for key in _TEXTS if isinstance(fields.get(key), str)), None)
    if text is None:
        text = as_str(as_dict(fields.get("data")).get("text"))  # Jurassic
    if text:
        events.append(Text(text, choice))
    reason = next((fields[key] for key in _REASONS if isinstance(fields.get(key), str)), "")
    reason = reason or as_str(as_dict(fields.get("finishReason")).get("reason"))
    if reason:
        events.append(Finish(reason[:REASON_LIMIT], choice))
    return events


def read_answer(answer: Any) -> list[Event]:
    """A whole answer of any model. Whole JSON is whole: what has no text (an embedding, an image) is an answer without one."""
    body = as_dict(answer)
    if body.get("type") in ("message", "error", "completion"):
        return anthropic_messages.read_answer(body)
    if isinstance(body.get("output"), dict):
        return bedrock_converse.read_answer(body)
    if "choices" in body:
        return OPENAI_CHAT.read_answer(as_openai(body, "message"))
    if "chat_history" in body:
        return cohere_v1.read_answer(body)
    if body.keys() == {"message"}:
        return [Failure(as_str(body["message"]) or "the answer is an error", type="invalid_response", raw=answer)]
    return [Start(), *_counted(body), *pieces(body), END]


def _counted(body: Json) -> list[Event]:
    """Titan's and Llama's counts; the others' are in headers alone."""
    raw = {key: body[key] for key in _COUNTS if key in body}
    titan = [count(as_dict(one).get("tokenCount")) for one in as_list(body.get("results"))[:CHOICE_LIMIT]]
    output = count(raw.get("generation_token_count"))
    if output is None and titan:
        output = sum(n or 0 for n in titan)
        raw["tokenCount"] = output
    input_ = count(raw.get("inputTextTokenCount"), raw.get("prompt_token_count"))
    return [Usage(input_, output, raw=raw)] if raw else []
