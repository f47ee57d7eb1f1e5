"""The provider's side: what has arrived is read to its end, however late, and whoever gives up waiting for it can wait again."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from aiohttp.client_proto import ResponseHandler

from midstream.relay import upstream as upstreams
from midstream.relay.upstream import Upstream, UpstreamOptions, UpstreamRequest

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (1000, b"x" * 1000)


@pytest.mark.parametrize("count", [200, 600])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_a_provider_that_closes_behind_its_answer_takes_nothing_of_it_along(
    tmp_path: Path, count: int, *, tls: bool
) -> None:
    """Its client may be slow: then reading is paused while the answer and its end lie in the system's buffers."""
    assert asyncio.run(asyncio.wait_for(_fetch(tmp_path, count, tls=tls), 30)) == 1000 * count


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_what_is_taken_of_a_socket_at_once_is_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tls: bool
) -> None:
    """All other streams wait for it. Over TLS one read more may lie behind a pause."""
    sizes = list[int]()

    def see(self: ResponseHandler, data: bytes) -> None:
        sizes.append(len(data))
        ResponseHandler.data_received(self, data)

    monkeypatch.setattr(upstreams._Connection, "data_received", see, raising=False)
    assert asyncio.run(asyncio.wait_for(_fetch(tmp_path, 300, tls=tls), 30)) == 300_000
    assert max(sizes) <= (2 if tls else 1) * upstreams.READ_AT_ONCE < sum(sizes)


async def _fetch(tmp_path: Path, count: int, *, tls: bool) -> int:
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    sent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + CHUNK * count + b"0\r\n\r\n")
        writer.close()
        sent.set()

    server = await asyncio.start_server(serve, "localhost", 0, ssl=context if tls else None)
    upstream = Upstream(UpstreamOptions(trusted_ca=str(tmp_path / "ca.pem")))
    port, size = server.sockets[0].getsockname()[1], 0
    url = f"http{'s' if tls else ''}://localhost:{port}/"
    response = await upstream.open(UpstreamRequest(method="GET", url=url, headers=[], body=b""))
    async for piece in response.pieces():
        await sent.wait()
        for _ in range(5):  # everybody else has their turn: what closes has closed
            await asyncio.sleep(0.001)
        size += len(piece)
    response.close()
    await upstream.close()
    server.close()
    return size


def test_waiting_for_the_next_piece_can_be_cancelled_and_taken_up_again() -> None:
    """As with a provider that is silent before its first token: its head is shown meanwhile, and its answer is still to come."""

    async def fetch() -> list[bytes]:
        go_on = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD)
            await go_on.wait()
            writer.write(CHUNK + b"0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "localhost", 0)
        upstream = Upstream(UpstreamOptions())
        url = f"http://localhost:{server.sockets[0].getsockname()[1]}/"
        response = await upstream.open(UpstreamRequest(method="GET", url=url, headers=[], body=b""))
        pieces = response.pieces()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(pieces)
        go_on.set()
        got = [piece async for piece in pieces]
        response.close()
        await upstream.close()
        server.close()
        return got

    assert b"".join(asyncio.run(asyncio.wait_for(fetch(), 30))) == b"x" * 1000
