"""What the tests of real JavaScript clients share: a wire that can be cut, and Node."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import queue
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end.harness import DEADLINE, Provider, clean_environment

CLIENTS = Path(__file__).parent / "clients"
TOKEN = "mst_a-token-for-the-clients-in-javascript"
KEYS = f"""
[providers.openai]
api_key = "sk-the-providers-own"

[keys.web]
sha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"
"""


class Wire:
    """Carries bytes between clients and the gateway, until a test cuts it.

    limit: bytes of an answer after which the first connection is closed; 0: it is carried whole, like all others.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int, limit: int = 0) -> None:
        self.cuts = 0
        self._loop, self._target, self._limit = loop, target, limit
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server = self._in_loop(asyncio.start_server(self._carry, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset all connections that are open now; new ones are carried again."""
        self._in_loop(self._cut())

    def stop(self) -> None:
        self._server.close()
        self.cut()

    def _in_loop(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)

    async def _cut(self) -> None:
        self.cuts += any(not writer.is_closing() for writer in self._open)
        for writer in self._open:
            if not writer.is_closing():
                reset = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.transport.abort()
        self._open.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gateway_reader, gateway_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open |= {writer, gateway_writer}
        up = asyncio.create_task(self._pump(reader, gateway_writer))
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._down(gateway_reader, writer)
        up.cancel()
        await asyncio.gather(up, return_exceptions=True)
        for end in (writer, gateway_writer):
            self._open.discard(end)
            end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = 0
        while piece := await reader.read(65536):
            left = left or self._limit  # not before there is a byte: a browser opens connections that it never uses
            self._limit = 0
            writer.write(piece[:left] if left else piece)
            await writer.drain()
            if left:
                left -= len(piece)
                if left <= 0:
                    self.cuts += 1
                    return


@contextlib.contextmanager
def wire_to(provider: Provider, port: int, limit: int = 0) -> Iterator[Wire]:
    wire = Wire(provider.loop, port, limit)
    try:
        yield wire
    finally:
        wire.stop()


def need(*programs: str) -> None:
    """Skip the test where a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def install_clients(folder: Path) -> Path:
    """Copy the clients to a folder of their own and install what they need there. Skips where there is no npm, or an old Node."""
    need("node", "npm")
    if node_major() < 20:
        pytest.skip("eventsource 4 needs Node 20")
    copy = folder / "clients"
    shutil.copytree(CLIENTS, copy)
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy


def node_major() -> int:
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True, timeout=DEADLINE).stdout
    return int(told.removeprefix("v").partition(".")[0])


def issue_client(url: str, token: str = TOKEN) -> str:
    """The issue's client, as written there but for address and token."""
    text = (CLIENTS / "issue.js").read_text()
    address, key = "https://proxy.example.com/v1/chat/stream", "YOUR_TOKEN"
    assert address in text
    assert key in text
    return text.replace(address, url).replace(key, token)


class Node:
    """A Node process whose output a test can wait for."""

    def __init__(self, folder: Path, *args: str, ca: Path) -> None:
        self._process = subprocess.Popen(
            ["node", *args],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(NODE_EXTRA_CA_CERTS=str(ca)),
        )
        self._pieces: queue.Queue[bytes] = queue.Queue()
        self.output = b""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while piece := os.read(self._process.stdout.fileno(), 65536):
            self._pieces.put(piece)
        self._pieces.put(b"")

    def wait_for(self, output: str) -> None:
        """Wait until exactly this is the output so far."""
        while len(self.output) < len(output.encode()):
            piece = self._pieces.get(timeout=DEADLINE)
            assert piece, f"node ended after {self.output!r}: {self._error()}"
            self.output += piece
        assert self.output.decode() == output

    def rest(self) -> str:
        """The whole output of a process that ends by itself, and without a complaint."""
        while piece := self._pieces.get(timeout=DEADLINE):
            self.output += piece
        error = self._error()
        code = self._process.wait(DEADLINE)
        assert not error, error
        assert code == 0
        return self.output.decode()

    def _error(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read().decode()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()


@contextlib.contextmanager
def node(folder: Path, *args: str, ca: Path) -> Iterator[Node]:
    process = Node(folder, *args, ca=ca)
    try:
        yield process
    finally:
        process.stop()
