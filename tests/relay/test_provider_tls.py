"""A connection takes up the TLS session of the last one to the same host, whichever version of TLS, and of no other host."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from aiohttp import web

from midstream.connect import parse_spec
from midstream.relay import provider_tls
from midstream.relay.upstream import Upstream, UpstreamOptions, UpstreamRequest

HOSTS = ("one.test", "other.test")


@contextlib.asynccontextmanager
async def provider(ca: trustme.CA, version: ssl.TLSVersion, reused: list[bool]) -> AsyncIterator[int]:
    """Notes of each connection whether it took up a session, and closes it behind its answer."""

    async def answer(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        reused.append(request.transport.get_extra_info("ssl_object").session_reused)
        return web.Response(headers={"connection": "close"})

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    ca.issue_cert(*HOSTS).configure_cert(context)
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def ask(upstream: Upstream, host: str) -> None:
    response = await upstream.open(UpstreamRequest(method="GET", url=f"https://{host}/", headers=[], body=b""))
    assert [piece async for piece in response.pieces()] == []
    response.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=str)
def test_sessions_are_taken_up_by_host(version: ssl.TLSVersion, tmp_path: Path) -> None:
    ca, reused = trustme.CA(), list[bool]()
    authority = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(authority))

    async def run() -> None:
        async with provider(ca, version, reused) as port:
            upstream = Upstream(
                UpstreamOptions(trusted_ca=str(authority), connect_to=[parse_spec(f"::127.0.0.1:{port}")])
            )
            for host in (HOSTS[0], HOSTS[0], HOSTS[1], HOSTS[0], HOSTS[1]):
                await ask(upstream, host)
            await upstream.close()

    asyncio.run(run())
    assert reused == [False, True, False, True, True]


def test_a_provider_that_has_forgotten_a_session_is_asked_anew(tmp_path: Path) -> None:
    """Two providers behind one name share no keys of tickets."""
    ca, reused = trustme.CA(), list[bool]()
    authority = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(authority))

    async def run() -> None:
        version = ssl.TLSVersion.TLSv1_3
        async with provider(ca, version, reused) as one, provider(ca, version, reused) as other:
            specs = [parse_spec(f"one.test::127.0.0.1:{one}")]
            upstream = Upstream(UpstreamOptions(trusted_ca=str(authority), connect_to=specs))
            await ask(upstream, "one.test")
            specs[0] = parse_spec(f"one.test::127.0.0.1:{other}")
            await ask(upstream, "one.test")
            await upstream.close()

    asyncio.run(run())
    assert reused == [False, False]


def test_a_session_is_asked_for_seldom() -> None:
    """CPython never frees one that was."""
    asked, sessions = list[int](), provider_tls._Sessions()

    class Connection:
        def __init__(self, number: int) -> None:
            self.number = number

        @property
        def session(self) -> int:
            asked.append(self.number)
            return self.number

    def connect(number: int, now: float, host: str = "one.test") -> Any:
        session = sessions.of(host, now)
        sessions.note(host, cast(ssl.SSLObject, Connection(number)))
        return session

    assert [connect(number, float(number)) for number in range(5)] == [None, 0, 0, 0, 0]
    assert asked == [0]
    assert [connect(number, provider_tls.ANEW + number) for number in (5, 6)] == [4, 4]
    assert asked == [0, 4]
    for number in range(provider_tls.HOSTS):  # as many others, and this one is forgotten
        connect(number, provider_tls.ANEW + 6, f"{number}.test")
    assert connect(7, provider_tls.ANEW + 7) is None
