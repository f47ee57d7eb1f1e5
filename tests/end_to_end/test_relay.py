"""The relay's own facts: who may use it, what flows show, how connections are pooled, what it does for slow and gone clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import h2.connection
import httpx
import pytest
from aiohttp import web
from mitmproxy import http
from mitmproxy import io as flow_io

from databases import until
from end_to_end.harness import DEADLINE, SETS, Authority, Provider, Proxy, chunks, clean_environment, running
from end_to_end.test_measure import ASK, CHAT, ROLE, WHOLE, app, ask, chat_chunk, rows_of

__all__ = ["app"]

BODY = b"".join(WHOLE)


def start(
    folder: Path,
    confdir: Path,
    authority: Authority,
    provider: Provider,
    *args: str,
    trust: Path | None = None,
    scripts: tuple[str, ...] = SETS["relaying"],
) -> Proxy:
    trust = trust or authority.file
    upstream = f"::127.0.0.1:{provider.port}"
    return Proxy(folder, *args, scripts=scripts, confdir=confdir, trust=trust, upstream=upstream)


@pytest.fixture(scope="module")
def relay(authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(start(tmp_path_factory.mktemp("relay"), confdir, authority, provider)) as proxy:
        yield proxy


def _loopback_ports(pid: int) -> list[int]:
    """The TCP ports that a process listens on (Linux)."""
    inodes = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if "socket" in str(link.readlink())}
    ports = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
            ports.append(int(fields[1].split(":")[1], 16))
    return ports


def test_the_relay_serves_nobody_without_a_ticket(relay: Proxy) -> None:
    ports = set(_loopback_ports(relay.process.pid)) - {relay.port}
    assert ports
    for port in ports:
        for ticket in ("", "guessed", "x" * 43):
            answer = _raw(
                port, f"POST / HTTP/1.1\r\nhost: x\r\nx-midstream-ticket: {ticket}\r\ncontent-length: 0\r\n\r\n"
            )
            assert answer.startswith(b"HTTP/1.1 403")


def _raw(port: int, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
        connection.sendall(request.encode())
        return connection.recv(4096)


def test_a_native_answer_needs_no_connection_within_mitmdump(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str
) -> None:
    provider.handler = chunks(*WHOLE)
    with running(start(tmp_path, confdir, authority, provider)) as proxy:
        assert ask(proxy, app) == (200, BODY)
        until(lambda: "client disconnect" in "".join(proxy.log))
        assert "server connect" not in "".join(proxy.log)


def test_a_ticket_from_a_client_opens_nothing(relay: Proxy, provider: Provider, app: str) -> None:
    """The header of an intercepted request is the client's own, and goes on to the provider like any other."""
    provider.handler = chunks(*WHOLE)
    assert ask(relay, app, **{"x-midstream-ticket": "mine"}) == (200, BODY)
    assert provider.requests[-1].headers["x-midstream-ticket"] == "mine"


GEMINI = "https://generativelanguage.googleapis.com"
LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
KEY = "AIzaNobodyShallSeeThis"


async def _gemini(request: web.Request) -> web.StreamResponse:
    """What each of its APIs answers."""
    if request.headers.get("upgrade", "").lower() == "websocket":
        session = web.WebSocketResponse()
        await session.prepare(request)
        await session.receive()
        await session.send_json({"setupComplete": {}})
        await session.close()
        return session
    if "stream" not in request.path:
        return web.json_response({"models": []})
    piece = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}
    return await chunks(b"data: " + json.dumps(piece).encode() + b"\n\n")(request)


def test_a_key_in_the_query_reaches_the_provider_and_no_flow_and_no_log(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    """A stream through the relay; a request and a WebSocket past it. Recordings take it out by themselves (test_redaction)."""
    provider.handler = _gemini
    stream, models = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse&key=", "/v1beta/models?key="
    saved, recordings, talkative = tmp_path / "flows", tmp_path / "recordings", tmp_path / "talkative.py"
    talkative.write_text("from mitmproxy import ctx\n\ndef running():\n    ctx.options.flow_detail = 4\n")
    more = ("--save-stream-file", str(saved), "-s", str(talkative), "--set", f"midstream_recordings={recordings}")
    scripts = ("record_streams.py", *SETS["relaying"])
    before = len(provider.requests)
    with running(start(tmp_path, confdir, authority, provider, *more, scripts=scripts)) as proxy:

        async def fetch() -> None:
            way: Any = {"ssl": proxy.client_context(), "proxy": proxy.url}
            async with aiohttp.ClientSession() as session:
                async with session.post(f"{GEMINI}{stream}{KEY}", json={"contents": []}, **way) as response:
                    assert b"Hi" in await response.read()
                async with session.get(f"{GEMINI}{models}{KEY}", **way) as response:
                    assert response.status == 200
                async with session.ws_connect(f"{GEMINI}{LIVE}?key={KEY}", **way) as live:
                    await live.send_json({"setup": {"model": "models/gemini-live"}})
                    assert await live.receive_json() == {"setupComplete": {}}
                    await live.receive()

        asyncio.run(fetch())
        proxy.rows(1)
    assert [request.path_qs for request in provider.requests[before:]] == [
        stream + KEY,
        models + KEY,
        f"{LIVE}?key={KEY}",
    ]
    written = [saved, proxy.db, *recordings.glob("*/*.jsonl")]
    assert len(written) == 4
    assert KEY.encode() not in b"".join(file.read_bytes() for file in written) + "".join(proxy.log).encode()
    with saved.open("rb") as file:
        shown = {flow.request.path for flow in flow_io.FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)}
    assert shown == {stream.partition("&key")[0], "/v1beta/models", LIVE}


def test_saved_flows_show_the_provider_never_the_loopback(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str
) -> None:
    provider.handler = chunks(*WHOLE, x_request_id="req_1")
    saved = tmp_path / "flows"
    with running(start(tmp_path, confdir, authority, provider, "--save-stream-file", str(saved))) as proxy:
        assert ask(proxy, app, authorization="Bearer sk-test") == (200, BODY)
        rows_of(proxy, app)
    with saved.open("rb") as file:
        (flow,) = flow_io.FlowReader(file).stream()
    assert flow.request.pretty_url == CHAT  # type: ignore[attr-defined]
    assert flow.request.headers["authorization"] == "Bearer sk-test"  # type: ignore[attr-defined]
    assert json.loads(flow.request.content) == ASK  # type: ignore[attr-defined]
    assert flow.response.headers["x-request-id"] == "req_1"  # type: ignore[attr-defined]
    assert flow.server_conn.address == ("api.openai.com", 443)
    assert b"midstream-ticket" not in saved.read_bytes()


ANSWERS = """
from mitmproxy import http

def request(flow):
    flow.response = http.Response.make(418, "mine")
"""


def test_an_addon_behind_ours_that_answers_itself_leaves_no_loopback_in_the_flow(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str
) -> None:
    provider.handler = chunks(*WHOLE)
    saved, answers, before = tmp_path / "flows", tmp_path / "answers.py", len(provider.requests)
    answers.write_text(ANSWERS)
    more = ("--save-stream-file", str(saved), "-s", str(answers))
    with running(start(tmp_path, confdir, authority, provider, *more)) as proxy:
        assert ask(proxy, app) == (418, b"mine")
    with saved.open("rb") as file:
        (flow,) = flow_io.FlowReader(file).stream()
    assert flow.request.pretty_url == CHAT  # type: ignore[attr-defined]
    assert b"midstream-ticket" not in saved.read_bytes()
    assert len(provider.requests) == before


def test_a_dead_provider_does_not_fail_the_connect(
    authority: Authority, confdir: Path, tmp_path: Path, app: str
) -> None:
    """With mitmproxy's eager strategy CONNECT would dial the provider, and fail before anything could reroute."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    scripts = SETS["relaying"]
    upstream = f"::127.0.0.1:{port}"
    proxy = Proxy(tmp_path, scripts=scripts, confdir=confdir, trust=authority.file, upstream=upstream)
    with running(proxy):
        status, body = ask(proxy, app)
        assert status == 502
        assert json.loads(body)["error"]["type"] == "connection_error"
        assert rows_of(proxy, app)[0]["outcome"] == "failed"


def test_provider_connections_are_pooled_across_clients(relay: Proxy, provider: Provider, app: str) -> None:
    peers: list[Any] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return await chunks(*WHOLE)(request)

    provider.handler = answer
    for _ in range(5):
        assert ask(relay, app) == (200, BODY)  # each with a connection of its own
    assert len(set(peers)) == 1


def test_a_hundred_streams_on_one_http2_connection(relay: Proxy, provider: Provider, app: str, tmp_path: Path) -> None:
    """mitmproxy allows five connections per client to one address: without our detour the sixth stream would wait."""
    everyone = threading.Barrier(100)

    async def together(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(ROLE)
        await asyncio.get_running_loop().run_in_executor(pool, everyone.wait, DEADLINE)
        await response.write(b"".join(WHOLE[1:]))
        return response

    with ThreadPoolExecutor(100) as pool:
        provider.handler = together
        common = [
            "-x",
            relay.url,
            "--cacert",
            str(relay.ca),
            "-A",
            f"{app}/1",
            "-H",
            "content-type: application/json",
            "--http2",
        ]
        urls = [word for n in range(100) for word in (CHAT, "-o", f"{tmp_path}/{n}")]
        command = [
            "curl",
            "-sS",
            "-Z",
            "--parallel-max",
            "100",
            "--max-time",
            str(DEADLINE),
            "-d",
            json.dumps(ASK),
            *common,
            *urls,
        ]
        done = subprocess.run(command, capture_output=True, env=clean_environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / str(n)).read_bytes() == BODY for n in range(100))
    assert {row["outcome"] for row in rows_of(relay, app, 100)} == {"complete"}


def endless(cancelled: threading.Event) -> Any:
    """A provider's answer that begins, and then is silent until it is left."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(ROLE + chat_chunk(content="Hello"))
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return response

    return answer


CHANGES = """
def request(flow):
    flow.request.headers["x-mine"] = flow.request.headers["x-more"] = "before"
"""
COUNTS = """
import logging

def request(flow):
    flow.request.headers["x-mine"] = "behind"

def responseheaders(flow):
    got = bytearray()
    def take(data):
        got.extend(data)
        if not data:
            logging.getLogger("mine").warning("%s sent %d bytes", flow.request.pretty_url, len(got))
        return data
    flow.response.stream = take
"""


def test_addons_of_others_change_requests_and_see_answers(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str
) -> None:
    provider.handler = chunks(*WHOLE)
    changes, counts = tmp_path / "changes.py", tmp_path / "counts.py"
    changes.write_text(CHANGES)
    counts.write_text(COUNTS)
    scripts = (str(changes), *SETS["relaying"])
    with running(start(tmp_path, confdir, authority, provider, "-s", str(counts), scripts=scripts)) as proxy:
        assert ask(proxy, app) == (200, BODY)
        until(lambda: f"{CHAT} sent {len(BODY)} bytes" in "".join(proxy.log))
    assert provider.requests[-1].headers.getall("x-mine") == ["behind"]
    assert provider.requests[-1].headers["x-more"] == "before"


KILLS = """
def responseheaders(flow):
    flow.kill()
"""


def test_a_flow_that_an_addon_kills_cancels_its_provider(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str
) -> None:
    cancelled, kills = threading.Event(), tmp_path / "kills.py"
    provider.handler = endless(cancelled)
    kills.write_text(KILLS)
    with running(start(tmp_path, confdir, authority, provider, "-s", str(kills))) as proxy:
        with httpx.Client(http2=True, proxy=proxy.url, verify=proxy.client_context(), timeout=DEADLINE) as client:
            with pytest.raises(httpx.HTTPError):
                client.post(CHAT, json=ASK, headers={"user-agent": f"{app}/1"})
            assert cancelled.wait(DEADLINE)  # while the client's connection is open
        assert rows_of(proxy, app)[0]["outcome"] == "client_gone"


def test_a_client_that_leaves_cancels_its_provider(relay: Proxy, provider: Provider, app: str) -> None:
    cancelled = threading.Event()

    async def leave() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                CHAT, json=ASK, proxy=relay.url, ssl=relay.client_context(), headers={"user-agent": f"{app}/1"}
            ) as response,
        ):
            await response.content.readany()
            response.close()

    provider.handler = endless(cancelled)
    asyncio.run(leave())
    assert cancelled.wait(DEADLINE)
    assert rows_of(relay, app)[0]["outcome"] == "client_gone"


def test_an_unverified_provider_is_refused_unless_told_otherwise(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str
) -> None:
    provider.handler = chunks(*WHOLE)
    other = tmp_path / "other"
    other.mkdir()
    stranger = Authority(other)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with running(start(tmp_path / "a", confdir, authority, provider, trust=stranger.file)) as proxy:
        status, body = ask(proxy, app)
        assert (status, json.loads(body)["error"]["type"]) == (502, "tls_error")
    with running(start(tmp_path / "b", confdir, authority, provider, "--ssl-insecure", trust=stranger.file)) as proxy:
        assert ask(proxy, app) == (200, BODY)


def test_client_certificates_reach_the_provider(authority: Authority, confdir: Path, tmp_path: Path, app: str) -> None:
    context = authority.server_context("api.openai.com")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    provider = Provider(authority, context=context)
    provider.handler = chunks(*WHOLE)
    chain, key = authority.write_certificate(tmp_path, "client.test")
    both = tmp_path / "client.pem"
    both.write_text(Path(chain).read_text() + Path(key).read_text())
    try:
        with running(start(tmp_path, confdir, authority, provider, "--set", f"client_certs={both}")) as proxy:
            assert ask(proxy, app) == (200, BODY)
    finally:
        provider.stop()


def test_upstream_mode_is_honoured(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, proxy: Proxy, app: str
) -> None:
    provider.handler = chunks(*WHOLE)
    front = Proxy(
        tmp_path, "--mode", f"upstream:{proxy.url}", scripts=SETS["relaying"], confdir=confdir, trust=proxy.ca
    )
    with running(front):
        assert ask(front, app) == (200, BODY)
        assert rows_of(front, app)[0]["outcome"] == "complete"
    assert len(rows_of(proxy, app)) == 1  # it did go through the second proxy


def test_a_slow_http2_client_pauses_its_provider(relay: Proxy, provider: Provider, app: str) -> None:
    """A client that reads its socket but opens no flow-control window: mitmproxy itself would buffer all that is offered."""
    frame = chat_chunk(content="token " * 150)
    offered, sent = 40_000 * len(frame), []

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(40_000):
            await response.write(frame)
            sent.append(len(frame))
        return response

    provider.handler = endless
    with _http2_client(relay, app) as connection:
        connection.settimeout(3)  # longer than any pause of a provider that goes on
        with contextlib.suppress(TimeoutError):
            while connection.recv(65536):
                pass
    row = rows_of(relay, app)[0]
    assert row["outcome"] == "client_gone"
    assert row["bytes"] < 8 << 20 < offered
    assert row["paused_ms"] > 0


def test_http2_clients_that_leave_leave_no_socket_behind(relay: Proxy, provider: Provider, app: str) -> None:
    """mitmproxy forgets to close its own to the relay now and then, when the news of who left come at a bad moment."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):
            while True:
                await response.write(chat_chunk(content="token "))
                await asyncio.sleep(0.002)
        return response

    def leave(times: int) -> None:
        for _ in range(times):
            with (
                httpx.Client(http2=True, proxy=relay.url, verify=relay.client_context()) as client,
                client.stream("POST", CHAT, json=ASK, headers={"user-agent": f"{app}/1"}) as response,
            ):
                next(response.iter_raw())

    provider.handler = endless
    leave(1)
    rows_of(relay, app, 1)
    files = Path(f"/proc/{relay.process.pid}/fd")
    before = len(list(files.iterdir()))
    leave(20)
    rows_of(relay, app, 21)
    until = time.monotonic() + DEADLINE
    while (now := len(list(files.iterdir()))) > before and time.monotonic() < until:
        time.sleep(0.05)  # polls another process
    assert now <= before


@contextlib.contextmanager
def _http2_client(proxy: Proxy, app: str) -> Iterator[ssl.SSLSocket]:
    """A connection on which the question is asked, with the window that HTTP/2 begins with: 64 KiB."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE) as plain:
        plain.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n")
        assert b" 200 " in plain.recv(4096)
        context = proxy.client_context()
        context.set_alpn_protocols(["h2"])
        with context.wrap_socket(plain, server_hostname="api.openai.com") as connection:
            assert connection.selected_alpn_protocol() == "h2"
            http2 = h2.connection.H2Connection()
            http2.initiate_connection()
            body = json.dumps(ASK).encode()
            headers = [(":method", "POST"), (":authority", "api.openai.com"), (":scheme", "https")]
            headers += [
                (":path", "/v1/chat/completions"),
                ("user-agent", f"{app}/1"),
                ("content-type", "application/json"),
            ]
            http2.send_headers(1, headers)
            http2.send_data(1, body, end_stream=True)
            connection.sendall(http2.data_to_send())
            yield connection
