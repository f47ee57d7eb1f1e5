"""The provider's side: what has arrived is read to its end, however late."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from midstream.relay.upstream import Upstream, UpstreamOptions, UpstreamRequest

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (1000, b"x" * 1000)


@pytest.mark.parametrize("count", [200, 600])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_a_provider_that_closes_behind_its_answer_takes_nothing_of_it_along(
    tmp_path: Path, count: int, *, tls: bool
) -> None:
    """Its client may be slow: then reading is paused while the answer and its end lie in the system's buffers."""
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def fetch() -> int:
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

    assert asyncio.run(asyncio.wait_for(fetch(), 30)) == 1000 * count
