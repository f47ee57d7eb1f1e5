"""Many paced streams at once, read by one thread without asyncio, whose own delay would be half of what is measured."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass, field

from client import STAMP, STAMP_LENGTH, request_of
from contender import Contender, Provider

CHUNKS = 1_000_000
"""Of a stream that goes on until its client leaves."""


@dataclass(slots=True)
class Stream:
    """One client: what it has heard since `forget`. Times in seconds of time.monotonic."""

    sock: socket.socket
    asked_at: float
    first_at: float = 0.0
    last_at: float = 0.0
    tail: bytes = b""
    ended: bool = False
    delays_ms: list[float] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)

    def read(self) -> bool:
        """Take what is there; return whether there may be more."""
        data = self.sock.recv(1 << 18)
        now = time.monotonic()
        seen = self.tail + data
        stamps = STAMP.findall(seen)
        if stamps:
            if self.first_at:
                self.gaps_ms.append((now - self.last_at) * 1000)
                self.gaps_ms += [0.0] * (len(stamps) - 1)
            else:
                self.first_at = now
            self.last_at = now
            self.delays_ms += [(now - int(sent) / 1e9) * 1000 for sent in stamps]
        self.ended = seen.endswith(b"0\r\n\r\n") or not data
        self.tail = seen[-STAMP_LENGTH:] if self.first_at else seen
        return not self.ended


class Crowd:
    """Streams that are opened one after another and read until they end or are left."""

    def __init__(self, contender: Contender, provider: Provider, pace: float, chunks: int = CHUNKS) -> None:
        self.streams: list[Stream] = []
        self._address = ("127.0.0.1", contender.port or provider.port)
        self._asked = request_of(contender, provider, f"n={chunks}&pace={pace}")
        self._selector = selectors.DefaultSelector()

    def open(self, count: int, seconds: float) -> None:
        """Open so many more, evenly over this time, reading all meanwhile."""
        start = time.monotonic()
        for number in range(count):
            self.read(start + seconds * number / count - time.monotonic())
            sock = socket.create_connection(self._address, 30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = Stream(sock, time.monotonic())
            sock.sendall(self._asked)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, stream)
            self.streams.append(stream)
        self.read(start + seconds - time.monotonic())

    def read(self, seconds: float) -> None:
        """Read for this long, or until all have ended."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and self._selector.get_map():
            for key, _ in self._selector.select(left):
                if not key.data.read():
                    self._selector.unregister(key.fileobj)

    def forget(self) -> None:
        """Begin to listen anew."""
        for stream in self.streams:
            stream.delays_ms, stream.gaps_ms = [], []

    def close(self) -> None:
        for stream in self.streams:
            stream.sock.close()
        self._selector.close()

    @property
    def firsts_ms(self) -> list[float]:
        return [(s.first_at - s.asked_at) * 1000 for s in self.streams if s.first_at]

    @property
    def delays_ms(self) -> list[float]:
        return [delay for s in self.streams for delay in s.delays_ms]

    @property
    def gaps_ms(self) -> list[float]:
        return [gap for s in self.streams for gap in s.gaps_ms]
