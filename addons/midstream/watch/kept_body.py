"""The first so many bytes of a body that passes, with the times at which they came. Pure: the clock is handed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from midstream.wire.json_text import as_dict, as_int, as_list

EDGES = 4096
"""Pieces whose times are kept, about as many as 1 MiB of an answer is sent in. What comes later has no times."""

type Piece = tuple[bytes, float | None]


class KeptBody:
    """One body. limit: bytes. began: when the request was sent, in seconds of the clock that `add` is given."""

    def __init__(self, limit: int, began: float) -> None:
        self.size = 0
        """Bytes that passed."""
        self.kept = 0
        self.pieces: list[bytes] = []
        self._limit = limit
        self._began = began
        self._ends: list[int] = []
        self._times: list[float] = []

    def add(self, data: bytes, now: float) -> None:
        self.size += len(data)
        if self.kept >= self._limit or not data:
            return
        if self.kept + len(data) > self._limit:
            data = data[: self._limit - self.kept]
        self.pieces.append(data)
        self.kept += len(data)
        if len(self._ends) < EDGES:
            self._ends.append(self.kept)
            self._times.append(now)

    def content(self) -> bytes:
        """What is kept, in one piece."""
        if len(self.pieces) > 1:
            self.pieces = [b"".join(self.pieces)]
        return self.pieces[0] if self.pieces else b""

    def notes(self) -> dict[str, Any]:
        """What goes with the bytes, in types that mitmproxy saves with a flow."""
        times = [round((now - self._began) * 1000, 3) for now in self._times]
        return {"size": self.size, "kept": self.kept, "ends": list(self._ends), "ms": times}


def cut_of(notes: Mapping[str, Any], size: int) -> int:
    """How many bytes a body had of which only the first `size` were kept; 0 where that is all of it, or nobody knows."""
    whole, kept = as_int(notes.get("size"), 0) or 0, as_int(notes.get("kept"), 0)
    return whole if kept == size < whole else 0


def timed(data: bytes, notes: Mapping[str, Any], start: int = 0) -> Iterator[Piece]:
    """The body from an offset on, in the pieces in which it came, each with its milliseconds since the request; None: not known.

    notes: of `KeptBody.notes`, or anything that a file held in its place.
    """
    ends, times = as_list(as_dict(notes).get("ends")), as_list(as_dict(notes).get("ms"))
    for end, ms in zip(ends, times, strict=False):
        if not isinstance(end, int) or not isinstance(ms, int | float) or end > len(data):
            break
        if end > start:
            yield data[start:end], float(ms)
            start = end
    if start < len(data):
        yield data[start:], None
