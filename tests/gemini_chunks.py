"""Chunks of Gemini's generateContent, for the tests."""

from __future__ import annotations

from typing import Any

from google_sdk import frame
from midstream.dialects.gemini.generate import GeminiDecoder
from midstream.events import Event, Start, Usage
from midstream.wire.json_text import Json

USAGE = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
COUNTED = Usage(5, 2, raw=USAGE)


def parts(*parts: Json, index: int | None = None, finish: str | None = None) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": list(parts)}}
    if index is not None:
        candidate["index"] = index
    if finish is not None:
        candidate["finishReason"] = finish
    return candidate


def chunk(*candidates: Json, **more: Any) -> Json:
    return {"candidates": list(candidates), **more}


def decode(*chunks: Json) -> list[Event]:
    """Every chunk's meaning, then the end of the body's; without Start."""
    decoder = GeminiDecoder()
    events = [event for one in chunks for event in decoder.feed(frame(one))] + decoder.close()
    return [event for event in events if not isinstance(event, Start)]
