"""What the tests of real JavaScript clients share: a wire that can be cut, Node, and Chromium with a server for its pages."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from end_to_end.gateway_chats import ASK
from end_to_end.harness import DEADLINE, Authority, Provider, clean_environment

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


class Pages:
    """Serves the pages in tests/end_to_end/clients to a browser, and takes their reports."""

    def __init__(self, authority: Authority) -> None:
        self._server = Provider(authority, tls=False)
        self._server.handler = self._answer
        self.port = self._server.port
        self.loop = self._server.loop
        self.reports: dict[str, queue.Queue[Any]] = {}
        self.issue_client = ""
        self.stop = self._server.stop

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/report/"):
            self.reports[request.path.removeprefix("/report/")].put(await request.json())
            return web.Response(status=204)
        name = request.path.removeprefix("/")
        if name == "issue.js":
            return web.Response(text=self.issue_client, content_type="text/javascript")
        if name not in ("page.html", "page.js", "issue.html"):
            return web.Response(status=404)
        return web.FileResponse(CLIENTS / name, headers={"cache-control": "no-store"})


FLAGS = (
    "--headless",
    "--no-sandbox",  # tests run as root in containers
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
)


class Chromium:
    """A headless Chromium with a fresh profile, which trusts one certificate authority's key. `*.example` is this machine."""

    def __init__(self, folder: Path, ca: Path) -> None:
        need("chromium")
        trusted = f"--ignore-certificate-errors-spki-list={_key_hash(ca)}"
        names = "--host-resolver-rules=MAP *.example 127.0.0.1"
        self._log = (folder / "chromium.log").open("w+")
        self._process = subprocess.Popen(
            ["chromium", *FLAGS, trusted, names, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=self._log,
            stderr=self._log,
            env=clean_environment(HOME=str(folder)),
            start_new_session=True,
        )
        self._port = self._debugging_port(folder / "profile" / "DevToolsActivePort")

    def _debugging_port(self, file: Path) -> int:
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until and self._process.poll() is None:
            if file.exists() and (text := file.read_text()).count("\n"):
                return int(text.split()[0])
            time.sleep(0.02)  # another process writes the file
        self.stop()
        raise AssertionError("chromium did not come up")

    @contextlib.contextmanager
    def tab(self, url: str) -> Iterator[None]:
        """A page that is open for the time of the context."""
        opened = json.loads(self._tell(f"new?{urllib.parse.quote(url, safe='')}", "PUT"))
        try:
            yield
        finally:
            self._tell(f"close/{opened['id']}")

    def _tell(self, what: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/{what}", method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=DEADLINE) as response:
            body: bytes = response.read()
            return body

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE)
        self._log.close()


def _key_hash(ca: Path) -> str:
    """What Chromium calls a key by; mitmproxy's certificates all have the key of its authority."""
    key = x509.load_pem_x509_certificate(ca.read_bytes()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


class Page:
    """A page in the browser, and what it reports."""

    def __init__(self, reports: queue.Queue[Any]) -> None:
        self._reports = reports

    def next(self) -> Any:
        report = self._reports.get(timeout=DEADLINE)
        assert "failed" not in report, report
        return report

    def texts_until(self, text: str) -> None:
        """Wait until the texts it reported, and nothing else, are together exactly this one."""
        got = ""
        while len(got) < len(text):
            got += self.next()["text"]
        assert got == text


@contextlib.contextmanager
def page(
    chromium: Chromium, pages: Pages, how: str, url: str, host: str = "localhost", accept: str = ""
) -> Iterator[Page]:
    """Open a page that does as `how` says with the gateway's chat stream at `url`; see clients/page.js."""
    run = uuid.uuid4().hex
    reports = pages.reports[run] = queue.Queue()
    told = {"run": run, "how": how, "url": url, "token": TOKEN, "ask": ASK, "accept": accept}
    file = "issue.html" if how == "issue" else "page.html"
    with chromium.tab(f"http://{host}:{pages.port}/{file}#{urllib.parse.quote(json.dumps(told))}"):
        yield Page(reports)
