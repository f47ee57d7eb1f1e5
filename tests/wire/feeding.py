"""Ways to feed a decoder, and what it holds meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, SupportsIndex

from hypothesis import strategies as st

from midstream.wire import Damage, Frame, FrameDecoder

type Frames = list[Frame | Damage]
type Make = Callable[[], FrameDecoder]


def whole(make: Make, body: bytes) -> Frames:
    decoder = make()
    return decoder.feed(body) + decoder.close()


def pieces(make: Make, body: bytes, size: int) -> Frames:
    decoder = make()
    frames: Frames = []
    for at in range(0, len(body), size):
        frames += decoder.feed(body[at : at + size])
    return frames + decoder.close()


def cut(make: Make, body: bytes, cuts: Iterable[int], held: int | None = None) -> Frames:
    """Cut the body at these offsets; `held`: the bytes that the decoder may hold between two feeds."""
    decoder = make()
    frames: Frames = []
    for start, end in pairwise([0, *sorted(at % (len(body) + 1) for at in cuts), len(body)]):
        frames += decoder.feed(body[start:end])
        if held is not None:
            assert sum(len(v) for v in vars(decoder).values() if isinstance(v, bytes | bytearray)) <= held
    return frames + decoder.close()


CUTS = st.lists(st.integers(0, 1 << 20), max_size=8)
"""Offsets for `cut`; two equal ones make an empty feed."""


def joined(*parts: bytes) -> st.SearchStrategy[bytes]:
    """Bodies of these parts in any order, with bytes of no meaning between them."""
    return st.lists(st.sampled_from(parts) | st.binary(max_size=2), max_size=40).map(b"".join)


def datas(frames: Frames) -> list[bytes]:
    assert not [frame for frame in frames if isinstance(frame, Damage)]
    return [frame.data for frame in frames if isinstance(frame, Frame)]


class CountingBuffer(bytearray):
    """Counts the bytes that are searched in it, the upper bound: from where a search starts to the end."""

    searched = 0

    def find(self, sub: Any, start: SupportsIndex | None = 0, end: SupportsIndex | None = None, /) -> int:
        CountingBuffer.searched += len(self) - int(start or 0)
        return super().find(sub, start, end)


def searched_in(make: Make, body: bytes, size: int) -> int:
    """Feed a body of one frame in pieces, and return how many bytes were searched in the decoder's buffer."""
    decoder = make()
    vars(decoder)["_pending"] = CountingBuffer()
    CountingBuffer.searched = 0
    frames: Frames = []
    for at in range(0, len(body), size):
        frames += decoder.feed(body[at : at + size])
    frames += decoder.close()
    assert len(frames) == 1
    assert isinstance(frames[0], Frame)
    return CountingBuffer.searched
