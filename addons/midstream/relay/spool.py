"""Frames on disk: length-prefixed, in unnamed temporary files, each a quarter of the limit, forgotten file by file."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import tempfile
import threading
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

BLOCK = 64 * 1024
"""Bytes read from the spool, or handed to a reader, at once."""

SEGMENTS = 4
"""Files the limit is divided into: what is forgotten is a whole file."""

INDEX_STEP = 64
"""Every so many frames an offset is remembered, so that a reader starts near where it wants to be."""

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Entry:
    """One frame. n: its number, counted from 1."""

    n: int
    data: bytes


@dataclass(slots=True)
class _Segment:
    """One file: the frames `first` to `last`."""

    first: int
    file: BinaryIO
    last: int = 0
    size: int = 0
    marks: list[tuple[int, int]] = field(default_factory=list)
    """(frame number, offset), every INDEX_STEP frames."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Around seek and read or write, which run in threads; all else happens in the event loop."""

    def write(self, at: int, data: bytes) -> None:
        """Put frames where they belong, which is not always the file's end: where an `append` was cancelled, its thread writes
        all the same, before the next write or behind it. Both then put the same bytes of a frame in the same place."""
        with self.lock:
            self.file.seek(at)
            self.file.write(data)
            self.file.flush()

    def entries(self, n: int, offset: int) -> tuple[list[Entry], int]:
        """Return the frames from number n at this offset, a BLOCK of them or one larger one, and their length in the file."""
        data = self._read(offset, BLOCK)
        (first,) = _LENGTH.unpack_from(data)
        if _LENGTH.size + first > len(data):
            data = self._read(offset, _LENGTH.size + first)
        found: list[Entry] = []
        at = 0
        while at + _LENGTH.size <= len(data):
            end = at + _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
            if end > len(data):
                break
            found.append(Entry(n + len(found), data[at + _LENGTH.size : end]))
            at = end
        return found, at

    def _read(self, offset: int, size: int) -> bytes:
        with self.lock:
            self.file.seek(offset)
            return self.file.read(size)


class Spool:
    """One stream's older frames. Every disk access happens in a thread; the numbers are kept in the event loop."""

    def __init__(self, limit: int, folder: Path | None) -> None:
        self.first = 1
        self.last = 0
        self._segment_limit = max(limit // SEGMENTS, 1)
        self._folder = folder
        self._segments: deque[_Segment] = deque()

    async def write(self, entries: list[Entry]) -> None:
        """Append; entries follow `last`. Ask `make_room` first."""
        segment = self._segments[-1] if self._segments else None
        if segment is None or segment.size >= self._segment_limit:
            segment = await asyncio.to_thread(self._new_segment, entries[0].n)
            self._segments.append(segment)
        parts: list[bytes] = []
        at = segment.size
        for entry in entries:
            if (entry.n - segment.first) % INDEX_STEP == 0:
                segment.marks.append((entry.n, at))
            parts += (_LENGTH.pack(len(entry.data)), entry.data)
            at += _LENGTH.size + len(entry.data)
        await asyncio.to_thread(segment.write, segment.size, b"".join(parts))
        segment.size = at
        segment.last = self.last = entries[-1].n

    async def read(self, after: int) -> list[Entry]:
        """Return frames behind `after`, some BLOCK bytes, at least one; [] if there is none."""
        segment = next((s for s in self._segments if s.first <= after + 1 <= s.last), None)
        if segment is None:
            return []
        n, offset = segment.marks[bisect_right(segment.marks, after + 1, key=lambda mark: mark[0]) - 1]
        found: list[Entry] = []
        size = 0
        while n <= segment.last and size < BLOCK:
            entries, length = await asyncio.to_thread(segment.entries, n, offset)
            n, offset = n + len(entries), offset + length
            found += (entry for entry in entries if entry.n > after)
            size = sum(len(entry.data) for entry in found)
        return found

    def make_room(self, *, before: int) -> bool:
        """Forget whole files of frames numbered below `before` until more may be written; return whether it may."""
        while len(self._segments) >= SEGMENTS and self._segments[-1].size >= self._segment_limit:
            if self._segments[0].last >= before:
                return False
            self._close(self._segments.popleft())
            self.first = self._segments[0].first if self._segments else self.last + 1
        return True

    def discard(self) -> None:
        """Forget everything."""
        while self._segments:
            self._close(self._segments.popleft())
        self.first = self.last + 1

    def _new_segment(self, first: int) -> _Segment:
        file = tempfile.TemporaryFile(prefix="midstream-", dir=self._folder)  # noqa: SIM115 - lives as long as its stream
        return _Segment(first, file)

    @staticmethod
    def _close(segment: _Segment) -> None:
        with segment.lock, contextlib.suppress(OSError):
            segment.file.close()
