"""A client of an intercepted stream, made of paper."""

from __future__ import annotations

from dataclasses import dataclass, field

from midstream.relay.job import Head


@dataclass(eq=False)
class FakeClient:
    """What one client gets. ended: cleanly. broken: without."""

    got: bytes = b""
    head: Head | None = None
    ended: bool = False
    broken: bool = False
    gone: bool = field(default=False)

    async def begin(self, head: Head) -> None:
        self.head = head

    def send(self, data: bytes) -> bool:
        self.got += data
        return True

    async def write(self, data: bytes) -> None:
        self.got += data

    async def end(self) -> None:
        self.ended = True

    def break_off(self) -> None:
        self.broken = True

    async def answer(self, head: Head, body: bytes) -> None:
        self.head, self.got, self.ended = head, body, True

    def abort(self) -> None:
        self.broken = True
