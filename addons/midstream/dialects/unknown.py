"""Streams of APIs that have no dialect here (assistants, transcriptions, DashScope, watsonx, Hugging Face, Bedrock agents …).

Their rows hold what can be known without knowing the API: when content came, and the usage that the provider names.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from midstream.dialects.base import TRUNCATED, Dialect, RequestFacts, read_error
from midstream.dialects.token_counts import count
from midstream.events import END, OPAQUE, Event, Failure, Finish, Malformed, Start, Text, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_list, as_str, parse_json

DEPTH = 6
"""How deep an unknown object is searched."""

_TEXT_KEYS = ("text", "content", "delta", "value", "completion", "generated_text", "response", "outputText", "bytes")
_INSIDE = ("output", "delta", "message", "choices", "content", "text", "token", "results", "data", "parts", "response")
_USAGE_KEYS = ("usage", "usageMetadata", "usage_metadata")
_FINISH_KEYS = ("finish_reason", "finishReason", "stop_reason", "stopReason", "completionReason")
_INPUT_KEYS = ("input_tokens", "prompt_tokens", "inputTokens", "promptTokenCount", "input_token_count")
_OUTPUT_KEYS = ("output_tokens", "completion_tokens", "outputTokens", "candidatesTokenCount", "generated_token_count")


class _Decoder:
    def __init__(self) -> None:
        self._any = False
        self._over = False
        self._finish = ""

    def feed(self, frame: Frame) -> list[Event]:
        self._any = True
        if frame.data.strip() == b"[DONE]":
            self._over = True
            return [END]
        try:
            body = parse_json(frame.data)
        except ValueError:
            return [Malformed("not JSON")]
        events = read(as_dict(body), event=frame.event)
        self._over = self._over or any(isinstance(e, Failure) for e in events)
        return events or [OPAQUE]

    def close(self) -> list[Event]:
        """Without its dialect nobody knows the terminal event: a body that ended as HTTP wants it is taken as whole."""
        if self._over:
            return []
        return [END] if self._any else [TRUNCATED]


def read(body: Json, *, event: str = "") -> list[Event]:
    """Return what one frame, or a whole answer, of an unknown API seems to mean."""
    if event == "error" or (body.get("error") and not isinstance(body["error"], bool)):
        return [read_error(0, body)]
    events: list[Event] = []
    model = _find(body, ("model", "model_id", "modelId"))
    if isinstance(model, str) and model:
        events.append(Start(model=model))
    text = _text(body, DEPTH)
    if text and not event.endswith((".done", ".completed", ".created")):
        events.append(Text(text))
    reason = _find(body, _FINISH_KEYS)
    if isinstance(reason, str) and reason not in ("", "null", "not_finished"):
        events.append(Finish(reason))
    usage = as_dict(_find(body, _USAGE_KEYS)) or body
    if any(key in usage for key in _INPUT_KEYS + _OUTPUT_KEYS):
        events.append(Usage(_count(usage, _INPUT_KEYS), _count(usage, _OUTPUT_KEYS), raw=usage))
    return events


def _count(usage: Json, keys: tuple[str, ...]) -> int | None:
    return count(*(usage.get(key) for key in keys))


def _find(body: Json, keys: tuple[str, ...], depth: int = DEPTH) -> Any:
    for key in keys:
        if body.get(key):
            return body[key]
    if depth == 0:
        return None
    for key in _INSIDE:
        for inner in _objects(body.get(key)):
            if (found := _find(inner, keys, depth - 1)) is not None:
                return found
    return None


def _objects(value: Any) -> list[Json]:
    return [as_dict(value)] if isinstance(value, dict) else [as_dict(v) for v in as_list(value)[:8]]


def _text(body: Json, depth: int) -> str:
    for key in _TEXT_KEYS:
        if isinstance(value := body.get(key), str) and value:
            return _unpack(value) if key == "bytes" else value
    if depth == 0:
        return ""
    return next((t for key in _INSIDE for inner in _objects(body.get(key)) if (t := _text(inner, depth - 1))), "")


def _unpack(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return value


def _read_request(path: str, body: Json) -> RequestFacts:
    return RequestFacts(model=as_str(body.get("model")), stream=body.get("stream") is True)


UNKNOWN = Dialect(
    name="unknown",
    read_request=_read_request,
    decoder=_Decoder,
    read_answer=lambda answer: [*read(as_dict(answer)), END],
    prompt=lambda body: [],
)
