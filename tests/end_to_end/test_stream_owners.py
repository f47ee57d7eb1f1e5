"""Whose a stream is where the gateway has keys: it is read on by the credential that began it, and by no other."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from end_to_end import gateway_chats as chats
from end_to_end.gateway_chats import ASK, TEXT, WHOLE, Steps, answering, run
from end_to_end.harness import DEADLINE, Authority, Provider, Proxy, running

# --- whose a stream is, where the gateway has keys

KEY = "mst_the-key-of-an-app"


KEYED = f"""
[providers.openai]
api_key = "sk-the-providers-own"

[keys.app]
sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"
"""


@pytest.fixture
def keyed(authority: Authority, provider: Provider, confdir: Path, tmp_path: Path) -> Iterator[Proxy]:
    with running(chats.gateway_proxy(tmp_path, authority, provider, confdir, KEYED)) as keyed:
        yield keyed


OWN = {"authorization": "Bearer sk-a-clients-own"}


def test_an_intercepted_stream_is_read_on_by_the_credential_that_began_it(keyed: Proxy, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler
    url, lines = chats.url_of(keyed), {"accept": "application/x-ndjson"}
    more: dict[str, Any] = {"proxy": keyed.url, "ssl": keyed.client_context()}
    target = "https://api.openai.com/v1/chat/completions"

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(3)
        async with session.post(target, json=ASK, headers=OWN | lines, **more) as response:
            first = json.loads(await response.content.readline())
            path = f"{url}/v1/streams/{response.headers['x-stream-id']}"
            response.close()
        for headers in ({}, {"authorization": "Bearer sk-other"}, {"authorization": f"Bearer {KEY}x"}):
            for method in ("GET", "DELETE"):
                async with session.request(method, path, headers=headers) as refused:
                    assert refused.status == 401, (method, headers)
        async with session.get(path, headers={"authorization": f"Bearer {KEY}"}) as refused:
            assert refused.status == 404  # a key does not open what is not its own
        steps.go_on()
        async with session.get(f"{path}?after=1", headers=OWN | lines) as response:
            assert response.status == 200
            rest = [json.loads(line) for line in (await response.text()).splitlines()]
        assert chats.read([first, *rest]).text == TEXT
        async with session.post(path, headers=OWN) as refused:
            assert refused.status == 405

    run(ask)
    assert len(steps.bodies) == 1


def test_a_providers_credential_is_no_gateway_key(keyed: Proxy, provider: Provider) -> None:
    """Not though it may read one stream on: no chat, no list, and none on the socket that reads that stream."""
    steps = Steps()
    provider.handler = steps.handler
    url = chats.url_of(keyed)
    more: dict[str, Any] = {"proxy": keyed.url, "ssl": keyed.client_context()}

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go_on()
        target, lines = "https://api.openai.com/v1/chat/completions", {"accept": "application/x-ndjson"}
        async with session.post(target, json=ASK, headers=lines, **more) as response:
            await response.read()
            stream = response.headers["x-stream-id"]
        calls = [("GET", "/v1/streams"), ("POST", "/v1/chat/stream"), ("POST", "/v1/chat/completions")]
        for method, path in [*calls, ("GET", f"/v1/chat/stream?stream={stream}&after=1")]:
            async with session.request(method, url + path, json=ASK if method == "POST" else None) as refused:
                assert refused.status == 401, path
        async with session.ws_connect(f"{url}/v1/streams/{stream}") as socket_:
            assert chats.read(await chats.chat_on(socket_)).text == TEXT
            await socket_.send_json(ASK)
            assert (await socket_.receive_json(timeout=DEADLINE))["error"]["code"] == "invalid_api_key"

    run(ask, **OWN)
    assert len(steps.bodies) == 1


def test_a_key_that_is_taken_away_starts_no_chat_on_an_open_socket(keyed: Proxy, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)
    file = keyed.folder / "midstream.toml"

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"{chats.url_of(keyed)}/v1/chat/stream") as socket_:
            await socket_.send_json(ASK)
            assert chats.read(await chats.chat_on(socket_)).text == TEXT
            file.write_text(KEYED.replace("[keys.app]", "[keys.another]"))
            async with asyncio.timeout(DEADLINE):
                code = ""
                while not code:  # until the changed file is in force
                    await socket_.send_json(ASK)
                    first = await socket_.receive_json()
                    code = first.get("error", {}).get("code", "")
                    if not code:
                        await chats.chat_on(socket_)
                        await asyncio.sleep(0.1)
            assert code == "invalid_api_key"

    run(ask, authorization=f"Bearer {KEY}")
