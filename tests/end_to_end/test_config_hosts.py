"""Hosts that midstream.toml gives to a provider are recognised like the built-in ones, measuring and relaying."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from end_to_end.harness import DEADLINE, SETS, Authority, Provider, Proxy, chunks, running
from end_to_end.test_measure import ASK, CHAT, DONE, WHOLE, app, ask, rows_of

__all__ = ["app"]

BODY = b"".join(WHOLE)
CONFIG = """
[providers.mine]
dialect = "anthropic_messages"
base_url = "https://mcp.test"
hosts = ["mcp.test"]

[providers.openai]
hosts = ["vllm.test", "api.openai.com"]
"""


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


MESSAGE = b"".join(
    (
        event("message_start", message={"id": "m1", "role": "assistant", "model": "m", "content": [], "usage": {}}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"}),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}),
        event("message_stop"),
    )
)


def start(
    folder: Path, confdir: Path, authority: Authority, provider: Provider, scripts: tuple[str, ...], config: str
) -> Proxy:
    file = folder / "midstream.toml"
    file.write_text(config)
    upstream = f"::127.0.0.1:{provider.port}"
    option = ("--set", f"midstream_config={file}")
    return Proxy(folder, *option, scripts=scripts, confdir=confdir, trust=authority.file, upstream=upstream)


@pytest.fixture(scope="module", params=SETS)
def configured(
    request: pytest.FixtureRequest,
    authority: Authority,
    provider: Provider,
    confdir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("configured")
    with running(start(folder, confdir, authority, provider, SETS[request.param], CONFIG)) as proxy:
        yield proxy


def said(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["provider"], row["dialect"], row["outcome"]


def test_a_configured_host_speaks_its_dialect_under_any_prefix(configured: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(MESSAGE)
    body = ASK | {"max_tokens": 5}
    assert ask(configured, app, "https://mcp.test/api/claude/messages", body) == (200, MESSAGE)
    assert [said(row) for row in rows_of(configured, app)] == [("mine", "anthropic_messages", "complete")]


def test_other_dialects_of_a_configured_host_are_told_by_their_paths(
    configured: Proxy, provider: Provider, app: str
) -> None:
    provider.handler = chunks(*WHOLE)
    assert ask(configured, app, "https://mcp.test/v1/chat/completions") == (200, BODY)
    assert [said(row) for row in rows_of(configured, app)] == [("mine", "openai_chat", "complete")]


def test_a_stream_without_a_dialect_is_the_configured_providers(
    configured: Proxy, provider: Provider, app: str
) -> None:
    provider.handler = chunks(b'data: {"text":"Hi"}\n\n', DONE)
    ask(configured, app, "https://mcp.test/other", {"stream": True})
    assert [said(row) for row in rows_of(configured, app)] == [("mine", "unknown", "complete")]


def test_a_built_in_provider_gets_the_hosts_of_its_table(configured: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    for url in ("https://vllm.test/v1/chat/completions", CHAT):
        assert ask(configured, app, url) == (200, BODY)
    rows = rows_of(configured, app, 2)
    assert [said(row) for row in rows] == [("openai", "openai_chat", "complete")] * 2
    assert all(row["cost_usd"] > 0 for row in rows)


def test_a_websocket_of_a_configured_host(configured: Proxy, provider: Provider, app: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        response = {"id": "r1", "model": "gpt-5", "status": "in_progress"}
        await socket.send_json({"type": "response.created", "response": response})
        await socket.send_json({"type": "response.output_text.delta", "item_id": "i", "delta": "Hi"})
        await socket.send_json({"type": "response.completed", "response": response | {"status": "completed"}})
        await socket.receive()
        return socket

    async def talk() -> None:
        headers = {"user-agent": f"{app}/1"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.ws_connect(
                "wss://vllm.test/v1/responses", proxy=configured.url, ssl=configured.client_context()
            ) as socket,
        ):
            await socket.send_json({"type": "response.create", "model": "gpt-5", "input": "Hi"})
            for _ in range(3):
                await socket.receive_json()

    provider.handler = answer
    asyncio.run(talk())
    assert [said(row) for row in rows_of(configured, app)] == [("openai", "openai_responses", "complete")]


@pytest.mark.parametrize("scripts", SETS.values(), ids=SETS)
def test_a_change_of_hosts_comes_into_force_while_the_proxy_runs(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str, scripts: tuple[str, ...]
) -> None:
    provider.handler = chunks(*WHOLE)
    url = "https://vllm.test/v1/chat/completions"
    with running(start(tmp_path, confdir, authority, provider, scripts, "")) as proxy:
        ask(proxy, app, url)
        assert rows_of(proxy, app)[0]["provider"] == "vllm.test"
        table = '[providers.mine]\ndialect = "openai_chat"\nbase_url = "https://vllm.test"\nhosts = ["vllm.test"]\n'
        (tmp_path / "midstream.toml").write_text(table)
        until, count = time.monotonic() + DEADLINE, 1
        while rows_of(proxy, app, count)[-1]["provider"] != "mine":
            assert time.monotonic() < until
            ask(proxy, app, url)
            count += 1
        (tmp_path / "midstream.toml").write_text(table + "nonsense = 1\n")  # what is wrong changes nothing
        ask(proxy, app, url)
        assert rows_of(proxy, app, count + 1)[-1]["provider"] == "mine"


def test_a_file_that_is_broken_from_the_start_ends_a_measuring_mitmdump(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    proxy = start(tmp_path, confdir, authority, provider, SETS["measuring"], "nonsense = 1\n")
    try:
        assert proxy.process.wait(DEADLINE) == 1
    finally:
        proxy.process.kill()
    while proxy._lines.get(timeout=DEADLINE) is not None:  # its log is read by a thread
        pass
    assert any("midstream.toml:1: nonsense" in line for line in proxy.log)
