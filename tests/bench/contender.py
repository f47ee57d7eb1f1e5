"""What is compared: no proxy at all, and mitmdumps with different scripts; and the plain clients that ask through them."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import trustme

HERE = Path(__file__).parent
ADDONS = HERE.parent.parent / "addons"
SCRIPTS = {
    "plain": HERE / "plain_streaming.py",
    "measuring": ADDONS / "measure_streams.py",
    "relaying": ADDONS / "relay_streams.py",
    "healing": ADDONS / "relay_streams.py",
}
PROXIES = tuple(SCRIPTS)
ROUTED = """
[providers.bench]
dialect = "openai_chat"
base_url = "http://127.0.0.1:{port}/v1"
hosts = ["127.0.0.1"]

[[routes]]
targets = ["bench"]
on_break = "continue"
"""
"""The configuration of `healing`: every chunk is looked at before it is passed on, and kept to go on from."""
READ = 1 << 18
"""Bytes read at once by a client that reads as fast as it can."""

STAMP = re.compile(rb" token (\d{19})")
STAMP_LENGTH = 26

type Reader = asyncio.StreamReader
type Writer = asyncio.StreamWriter


class Provider(NamedTuple):
    """The ports of provider.py, and the file of the authority its certificate is from."""

    port: int
    tls_port: int
    authority: Path


@dataclass
class Contender:
    """One mitmdump, or, under the name `direct`, none."""

    name: str
    port: int = 0
    folder: Path = Path()
    process: subprocess.Popen[str] | None = None
    results: dict[str, float] = field(default_factory=dict)
    """Measure → what was measured of it."""

    @property
    def database(self) -> Path:
        return self.folder / f"{self.name}.db"

    @property
    def certificate(self) -> Path:
        return self.folder / "conf" / "mitmproxy-ca-cert.pem"

    def start(self, folder: Path, provider: Provider, *more: str) -> None:
        self.folder = folder
        command = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
        command += ["-s", str(SCRIPTS[self.name]), "--listen-host", "127.0.0.1", "--listen-port", "0"]
        command += ["--set", f"confdir={folder / 'conf'}", "--set", "flow_detail=0"]
        command += ["--set", f"ssl_verify_upstream_trusted_ca={provider.authority}"]
        if self.name != "plain":
            command += ["--set", f"midstream_db={self.database}"]
        if self.name == "healing":
            (folder / "routed.toml").write_text(ROUTED.format(port=provider.port))
            command += ["--set", f"midstream_config={folder / 'routed.toml'}"]
        self.process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.port = self._listening()

    def _listening(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if found := re.search(r"^(?!.*reverse).*listening at .*?:(\d+)", line):
                threading.Thread(target=self.process.stdout.read, daemon=True).start()  # else the pipe fills
                return int(found.group(1))
        raise SystemExit(f"{self.name}: mitmdump did not come up:\n{''.join(said)}")

    def rss_kib(self) -> int:
        if self.process is None:
            return 0
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found.group(1)) if found else 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


@contextmanager
def running(names: tuple[str, ...], provider: Provider, *more: str) -> Iterator[list[Contender]]:
    """Fresh processes, all up at once: what one part leaves behind does not weigh on the next."""
    contenders = [Contender(name) for name in names]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for contender in contenders:
                if contender.name != "direct":
                    contender.start(Path(folder), provider, *more)
            yield contenders
        finally:
            for contender in contenders:
                contender.stop()


@contextmanager
def providing() -> Iterator[Provider]:
    """provider.py in a process of its own, plain and over TLS."""
    with tempfile.TemporaryDirectory() as name:
        folder, ca = Path(name), trustme.CA()
        ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "own.pem"))
        command = [sys.executable, str(HERE / "provider.py"), str(folder / "own.pem")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            port, tls_port = map(int, process.stdout.readline().split())
            yield Provider(port, tls_port, folder / "ca.pem")
        finally:
            process.terminate()
            process.wait()


def body(query: str = "") -> bytes:
    """A chat. The query can stand in the model's name, for requests whose URL the gateway makes."""
    model = f"gpt-4o-mini?{query}" if query else "gpt-4o-mini"
    return json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}).encode()


def request(query: str, port: int, origin: str = "") -> bytes:
    """HTTP/1.1, in absolute form for a proxy: `origin` is then `http://127.0.0.1:PORT`."""
    fields = f"host: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {len(body())}"
    return f"POST {origin}/v1/chat/completions?{query} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body()


async def connect(contender: Contender, provider: Provider) -> tuple[Reader, Writer]:
    return await asyncio.open_connection("127.0.0.1", contender.port or provider.port, limit=1 << 20)


async def connect_tls(contender: Contender, port: int, authority: Path) -> tuple[Reader, Writer]:
    """A new TLS connection to the provider at this port, through the proxy if there is one."""
    context = ssl.create_default_context(cafile=contender.certificate if contender.port else authority)
    if not contender.port:
        return await asyncio.open_connection("127.0.0.1", port, ssl=context)
    reader, writer = await tunnel(contender, port)
    await writer.start_tls(context, server_hostname="127.0.0.1")
    return reader, writer


async def tunnel(contender: Contender, port: int) -> tuple[Reader, Writer]:
    """CONNECT to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", contender.port)
    writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise SystemExit(f"{contender.name} refused CONNECT: {head!r}")
    return reader, writer


class Heard(NamedTuple):
    """first_ms: to the first content. count: chunks received. delays_ms: of each chunk with a stamp, since it was sent."""

    first_ms: float
    count: int
    delays_ms: list[float]


async def ask(reader: Reader, writer: Writer, asked: bytes) -> Heard:
    """One request on a connection, read to the end of a chunked answer."""
    started, first, count, delays = time.perf_counter(), 0.0, 0, list[float]()
    writer.write(asked)
    tail = b""
    while not tail.endswith(b"0\r\n\r\n"):
        data = await reader.read(READ)
        now = time.monotonic_ns()
        if not data:
            raise SystemExit("the connection was closed within an answer")
        seen = tail + data
        if not first and b"content" in seen.partition(b"\r\n\r\n")[2]:
            first = (time.perf_counter() - started) * 1000
        count += data.count(b" token")
        delays += [(now - int(sent)) / 1e6 for sent in STAMP.findall(seen)]
        tail = seen[-STAMP_LENGTH:] if first else seen
    return Heard(first, count, delays)


async def stream(contender: Contender, provider: Provider, query: str) -> Heard:
    """One request on a connection of its own."""
    reader, writer = await connect(contender, provider)
    try:
        return await ask(reader, writer, request(query, provider.port, f"http://127.0.0.1:{provider.port}"))
    finally:
        writer.close()


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))] if ordered else 0.0
