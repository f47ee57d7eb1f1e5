"""mitmdump is told to stop while all SDKs are in the midst of an answer: they have it whole, or an error of their own kind."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from aiohttp import web

from end_to_end import sdk_clients
from end_to_end.dialect_answers import TEXT, Break, Model
from end_to_end.fault_clients import Got, Refused, redelivered
from end_to_end.harness import DEADLINE, Authority, Gate, Provider, Proxy
from end_to_end.sdk_clients import RAISED, TORN, Heard, Sdk
from midstream.events import Event
from midstream.wire.framing import Framing
from translated import ANTHROPIC, CHAT, DIALECTS, GOOGLE, MODELS

PATHS = {"completions": CHAT, "responses": "openai_responses", "messages": ANTHROPIC, "chat": "ollama"}
"""By the last part of the path: the dialect asked. Gemini's has the model in it."""


@dataclass
class Halting(Model):
    """Says half of its answer, then waits for its gate."""

    halted: Gate = field(default_factory=Gate)

    async def _stream(
        self, request: web.Request, body: dict[str, Any], events: Sequence[Event], broken: Break | None
    ) -> web.StreamResponse:
        dialect = DIALECTS[self.dialect]
        assert dialect.encoder is not None
        encoder, framing = dialect.encoder(self._options(request)), Framing(dialect.framing(request.path_qs, body))
        response = web.StreamResponse(headers={"content-type": framing.content_type})
        await response.prepare(request)
        for number, event in enumerate(events):
            if number == len(events) // 2:
                self.halted.open()
                await self.gate.wait()
            if frames := encoder.feed(event):
                await response.write(framing.write(frames))
        return response


class Halfway:
    """All five dialects, all halting at the same gate."""

    def __init__(self, provider: Provider) -> None:
        self.gate = Gate()
        self.models = {dialect: Halting(dialect, TEXT, gate=self.gate) for dialect in DIALECTS}
        provider.handler = self._answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        return await self.models[PATHS.get(request.path.split("/")[-1], GOOGLE)](request)

    def wait(self) -> None:
        for model in self.models.values():
            assert model.halted._event.wait(DEADLINE)


class Asked:
    """Five SDKs, each in a thread, each with half of an answer."""

    def __init__(self, proxy: Proxy, halfway: Halfway, threads: ThreadPoolExecutor) -> None:
        seen = {dialect: threading.Event() for dialect in DIALECTS}
        self.futures: dict[str, Future[Heard]] = {
            dialect: threads.submit(Sdk(dialect, proxy, event.set).ask, MODELS[dialect])
            for dialect, event in seen.items()
        }
        halfway.wait()
        for event in seen.values():
            assert event.wait(DEADLINE)


@pytest.fixture(scope="module")
def upstream(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority, hosts=sdk_clients.HOSTS)
    yield provider
    provider.stop()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def start(
    folder: Path, authority: Authority, provider: Provider, confdir: Path, drain: float, script: str, more: str = ""
) -> Proxy:
    config = folder / "midstream.toml"
    config.write_text(f"[streams]\ndrain = {drain}\n{more}")
    return Proxy(
        folder,
        "--set",
        f"midstream_config={config}",
        scripts=(script,) if script == "all.py" else (script, "connect_to.py"),
        confdir=confdir,
        trust=authority.file,
        upstream=f"*.com:443:127.0.0.1:{provider.port}",
    )


@pytest.mark.parametrize("script", ["all.py", "measure_streams.py"])
def test_streams_in_flight_finish_while_new_ones_are_refused(
    authority: Authority, upstream: Provider, confdir: Path, tmp_path: Path, threads: ThreadPoolExecutor, script: str
) -> None:
    proxy, halfway = start(tmp_path, authority, upstream, confdir, 1000, script), Halfway(upstream)
    try:
        asked = Asked(proxy, halfway, threads)
        chat = _gateway_chat(proxy, halfway, threads) if script == "all.py" else None
        proxy.tell()
        proxy._said(r"lets (\d) streams finish")
        with pytest.raises(openai.InternalServerError) as refused:
            Sdk(CHAT, proxy).ask(MODELS[CHAT])
        assert (refused.value.status_code, refused.value.response.headers["retry-after"]) == (503, "5")
        assert refused.value.type == "shutting_down"
        with pytest.raises(anthropic.APIStatusError, match="being stopped"):
            Sdk(ANTHROPIC, proxy).ask(MODELS[ANTHROPIC])
        if chat is not None:
            _the_gateway_refuses(proxy)
        halfway.gate.open()
        for future in asked.futures.values():
            assert future.result(DEADLINE).told.text == TEXT.text
        assert chat is None or chat.result(DEADLINE).whole
        assert proxy.process.wait(DEADLINE) == 0
    finally:
        halfway.gate.open()
        proxy.stop()
    rows = proxy.rows(7 + (chat is not None))
    assert sorted(row["outcome"] for row in rows) == ["complete"] * (len(rows) - 2) + ["failed"] * 2
    assert {(row["http_status"], row["error_type"]) for row in rows if row["outcome"] == "failed"} == {
        (503, "shutting_down")
    }


def _gateway_chat(proxy: Proxy, halfway: Halfway, threads: ThreadPoolExecutor) -> Future[Got]:
    """A chat over a WebSocket of the gateway's, that has its first half as well."""
    halfway.models[CHAT].halted = halted = Gate()
    got = Got()

    def ask() -> Got:
        redelivered("websocket", CHAT, gateway=True)(proxy, "gpt-4o", got)
        return got

    future = threads.submit(ask)
    assert halted._event.wait(DEADLINE)
    return future


def _the_gateway_refuses(proxy: Proxy) -> None:
    """New chats, not the reading of what runs; and a load balancer sees it."""
    for delivery in ("sse", "text"):
        with pytest.raises(Refused, match="503"):
            redelivered(delivery, CHAT, gateway=True)(proxy, "gpt-4o", Got())
    with httpx.Client(proxy=proxy.url, base_url="http://midstream.internal") as client:
        health = client.get("/healthz")
        assert (health.status_code, health.json()) == (503, {"status": "draining"})
        (running,) = client.get("/v1/streams").json()["data"]
        with client.stream("GET", f"/v1/streams/{running['id']}") as again:
            assert again.status_code == 200


@pytest.mark.parametrize("end", ["limit", "second signal"])
def test_what_does_not_finish_ends_as_an_error_of_its_own_kind(
    authority: Authority, upstream: Provider, confdir: Path, tmp_path: Path, threads: ThreadPoolExecutor, end: str
) -> None:
    """Whether they are their clients' alone, or could be reattached to."""
    limit, more = (0.2, "") if end == "limit" else (1000, "reattach = 60")
    proxy, halfway = start(tmp_path, authority, upstream, confdir, limit, "all.py", more), Halfway(upstream)
    try:
        asked = Asked(proxy, halfway, threads)
        chat = _gateway_chat(proxy, halfway, threads)
        proxy.tell()
        proxy._said(r"lets (\d) streams finish")
        assert proxy.stop() == 0  # sends the second one
        for dialect, future in asked.futures.items():
            raised = future.exception(DEADLINE)
            assert isinstance(raised, RAISED[dialect]), (dialect, raised)
            assert not isinstance(raised, TORN)
        with pytest.raises(Refused, match="stopped"):
            chat.result(DEADLINE)
    finally:
        halfway.gate.open()
        proxy.stop()
    rows = proxy.rows(6)
    assert [(row["outcome"], row["error_type"]) for row in rows] == [("interrupted", "interrupted")] * 6
