"""Events of OpenAI's Responses and Realtime APIs, for the tests: well formed, and confused."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

import exchanges
from midstream.dialects.openai.responses import ResponsesDecoder
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Finish,
    Start,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json
from midstream.wire.sse import SseDecoder


def frame(event: Any, name: str = "") -> Frame:
    return Frame(json.dumps(event).encode(), event=name)


def decode(*events: Json) -> list[Event]:
    """Every event's meaning, without what means nothing, and the end of the body's."""
    decoder = ResponsesDecoder()
    told = [said for event in events for said in decoder.feed(frame(event))]
    return [said for said in told if said != OPAQUE] + decoder.close()


def created(**more: Any) -> Json:
    return {"type": "response.created", "response": {"id": "resp_1", "model": "m", "created_at": 9, **more}}


def completed(*output: Json, **more: Any) -> Json:
    response = {"id": "resp_1", "model": "m", "status": "completed", "output": list(output), **more}
    return {"type": "response.completed", "response": response}


def added(item: Json, at: int = 0) -> Json:
    return {"type": "response.output_item.added", "output_index": at, "item": item}


def done(item: Json, at: int = 0) -> Json:
    return {"type": "response.output_item.done", "output_index": at, "item": item}


def delta(kind: str, text: Any, at: int = 0, **more: Any) -> Json:
    return {"type": f"response.{kind}.delta", "output_index": at, "delta": text, **more}


def message(*texts: str) -> Json:
    return {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": text} for text in texts]}


def call(at: int = 1, arguments: str = "", kind: str = "function_call", field: str = "arguments") -> Json:
    return {"type": kind, "id": f"fc_{at}", "call_id": f"call_{at}", "name": f"tool_{at}", field: arguments}


def frames_of(exchange: exchanges.Exchange) -> list[Frame]:
    """The events of a recorded stream."""
    frames = SseDecoder().feed(exchange.body + b"\n\n")
    return [f for f in frames if isinstance(f, Frame) and f.data != b"[DONE]"]


START = Start("resp_1", "m", 9)
WHOLE = [Finish("completed"), END]
CREATE = ("client", {"type": "response.create", "model": "m", "input": []})


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(
    [
        "response.created",
        "response.in_progress",
        "response.completed",
        "response.failed",
        "response.done",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.reasoning_summary_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.custom_tool_call_input.done",
        "response.image_generation_call.partial_image",
        "response.output_audio.delta",
        "response.mcp_call_arguments.delta",
        "response.create",
        "error",
    ]
)
TYPES = st.sampled_from(
    ["message", "reasoning", "function_call", "custom_tool_call", "image_generation_call", "x_call"]
)
PARTS = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["output_text", "refusal", "summary_text"]) | ANYTHING, "text": ANYTHING}
)
ITEMS = st.fixed_dictionaries(
    {"type": TYPES | ANYTHING},
    optional={
        key: ANYTHING | st.lists(PARTS, max_size=2)
        for key in ("id", "call_id", "name", "arguments", "input", "content", "summary", "result", "encrypted_content")
    },
)
RESPONSES = st.fixed_dictionaries(
    {},
    optional={
        "output": st.lists(ITEMS | ANYTHING, max_size=3) | ANYTHING,
        **dict.fromkeys(("id", "model", "status", "usage", "error", "incomplete_details", "created_at"), ANYTHING),
    },
)
CONFUSED = st.fixed_dictionaries(
    {"type": KINDS | ANYTHING},
    optional={
        "item": ITEMS | ANYTHING,
        "response": RESPONSES | ANYTHING,
        **dict.fromkeys(
            ("delta", "text", "output_index", "content_index", "item_id", "arguments", "error", "code"), ANYTHING
        ),
    },
)

NESTED = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("turn_detection", "audio", "input", "status_details", "output", "status", "id"), ANYTHING),
)
SESSION_KINDS = st.sampled_from(
    [
        "session.created",
        "response.created",
        "response.done",
        "input_audio_buffer.speech_stopped",
        "error",
        "response.create",
    ]
)
SESSION_EVENTS = st.fixed_dictionaries(
    {"type": SESSION_KINDS},
    optional={
        "session": NESTED | ANYTHING,
        "response": NESTED | ANYTHING,
        "response_id": ANYTHING,
        "event_id": ANYTHING,
        "error": NESTED | ANYTHING,
    },
)
