"""A provider's body in a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable


class FakePieces:
    """What `piece` returns, one after the other; b"" is the end. No generator, as UpstreamResponse.pieces is none: waiting for
    the next piece can be cancelled and taken up again, which Passage does with one that is silent before its first token."""

    def __init__(self, piece: Callable[[], Awaitable[bytes]]) -> None:
        self._piece = piece

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if data := await self._piece():
            return data
        raise StopAsyncIteration
