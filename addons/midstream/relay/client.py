"""A client's connection, as one answer in a provider's own form is written to it."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from midstream.relay.job import Head, Job

AT_ONCE = 32 * 1024
"""Bytes that can be written behind nothing without waiting: asyncio pauses a writer whose buffer holds twice as many."""


class Client(Protocol):
    """Whoever reads the answer: direct.py's, within mitmproxy, or one of the relay's HTTP server."""

    @property
    def gone(self) -> bool:
        """Whether it has left."""
        ...

    async def begin(self, head: Head) -> None:
        """Send a head, whose body follows in pieces."""
        ...

    def send(self, data: bytes) -> bool:
        """Write what takes no waiting. False, with nothing written, where it would: that is for `write`."""
        ...

    async def write(self, data: bytes) -> None:
        """Return once there is room for more. Raises ConnectionResetError when it has left."""
        ...

    async def end(self) -> None:
        """The body is whole."""
        ...

    def break_off(self) -> None:
        """The connection ends behind what was written, without a clean end."""
        ...

    async def answer(self, head: Head, body: bytes) -> None:
        """A response of a known body, instead of all else."""
        ...

    def abort(self) -> None:
        """End it at once, whatever waits to be sent."""
        ...


def length_of(head: Head) -> int | None:
    """Bytes of the body, where the head tells them."""
    length = next((v for k, v in head.headers if k.lower() == b"content-length"), b"")
    return int(length) if length.isdigit() else None


def has_body(head: Head) -> bool:
    """Whether a response of this status may have one at all."""
    return head.status not in (204, 304)


class HttpClient:
    """By way of the relay's HTTP server, which says no more of a head than the status and the framing: the addon puts the rest on
    the flow (`Job.head`). response: what its handler is to return."""

    def __init__(self, request: web.BaseRequest, job: Job) -> None:
        self._job = job
        self.response: web.StreamResponse = web.Response(status=500)
        self._request = request
        self._chunked = False

    @property
    def gone(self) -> bool:
        return self._request.transport is None

    async def begin(self, head: Head) -> None:
        self._job.head = head
        self.response = out = web.StreamResponse(status=head.status)
        if (length := length_of(head)) is not None:
            out.content_length = length
        elif has_body(head):
            out.enable_chunked_encoding()
            self._chunked = True
        await out.prepare(self._request)

    def send(self, data: bytes) -> bool:
        transport = self._request.transport if self._chunked else None
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() or len(data) > AT_ONCE:
            return False
        if data:  # what has no length would be the end
            transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    async def write(self, data: bytes) -> None:
        await self.response.write(data)

    async def end(self) -> None:
        await self.response.write_eof()

    def break_off(self) -> None:
        if self._request.transport is not None:
            self._request.transport.close()

    async def answer(self, head: Head, body: bytes) -> None:
        self._job.head = head
        self.response = web.Response(status=head.status, body=body)

    def abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()
