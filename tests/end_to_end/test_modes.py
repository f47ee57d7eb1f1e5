"""Every way a client's bytes can come to mitmdump, and both HTTP versions on both sides: the same bytes, the same row."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config

from end_to_end.harness import DEADLINE, HOSTS, Authority, Provider, Proxy, chunks, clean_environment, running
from end_to_end.test_measure import ASK, CHAT, WHOLE, app, ask, rows_of

__all__ = ["app"]

BODY = b"".join(WHOLE)


def curl(*args: str, app: str, **environment: str) -> bytes:
    command = [
        "curl",
        "-sS",
        "--max-time",
        str(DEADLINE),
        "-A",
        f"{app}/1.0",
        "-d",
        json.dumps(ASK),
        "-H",
        "content-type: application/json",
    ]
    done = subprocess.run([*command, *args], capture_output=True, env=clean_environment(**environment), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(
    folder: Path, confdir: Path, authority: Authority, provider: Provider, *args: str, trust: Path | None = None
) -> Proxy:
    return Proxy(folder, *args, confdir=confdir, trust=trust or authority.file, upstream=f"::127.0.0.1:{provider.port}")


def test_reverse_mode(authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    with running(start(tmp_path, confdir, authority, provider, "--mode", "reverse:https://api.openai.com")) as proxy:
        assert curl(f"http://127.0.0.1:{proxy.port}/v1/chat/completions", app=app) == BODY
        assert rows_of(proxy, app)[0]["provider"] == "openai"


def test_upstream_mode(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, proxy: Proxy, app: str
) -> None:
    """Through a second proxy, which is plain mitmdump to the first."""
    provider.handler = chunks(*WHOLE)
    front = Proxy(tmp_path, "--mode", f"upstream:{proxy.url}", confdir=confdir, trust=proxy.ca)
    with running(front):
        assert ask(front, app) == (200, BODY)
        row = rows_of(front, app)[0]
    assert (row["outcome"], row["provider"], row["output_tokens"]) == ("complete", "openai", 3)


def test_http2_client(proxy: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    said = curl("--http2", "-x", proxy.url, "--cacert", str(proxy.ca), "-w", "|%{http_version}", CHAT, app=app)
    assert said == BODY + b"|2"
    assert rows_of(proxy, app)[0]["outcome"] == "complete"


@pytest.fixture(scope="module")
def http2_port(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A provider that speaks HTTP/2 only: aiohttp, which the other tests use, cannot."""
    folder = tmp_path_factory.mktemp("http2")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.alpn_protocols = ["h2"]
    config.certfile, config.keyfile = authority.write_certificate(folder, *HOSTS)
    stop, ready = asyncio.Event(), threading.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        task = asyncio.create_task(serve(_http2_app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
        while not _is_open(port):  # noqa: ASYNC110 - hypercorn tells nobody when it listens
            await asyncio.sleep(0.01)
        ready.set()
        await task

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield port
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _http2_app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    assert scope["http_version"] == "2"
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for piece in WHOLE:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def test_http2_provider(authority: Authority, http2_port: int, confdir: Path, tmp_path: Path, app: str) -> None:
    """mitmproxy offers a provider what its client speaks, so only an HTTP/2 client brings it to HTTP/2."""
    proxy = Proxy(tmp_path, confdir=confdir, trust=authority.file, upstream=f"::127.0.0.1:{http2_port}")
    with running(proxy):
        assert curl("--http2", "-x", proxy.url, "--cacert", str(proxy.ca), CHAT, app=app) == BODY
        assert rows_of(proxy, app)[0]["outcome"] == "complete"


def _may_redirect() -> bool:
    return os.geteuid() == 0 and shutil.which("iptables") is not None and shutil.which("ip") is not None


@pytest.mark.skipif(not _may_redirect(), reason="transparent mode needs root, iptables and ip")
def test_transparent_mode(authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str) -> None:
    """A client whose packets to 192.0.2.1 (TEST-NET-1, RFC 5737) the kernel sends to mitmdump: it knows nothing of a proxy."""
    provider.handler = chunks(*WHOLE)
    with running(start(tmp_path, confdir, authority, provider, "--mode", "transparent")) as proxy:
        rule = ["-d", "192.0.2.1", "-p", "tcp", "--dport", "443", "-j", "REDIRECT", "--to-ports", str(proxy.port)]
        subprocess.run(["iptables", "-t", "nat", "-A", "OUTPUT", *rule], check=True)
        try:
            said = curl("--resolve", "api.openai.com:443:192.0.2.1", "--cacert", str(proxy.ca), CHAT, app=app)
        finally:
            subprocess.run(["iptables", "-t", "nat", "-D", "OUTPUT", *rule], check=True)
        assert said == BODY
        assert rows_of(proxy, app)[0]["provider"] == "openai"
