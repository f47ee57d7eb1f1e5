"""Short ways to run chat.completion chunks through a decoder."""

from __future__ import annotations

import json
from typing import Any

from midstream.dialects.base import Decoder
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.events import (
    Event,
    Start,
)
from midstream.wire import Frame


def decoder() -> Decoder:
    assert OPENAI_CHAT.decoder is not None
    return OPENAI_CHAT.decoder()


def run(*chunks: Any, close: bool = False) -> list[Event]:
    """Feed chunks (objects, or raw bytes) to a new decoder; the first Start is left out."""
    new = decoder()
    events: list[Event] = []
    for chunk in chunks:
        events += new.feed(Frame(chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()))
    events += new.close() if close else []
    return [e for e in events if not isinstance(e, Start)]


def chunk(delta: Any, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more}
