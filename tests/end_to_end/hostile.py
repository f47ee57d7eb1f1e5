"""What the tests of hostile input need: bytes on a socket, and how much memory the proxy has."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any, NamedTuple

from end_to_end.gateway_chats import WHOLE, answering, url_of
from end_to_end.harness import DEADLINE, Provider, Proxy

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]}


class Reply(NamedTuple):
    """An HTTP/1 answer; status 0: the connection was closed without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


def say(port: int, *pieces: bytes) -> Reply:
    """Send these bytes, whether or not they are HTTP, and read until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
        got = bytearray()
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
            while data := client.recv(1 << 16):
                got += data
    return parse(bytes(got))


def parse(raw: bytes) -> Reply:
    """The last answer in what came: a 100 Continue may stand before it."""
    while raw.startswith(b"HTTP/1.1 100"):
        raw = raw.partition(b"\r\n\r\n")[2]
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]) if first else 0, headers, body)


def request(line: str | bytes, *headers: str | bytes, body: bytes = b"", host: str = "127.0.0.1") -> bytes:
    """A request whose connection is closed behind its answer."""
    raw = [piece.encode("latin-1") if isinstance(piece, str) else piece for piece in (line, *headers)]
    lines = [raw[0] + b" HTTP/1.1", b"host: " + host.encode(), b"connection: close", *raw[1:]]
    if body:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def warm_up(proxy: Proxy, provider: Provider) -> None:
    """One chat, and its row, which the thread writes that has loaded the tokenizers by then.

    Whichever test comes first, its `memory` is then compared with what the proxy has once it has all that it loads but once.
    """
    provider.handler = answering(*WHOLE)
    asked = json.dumps(CHAT).encode()
    assert say(int(url_of(proxy).rpartition(":")[2]), request("POST /v1/chat/stream", body=asked)).status == 200
    proxy.rows(1, "outcome is not null")


def memory(proxy: Proxy, what: str = "VmRSS") -> int:
    """Bytes that the proxy has in memory; `VmHWM`: had at most (Linux)."""
    for line in Path(f"/proc/{proxy.process.pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {what} in /proc")
