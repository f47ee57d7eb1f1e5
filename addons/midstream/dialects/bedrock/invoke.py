"""Amazon Bedrock's InvokeModel and InvokeModelWithResponseStream: a model's own JSON, streamed as AWS event-stream.

Each `chunk` message is {"bytes": base64 of the model's chunk}; the service adds its own keys to the last one.
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from typing import Any
from urllib.parse import unquote

from midstream.dialects.anthropic import messages as anthropic_messages
from midstream.dialects.anthropic.messages import block_texts
from midstream.dialects.arguments import arguments_text
from midstream.dialects.base import TRUNCATED, Dialect, RequestFacts
from midstream.dialects.bedrock import converse as bedrock_converse
from midstream.dialects.bedrock.fields import read_error, read_exception, read_usage, write_failure
from midstream.dialects.bedrock.models import ModelDecoder, decoder_for, read_answer
from midstream.dialects.cohere.v1 import FINISH_REASONS as COHERE_REASONS
from midstream.dialects.openai.chat import FINISH_REASONS as OPENAI_REASONS
from midstream.events import END, OPAQUE, End, Event, Failure, Malformed, Usage
from midstream.wire import Frame
from midstream.wire.json_text import EMPTY, Json, as_dict, as_list, as_str, parse_json

METRICS = "amazon-bedrock-invocationMetrics"
GUARDRAIL = "amazon-bedrock-guardrailAction"

_PATH = re.compile(r"/model/(.+)/invoke(-with-response-stream)?/?$")


class InvokeDecoder:
    """Chunks of one model's answer. The invocation metrics, which come with the last chunk, end it, unless the model's own
    terminal event did; they are its usage where the model reported none. A guardrail that blocks the answer sends neither.
    """

    def __init__(self) -> None:
        self._model: ModelDecoder | None = None
        self._counted = self._blocked = self._over = False

    def feed(self, frame: Frame) -> list[Event]:
        """Return what one event-stream message means, at least one event."""
        try:
            payload = parse_json(frame.data)
        except ValueError:
            payload = EMPTY if frame.event.endswith("Exception") else None
        if self._over:
            return [OPAQUE]
        if not isinstance(payload, dict):
            return [Malformed("the message is no JSON object")]
        if frame.event != "chunk":
            return self._exception(frame.event, payload)
        return self._chunk(payload.get("bytes")) or [OPAQUE]

    def close(self) -> list[Event]:
        """Return END where the model finished, or a guardrail did, without metrics; else that the answer is cut off."""
        if self._over:
            return []
        if self._blocked:
            return [END]
        return self._model.close() if self._model else [TRUNCATED]

    def _exception(self, name: str, payload: Json) -> list[Event]:
        failure = read_exception(name, payload)
        self._over = failure is not None
        return [OPAQUE] if failure is None else [failure]

    def _chunk(self, encoded: Any) -> list[Event]:
        try:
            data = a2b_base64(encoded)
            chunk = parse_json(data)
        except (TypeError, ValueError):
            return [Malformed("the chunk is no base64 of JSON")]
        if not isinstance(chunk, dict):
            return [Malformed("the chunk is no JSON object")]
        if self._model is None:
            self._model = decoder_for(chunk)
        events = self._model.read(chunk, data) if self._model else []
        if GUARDRAIL in chunk:
            self._blocked = chunk[GUARDRAIL] == "INTERVENED"
        metrics = chunk.get(METRICS)
        return self._last(events, metrics) if metrics and isinstance(metrics, dict) else self._note(events)

    def _note(self, events: list[Event]) -> list[Event]:
        for event in events:
            if isinstance(event, Usage):
                self._counted = True
            elif isinstance(event, End | Failure):
                self._over = True
        return events

    def _last(self, events: list[Event], metrics: Json) -> list[Event]:
        said: list[Event] = [event for event in self._note(events) if not isinstance(event, End)]
        if not self._counted:
            said += read_usage(metrics)
        if any(isinstance(event, Failure) for event in said):
            return said
        self._over = True
        return [*said, END]


def read_request(path: str, body: Json) -> RequestFacts:
    """The model, an id or an ARN, is in the path."""
    match = _PATH.search(path)
    return RequestFacts(unquote(match[1]), match[2] is not None) if match else RequestFacts()


def prompt(body: Json) -> list[str]:
    """The texts of a request in any model's shape: system, tools as JSON, messages; or the prompt."""
    texts = [*block_texts(body.get("system")), as_str(body.get("preamble"))]
    for tools in (body.get("tools"), as_dict(body.get("toolConfig")).get("tools")):
        if tools:
            texts.append(arguments_text(tools))
    for message in map(as_dict, as_list(body.get("messages")) + as_list(body.get("chat_history"))):
        texts += block_texts(message.get("content") or message.get("message"))
    texts += [as_str(body.get(key)) for key in ("prompt", "inputText", "message")]
    return [text for text in texts if text]


BEDROCK_INVOKE = Dialect(
    name="bedrock_invoke",
    paths=(_PATH,),
    read_request=read_request,
    decoder=InvokeDecoder,
    read_answer=read_answer,
    prompt=prompt,
    read_error=read_error,
    keepalive=b"",
    write_failure=write_failure,
    framing=lambda path, body: "eventstream",
    finish_reasons={
        **COHERE_REASONS,
        **OPENAI_REASONS,
        **anthropic_messages.FINISH_REASONS,
        **bedrock_converse.FINISH_REASONS,
        "FINISH": "stop",  # Titan
        "FINISHED": "stop",
        "LENGTH": "length",
        "CONTENT_FILTERED": "content_filter",
        "CONTENT_FILTER": "content_filter",
        "RAG_QUERY_WHEN_RAG_DISABLED": "content_filter",
    },
)
