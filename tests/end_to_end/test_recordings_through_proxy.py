"""Every recording, and every exchange of the corpus where MIDSTREAM_CORPUS names one, comes through byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

import exchanges
from end_to_end.harness import SETS, Authority, Provider, Proxy, running
from midstream.recording import read

ROOT = Path(__file__).parent.parent.parent
HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive", "date", "server"}


@dataclass(frozen=True)
class Recorded:
    """One exchange, wherever it was read from."""

    id: str
    method: str
    url: str
    request: Any
    status: int
    headers: dict[str, str]
    body: bytes
    model: str
    is_llm: bool

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


def _shipped() -> Iterator[Recorded]:
    for file in sorted((ROOT / "recordings").glob("*/*.jsonl")):
        recording = read(file)
        header = recording.header
        if header.response.status != 101:
            request, response = header.request, header.response
            yield Recorded(
                f"{file.parent.name}-{file.stem}", request.method, request.url, request.body, response.status,
                dict(response.headers), recording.body, (header.expect or {}).get("model") or "", True,
            )  # fmt: skip


def _corpus() -> Iterator[Recorded]:
    for e in exchanges.corpus():
        if e.kind != "websocket":
            yield Recorded(
                e.id.replace("/", "-"), e.request["method"], e.request["url"], e.request["body"], e.status, e.headers, e.body,
                e.expect.get("model") or "", "mcp" not in e.api and "pull" not in e.api,
            )  # fmt: skip


ALL = [*_shipped(), *_corpus()]


@pytest.fixture(scope="module")
def everyone(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority, hosts=tuple({r.host for r in ALL}))
    by_id = {r.id: r for r in ALL}

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        recorded = by_id[request.headers["x-recording"]]
        headers = {k: v for k, v in recorded.headers.items() if k.lower() not in HOP}
        response = web.StreamResponse(status=recorded.status, headers=headers)
        await response.prepare(request)
        for at in range(0, len(recorded.body), 997):
            await response.write(recorded.body[at : at + 997])
        return response

    provider.handler = answer
    yield provider
    provider.stop()


@pytest.fixture(scope="module", params=SETS)
def through(
    request: pytest.FixtureRequest,
    authority: Authority,
    everyone: Provider,
    confdir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    folder, scripts = tmp_path_factory.mktemp("through"), SETS[request.param]
    proxy = Proxy(
        folder, scripts=scripts, confdir=confdir, trust=authority.file, upstream=f"::127.0.0.1:{everyone.port}"
    )
    with running(proxy):
        yield proxy


async def fetch(proxy: Proxy, wanted: list[Recorded]) -> list[tuple[int, dict[str, str], bytes]]:
    context = proxy.client_context()
    limit = asyncio.Semaphore(8)

    async def one(session: aiohttp.ClientSession, recorded: Recorded) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(recorded.url)
        url = f"https://{parts.hostname}{parts.path}{'?' + parts.query if parts.query else ''}"
        body = json.dumps(recorded.request) if isinstance(recorded.request, dict) else str(recorded.request or "")
        headers = {
            "x-recording": recorded.id,
            "content-type": "application/json",
            "user-agent": f"r{ALL.index(recorded)}/1",
        }
        async with (
            limit,
            session.request(recorded.method, url, data=body, headers=headers, proxy=proxy.url, ssl=context) as response,
        ):
            return response.status, dict(response.headers), await response.read()

    async with aiohttp.ClientSession(auto_decompress=False) as session:
        return await asyncio.gather(*(one(session, recorded) for recorded in wanted))


def test_all_pass_untouched_and_have_their_rows(through: Proxy) -> None:
    for recorded, (status, headers, body) in zip(ALL, asyncio.run(fetch(through, ALL)), strict=True):
        assert status == recorded.status, recorded.id
        assert body == recorded.body, recorded.id
        lower = {k.lower(): v for k, v in headers.items()}
        for name, value in recorded.headers.items():
            if name.lower() not in HOP:
                assert lower[name.lower()] == value, (recorded.id, name)
    known = sum(r.is_llm for r in ALL)
    rows = through.rows(known)
    assert len(rows) == known
    assert {row["outcome"] for row in rows} <= {"complete", "failed", "truncated"}
    assert not [row for row in rows if row["outcome"] == "complete" and row["http_status"] >= 400]
