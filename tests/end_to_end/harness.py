"""The real thing for the tests: a provider over TLS, a mitmdump with our addons, and clients that come through it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import re
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web

ROOT = Path(__file__).parent.parent.parent
ADDONS = ROOT / "addons"
DEADLINE = 120.0
"""Seconds to wait for what must come; far more than it takes, so that a slow machine fails no test: among a dozen other
processes on two cores a mitmdump took 47 s to come up."""

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def clean_environment(**extra: str) -> dict[str, str]:
    """An environment without the proxy and CA settings that the machine may preset: with them a test would prove nothing."""
    telling = ("PROXY", "SSL_CERT", "CA_BUNDLE", "CA_CERTS", "_CA_", "CAINFO", "_ROOTS_FILE")
    kept = {k: v for k, v in os.environ.items() if not any(t in k.upper() for t in telling)}
    return kept | extra


class Authority:
    """A certificate authority of our own, for the provider's side."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.file = folder / "provider-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def server_context(self, *hosts: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*hosts).configure_cert(context)
        return context

    def write_certificate(self, folder: Path, *hosts: str) -> tuple[str, str]:
        """Return the files of a new certificate (with its chain) and its key."""
        issued = self._ca.issue_cert(*hosts)
        chain, key = folder / "cert.pem", folder / "key.pem"
        for pem in issued.cert_chain_pems:
            pem.write_to_path(str(chain), append=True)
        issued.private_key_pem.write_to_path(str(key))
        return str(chain), str(key)


HOSTS = (
    "localhost",
    "127.0.0.1",
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "mcp.test",
    "vllm.test",
)


class Provider:
    """An aiohttp server in a thread of its own. `handler` answers every request; tests set it."""

    def __init__(
        self,
        authority: Authority,
        *,
        tls: bool = True,
        hosts: tuple[str, ...] = HOSTS,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.handler: Handler = _not_found
        self.requests: list[web.Request] = []
        self.loop = asyncio.new_event_loop()
        self._tls = context or (authority.server_context(*hosts) if tls else None)
        self._ready: queue.Queue[int] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.port = self._ready.get(timeout=DEADLINE)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())
        self.loop.run_forever()

    async def _start(self) -> None:
        server = web.Server(self._answer, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self._ready.put(self._runner.addresses[0][1])

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)  # type: ignore[arg-type]
        return await self.handler(request)  # type: ignore[arg-type]

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self.loop).result(DEADLINE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE)
        self.loop.close()


async def _not_found(request: web.Request) -> web.StreamResponse:
    return web.Response(status=404, text="the test set no handler")


def chunks(*pieces: bytes, status: int = 200, content_type: str = "text/event-stream", **headers: str) -> Handler:
    """Answer with these chunks, one write each."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        response = web.StreamResponse(status=status, headers={"content-type": content_type} | named)
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        return response

    return answer


def cut_after(*pieces: bytes, content_type: str = "text/event-stream") -> Handler:
    """Answer with these chunks, then reset the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": content_type})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        assert request.transport is not None
        request.transport.abort()
        return response

    return answer


class Gate:
    """Lets a handler in the provider's loop wait for the test's own thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def open(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await asyncio.to_thread(self._event.wait, DEADLINE)

    @property
    def is_open(self) -> bool:
        return self._event.is_set()


SETS = {
    "measuring": ("measure_streams.py", "connect_to.py"),
    "relaying": ("measure_streams.py", "relay_streams.py", "connect_to.py"),
}
"""Whether midstream looks on or owns the provider's side: the client sees the same bytes, the row says the same."""


class Proxy:
    """A real mitmdump. Listens on a port of the system's choosing; `url` is what HTTPS_PROXY takes."""

    def __init__(
        self,
        folder: Path,
        *args: str,
        scripts: tuple[str, ...] = ("measure_streams.py", "connect_to.py"),
        confdir: Path | None = None,
        trust: Path | None = None,
        upstream: str = "",
        listening: int = 1,
        program: str = "mitmdump",
    ) -> None:
        self.folder = folder
        self.confdir = confdir or folder / "conf"
        self.db = folder / "streams.db"
        command = [sys.executable, "-c", f"from mitmproxy.tools.main import {program} as main; main()"]
        command += [word for script in scripts for word in ("-s", str(ADDONS / script))]
        command += ["--set", f"confdir={self.confdir}", "--listen-host", "127.0.0.1", "--listen-port", "0"]
        command += ["--set", f"midstream_db={self.db}"]
        command += ["--set", "flow_detail=0"] if program == "mitmdump" else []
        if not {"relay_streams.py", "all.py"} & set(scripts):  # they see to it themselves
            command += ["--set", "connection_strategy=lazy"]
        if trust is not None:
            command += ["--set", f"ssl_verify_upstream_trusted_ca={trust}"]
        if upstream:
            command += ["--set", f"midstream_connect_to={upstream}"]
        self.log: list[str] = []
        self._told = 0
        self.process = subprocess.Popen(
            [*command, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment(PYTHONUNBUFFERED="1"),
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.ports = [int(self._said(r"[Pp]roxy\b.* listening at .*:(\d+)")) for _ in range(listening)]
        if {"relay_streams.py", "all.py"} & set(scripts):
            self._said("midstream relays LLM (streams)")
        self.port = self.ports[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.ca = self.confdir / "mitmproxy-ca-cert.pem"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _said(self, pattern: str) -> str:
        """Wait for a line of mitmdump's log, and return what the pattern's group found in it."""
        until = time.monotonic() + DEADLINE
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=left)
                if line is None:
                    break
                if found := re.search(pattern, line):
                    return found.group(1)
        raise AssertionError("mitmdump did not come up:\n" + "".join(self.log))

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def rows(self, count: int, where: str = "1") -> list[dict[str, Any]]:
        """Wait until at least `count` rows match, and return them all, oldest first."""
        until = time.monotonic() + DEADLINE
        rows: list[dict[str, Any]] = []
        while time.monotonic() < until:
            rows = self._query(f"select * from streams where {where} order by started_at, id")
            if len(rows) >= count:
                return rows
            time.sleep(0.02)  # polls another process's database
        raise AssertionError(f"{len(rows)} rows of {count} where {where}; mitmdump said:\n" + "".join(self.log))

    def _query(self, sql: str) -> list[dict[str, Any]]:
        if not self.db.exists():
            return []
        with contextlib.closing(sqlite3.connect(self.db)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(sql)]
            except sqlite3.OperationalError:
                return []  # the table is not there yet

    def tell(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal."""
        self._told += 1
        self.process.send_signal(how)

    def stop(self, how: signal.Signals = signal.SIGTERM, *, patiently: bool = False) -> int:
        """patiently: streams in flight may finish; else they end after a moment, at the second signal."""
        if self.process.poll() is None:
            self.tell(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(DEADLINE if patiently else 0.5)
        if self.process.poll() is None and self._told < 2 and any("streams finish" in line for line in self.log):
            self.tell(how)
        code = self.process.wait(DEADLINE)
        assert "Traceback" not in "".join(self.log), "".join(self.log)
        assert "has crashed" not in "".join(self.log), "".join(self.log)
        return code


@contextlib.contextmanager
def running(proxy: Proxy) -> Iterator[Proxy]:
    try:
        yield proxy
    finally:
        proxy.stop()
