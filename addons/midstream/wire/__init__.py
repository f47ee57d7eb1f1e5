"""Bytes ⇄ frames. Each decoder is `feed(bytes) -> list[Frame | Damage]` and `close()`, and never raises on any input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

FRAME_LIMIT = 16 * 1024 * 1024
"""Bytes one frame may have. Gemini sends whole images in one SSE event: some 5 MB of base64 in practice."""


class Frame(NamedTuple):
    """One message of a framing. (A tuple: one is made for every chunk, and a frozen dataclass takes three times as long.)

    data: the payload, still encoded (JSON text for nearly every provider).
    end: offset in the decoded body just past this frame, its delimiter included, so that whoever keeps the bytes can cut there.
    event: SSE's `event` field; AWS event-stream's `:event-type` or `:exception-type`; "" where there is none.
    id, retry: SSE's fields (retry in milliseconds).
    """

    data: bytes
    end: int = 0
    event: str = ""
    id: str = ""
    retry: int | None = None


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that make no frame: over the limit, a wrong checksum, invalid UTF-8 in a header, a rest cut off at the end."""

    reason: str
    end: int = 0


class FrameDecoder(Protocol):
    """Incremental: a frame may be split at any byte."""

    def feed(self, data: bytes) -> list[Frame | Damage]:
        """Return the frames that these bytes complete."""
        ...

    def close(self) -> list[Frame | Damage]:
        """Return what the end of the stream completes, or the damage it leaves."""
        ...
