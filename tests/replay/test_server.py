"""The replay server: what was recorded is what a client gets, chunk by chunk, over HTTP, TLS and WebSocket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from midstream.recording import Chunk, Ending, Header, RecordedRequest, RecordedResponse, Recording
from midstream.replay.server import ReplayServer
from midstream.replay.throwaway_ca import ThrowawayCA

URL = "https://api.openai.com/v1/chat/completions"
BODY = {"model": "m", "stream": True}
PIECES = (b'data: {"a":"\xc3', b'\xa9"}\n\n', b"data: [DONE]\n\n")


def recorded(
    *pieces: bytes, end: Ending = "complete", status: int = 200, pause: float = 0, **headers: str
) -> Recording:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    header = Header(
        request=RecordedRequest(url=URL, body=BODY), response=RecordedResponse(status=status, headers=named)
    )
    return Recording(header, tuple(Chunk(pause, piece) for piece in pieces), end, 0, "one.jsonl")


def serve[T](recording: Recording, client: Callable[[ReplayServer], Awaitable[T]], **options: Any) -> T:
    async def run() -> T:
        async with ReplayServer([recording], **options) as server:
            return await asyncio.wait_for(client(server), 20)

    return asyncio.run(run())


async def raw(server: ReplayServer, version: str = "1.1") -> bytes:
    """Speak HTTP by hand: an HTTP client would hide the chunk edges."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = b'{"model":"m","stream":true}'
    writer.write(
        b"POST /v1/chat/completions HTTP/%s\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
        % (version.encode(), len(body), body)
    )
    received = await reader.read(-1)
    writer.close()
    return received


def test_chunk_edges_and_bytes_are_those_recorded() -> None:
    head, _, body = serve(recorded(*PIECES, content_type="text/event-stream"), raw).partition(b"\r\n\r\n")
    assert body == b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in PIECES) + b"0\r\n\r\n"
    assert b"content-type: text/event-stream" in head.lower()


def test_status_and_headers_are_those_recorded_less_what_belongs_to_the_connection() -> None:
    answer = recorded(
        b"{}",
        status=429,
        retry_after="7",
        content_length="99",
        connection="close",
        transfer_encoding="chunked",
        alt_svc="h3",
    )

    async def client(server: ReplayServer) -> tuple[int, dict[str, str], bytes]:
        url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, json=BODY) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read()

    status, headers, body = serve(answer, client)
    assert (status, body, headers["retry-after"]) == (429, b"{}", "7")
    assert "content-length" not in headers
    assert "alt-svc" not in headers


def test_an_encoded_body_is_served_as_it_was_on_the_wire() -> None:
    import gzip

    packed = gzip.compress(b"data: 1\n\n")

    async def client(server: ReplayServer) -> bytes:
        url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
        async with aiohttp.ClientSession(auto_decompress=False) as session, session.post(url, json=BODY) as response:
            return await response.read()

    assert serve(recorded(packed[:5], packed[5:], content_encoding="gzip"), client) == packed


@pytest.mark.parametrize("end", ["truncated", "client_gone"])
def test_a_recording_cut_off_ends_the_connection_after_its_last_byte(end: Ending) -> None:
    body = serve(recorded(b"data: 1\n\n", b"data: 2\n\n", end=end), raw).partition(b"\r\n\r\n")[2]
    assert body == b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n"


def test_http_1_0_gets_the_body_without_chunks() -> None:
    body = serve(recorded(*PIECES), lambda server: raw(server, "1.0")).partition(b"\r\n\r\n")[2]
    assert body == b"".join(PIECES)


def test_nothing_recorded_is_a_404_that_lists_what_there_is() -> None:
    async def client(server: ReplayServer) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{server.port}/v1/responses"
        async with aiohttp.ClientSession() as session, session.post(url, data=b"\xff{not json") as response:
            return response.status, await response.json()

    status, body = serve(recorded(), client)
    assert status == 404
    assert "POST /v1/responses" in body["error"]["message"]
    assert body["error"]["recordings"][0]["path"] == "/v1/chat/completions"


class Clock:
    """Stands in for asyncio.sleep: notes what it was asked for, and does not wait."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.mark.parametrize(("speed", "whole"), [(1.0, 4.0), (2.0, 2.0), (0.0, 0.0)])
def test_speed_scales_the_pauses(speed: float, whole: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("midstream.replay.server.asyncio.sleep", clock.sleep)

    async def client(server: ReplayServer) -> bytes:
        return await raw(server)

    assert serve(recorded(b"1", b"2", pause=2000), client, speed=speed)
    if whole:
        # the second pause is due after the first, which was not waited for here: so its sleep is the sum of both
        assert max(clock.slept) == pytest.approx(whole, abs=0.5)
    else:
        assert [pause for pause in clock.slept if pause] == []  # aiohttp yields with sleep(0)


def test_tls_is_trusted_by_who_trusts_the_ca_for_the_recorded_hosts_and_loopback(tmp_path: Path) -> None:
    ca = ThrowawayCA()
    ca.write(tmp_path / "ca.pem")
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT

    async def client(server: ReplayServer) -> list[bool]:
        return [
            await trusted(server.port, name) for name in ("api.openai.com", "localhost", "127.0.0.1", "other.example")
        ]

    async def trusted(port: int, name: str) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        return True

    assert serve(recorded(), client, ca=ca) == [True, True, True, False]


def session(end: Ending = "complete") -> Recording:
    url = "wss://api.openai.com/v1/realtime?model=gpt-realtime"
    header = Header(request=RecordedRequest(method="GET", url=url), response=RecordedResponse(status=101))
    chunks = (
        Chunk(0, b'{"type":"session.created"}', "provider", "text"),
        Chunk(0, b'{"type":"response.create"}', "client", "text"),
        Chunk(0, b"\x00\xff", "provider", "binary"),
        Chunk(0, b'{"type":"response.done"}', "provider", "text"),
    )
    return Recording(header, chunks, end, 0, "session.jsonl")


@pytest.mark.parametrize(("end", "code"), [("complete", 1000), ("truncated", 1006)])
@pytest.mark.parametrize("path", ["/v1/realtime?model=gpt-realtime", "///v1/realtime"])
def test_a_websocket_session_is_replayed_message_by_message(end: Ending, code: int, path: str) -> None:
    async def client(server: ReplayServer) -> tuple[list[Any], int | None, str | None]:
        got: list[Any] = []
        url = f"ws://127.0.0.1:{server.port}{path}"
        async with aiohttp.ClientSession() as http, http.ws_connect(url, protocols=["realtime", "x"]) as ws:
            got.append((await ws.receive()).data)
            with pytest.raises(asyncio.TimeoutError):  # the provider waits for the client's turn
                await ws.receive(timeout=0.05)
            await ws.send_str("anything")
            got += [(await ws.receive()).data, (await ws.receive()).data]
            await ws.receive()
            return got, ws.close_code, ws.protocol

    got, closed, protocol = serve(session(end), client)
    assert got == ['{"type":"session.created"}', b"\x00\xff", '{"type":"response.done"}']
    assert (closed, protocol) == (code, "realtime")
