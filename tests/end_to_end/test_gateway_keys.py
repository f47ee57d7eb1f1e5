"""The gateway with keys, and how long its streams live: who may do what, what is cancelled when, and what nobody gets to see."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import anthropic
import openai
import pytest

from end_to_end import gateway_chats as chats
from end_to_end.gateway_chats import ASK, TEXT, WHOLE, Events, Steps, answering, run
from end_to_end.harness import DEADLINE, Authority, Provider, Proxy, running

TOKENS = {name: f"mst_{name}-token-of-many-random-characters" for name in ("app", "other", "narrow", "old", "single")}
SECRET = "sk-the-providers-own-secret"
CONFIG = f"""
[providers.openai]
api_key = "{SECRET}"

[providers.mistral]
hosts = []

[streams]
grace = 0.3
keep = 1.0

[gateway]
allowed_origins = ["https://app.example.com"]

[keys.app]
sha256 = "{hashlib.sha256(TOKENS["app"].encode()).hexdigest()}"

[keys.other]
sha256 = "{hashlib.sha256(TOKENS["other"].encode()).hexdigest()}"

[keys.narrow]
sha256 = "{hashlib.sha256(TOKENS["narrow"].encode()).hexdigest()}"
models = ["gpt-4o-mini*"]

[keys.old]
sha256 = "{hashlib.sha256(TOKENS["old"].encode()).hexdigest()}"
expires = 2020-01-01

[keys.single]
sha256 = "{hashlib.sha256(TOKENS["single"].encode()).hexdigest()}"
max_streams = 1
"""


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    proxy = chats.gateway_proxy(tmp_path_factory.mktemp("keys"), authority, provider, confdir, CONFIG)
    with running(proxy):
        yield proxy


@pytest.fixture
def url(proxy: Proxy) -> str:
    return chats.url_of(proxy)


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {TOKENS[name]}"}


def test_who_may_and_who_may_not(url: str, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)
    cases = [
        ({}, ASK, 401),
        ({"authorization": "Bearer mst_wrong"}, ASK, 401),
        ({"authorization": "Basic dXNlcjpwYXNz"}, ASK, 401),
        (bearer("old"), ASK, 401),
        (bearer("app"), ASK, 200),
        (bearer("narrow"), ASK, 200),
        (bearer("narrow"), ASK | {"model": "openai/gpt-4o-mini"}, 200),
        (bearer("narrow"), ASK | {"model": "gpt-4o"}, 403),
        (bearer("narrow"), ASK | {"model": "claude-haiku-4-5"}, 403),
    ]

    async def ask(session: aiohttp.ClientSession) -> None:
        for headers, body, status in cases:
            async with session.post(f"{url}/v1/chat/stream", json=body, headers=headers) as response:
                assert response.status == status, (headers, body)
                if status != 200:
                    assert (await response.json())["error"]["message"]
                if status == 401:
                    assert response.headers["www-authenticate"].startswith("Bearer")
                await response.read()

    run(ask)


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/chat/stream", "/", "/v1/streams/x"])
def test_everything_but_health_needs_a_key(url: str, path: str) -> None:
    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.get(url + path) as response:
            assert response.status == 401
        async with session.get(f"{url}/healthz") as response:
            assert response.status == 200

    run(ask)


def test_a_token_in_the_query_and_where_it_never_shows(url: str, provider: Provider, proxy: Proxy) -> None:
    provider.handler = answering(*WHOLE)
    before = len(provider.requests)

    async def ask(session: aiohttp.ClientSession) -> None:
        query = {"model": "gpt-4o-mini", "prompt": "Hi", "access_token": TOKENS["app"]}
        async with session.get(f"{url}/v1/chat/stream", params=query) as response:
            assert response.status == 200
            said = f"{response.headers} {await response.text()}"
            assert SECRET not in said
        async with session.ws_connect(f"{url}/v1/chat/stream?access_token={TOKENS['app']}") as socket:
            await socket.send_json(ASK)
            assert chats.read(await chats.chat_on(socket)).text == TEXT

    run(ask)
    for request in provider.requests[before:]:
        assert request.headers["authorization"] == f"Bearer {SECRET}"
        assert TOKENS["app"] not in str(request.headers) + str(request.rel_url)
    rows = proxy.rows(2, "key = 'app' and outcome is not null")
    assert TOKENS["app"] not in json.dumps(rows) + "".join(proxy.log)
    assert SECRET not in json.dumps(rows) + "".join(proxy.log)


def test_a_gateway_key_is_not_forwarded_to_a_provider_without_a_key_of_its_own(url: str, provider: Provider) -> None:
    before = len(provider.requests)

    async def ask(session: aiohttp.ClientSession) -> None:
        for path in ("/v1/chat/stream", "/v1/chat/completions"):
            body = ASK | {"model": "mistral-large-latest", "stream": True}
            async with session.post(url + path, json=body, headers=bearer("app")) as response:
                assert response.status == 500
                assert "API key" in (await response.json())["error"]["message"]

    run(ask)
    assert len(provider.requests) == before


def test_a_stream_is_its_owners_alone(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(2)
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers=bearer("app")) as response:
            stream = response.headers["x-stream-id"]
            for method in ("GET", "DELETE"):
                async with session.request(method, f"{url}/v1/streams/{stream}", headers=bearer("other")) as refused:
                    assert refused.status == 404
            headers = bearer("other") | {"last-event-id": f"{stream}:1"}
            async with session.get(f"{url}/v1/chat/stream", headers=headers) as refused:
                assert refused.status == 404
            async with session.get(f"{url}/v1/streams", headers=bearer("other")) as listed:
                assert (await listed.json())["data"] == []
            async with session.get(f"{url}/v1/streams", headers=bearer("app")) as listed:
                assert [item["id"] for item in (await listed.json())["data"]] == [stream]
            async with session.ws_connect(f"{url}/v1/chat/stream", headers=bearer("other")) as socket:
                await socket.send_json({"type": "resume", "stream": stream, "after": 0})
                assert json.loads(await socket.receive_str(timeout=DEADLINE))["error"]["code"] == "stream_not_found"
            steps.go_on()
            await response.read()

    run(ask)


def test_a_cap_on_concurrent_streams(url: str, provider: Provider) -> None:
    steps = Steps()
    provider.handler = steps.handler

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(2)
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers=bearer("single")) as response:
            for path in ("/v1/chat/stream", "/v1/chat/completions"):
                async with session.post(url + path, json=ASK, headers=bearer("single")) as refused:
                    assert refused.status == 429
                    assert (await refused.json())["error"]["type"] == "rate_limit_error"
            steps.go_on()
            await response.read()
        provider.handler = answering(*WHOLE)
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers=bearer("single")) as response:
            assert response.status == 200
            await response.read()

    run(ask)


@pytest.mark.parametrize("how", ["sse", "websocket", "never read"])
def test_a_stream_without_a_reader_is_cancelled_after_the_grace_time(
    url: str, provider: Provider, proxy: Proxy, how: str
) -> None:
    steps = Steps()
    provider.handler = steps.handler
    app = f"grace-{how.replace(' ', '-')}"
    taken = []

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(3)
        if how == "websocket":
            async with session.ws_connect(f"{url}/v1/chat/stream") as socket:
                await socket.send_json(ASK)
                await socket.receive_str(timeout=DEADLINE)
        else:
            prefer = {"prefer": "respond-async"} if how == "never read" else {}
            async with session.post(f"{url}/v1/chat/stream", json=ASK, headers=prefer) as response:
                if how == "sse":
                    await Events(response).next()
                response.close()
        left = time.monotonic()
        await steps.cancelled.wait()
        taken.append(time.monotonic() - left)

    run(ask, **bearer("app"), **{"user-agent": app})
    assert steps.cancelled.is_open
    assert taken[0] > 0.2  # the grace time is 0.3 s
    row = proxy.rows(1, f"app = '{app}' and outcome is not null")[0]
    assert (row["outcome"], row["error_type"]) == ("client_gone", "abandoned")


def test_a_stream_expires(url: str, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)

    async def ask(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{url}/v1/chat/stream", json=ASK, headers=bearer("app")) as response:
            stream = response.headers["x-stream-id"]
            await response.read()
        status, until = 200, time.monotonic() + DEADLINE
        while status == 200 and time.monotonic() < until:
            await asyncio.sleep(1.2)  # longer than it is kept after its last reader
            async with session.get(f"{url}/v1/streams/{stream}", headers=bearer("app")) as response:
                status = response.status
                await response.read()
        assert status == 410
        async with session.get(f"{url}/v1/streams/{stream}", headers=bearer("other")) as response:
            assert response.status == 404

    run(ask)


def test_official_sdks_bring_their_gateway_key(url: str, provider: Provider) -> None:
    provider.handler = answering(*WHOLE)
    with openai.OpenAI(base_url=f"{url}/v1", api_key=TOKENS["app"], max_retries=0) as client:
        answer = client.chat.completions.create(
            model="gpt-4o-mini", stream=True, messages=[{"role": "user", "content": "x"}]
        )
        assert "".join(c.choices[0].delta.content or "" for c in answer if c.choices) == TEXT
    assert provider.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="mst_wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}])
    with (
        anthropic.Anthropic(base_url=url, api_key="mst_wrong", max_retries=0) as claude,
        pytest.raises(anthropic.AuthenticationError) as refused,
    ):
        claude.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert refused.value.body["type"] == "error"  # type: ignore[index]
    with (
        anthropic.Anthropic(base_url=url, api_key=TOKENS["narrow"], max_retries=0) as claude,
        pytest.raises(anthropic.PermissionDeniedError),
    ):
        claude.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "x"}])


def test_a_configured_origin_and_no_other(url: str) -> None:
    async def ask(session: aiohttp.ClientSession) -> None:
        asked = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
        for origin, status in (("https://app.example.com", 204), ("http://localhost:3000", 403), ("null", 403)):
            async with session.options(f"{url}/v1/chat/stream", headers=asked | {"origin": origin}) as response:
                assert response.status == status
                assert response.headers.get("access-control-allow-origin") == (origin if status == 204 else None)
        async with session.get(f"{url}/v1/streams", headers={"origin": "https://app.example.com"}) as response:
            assert response.status == 401
            assert (
                response.headers["access-control-allow-origin"] == "https://app.example.com"
            )  # so that the page sees why

    run(ask)


def test_a_changed_configuration_comes_into_force(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    provider.handler = answering(*WHOLE)
    proxy = chats.gateway_proxy(tmp_path, authority, provider, confdir, "")
    file = tmp_path / "midstream.toml"

    async def status(session: aiohttp.ClientSession) -> int:
        async with session.get(f"{chats.url_of(proxy)}/v1/streams") as response:
            return response.status

    async def until(session: aiohttp.ClientSession, wanted: int) -> None:
        end = time.monotonic() + DEADLINE
        while await status(session) != wanted:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)

    async def ask(session: aiohttp.ClientSession) -> None:
        assert await status(session) == 200
        file.write_text(CONFIG)
        await until(session, 401)
        file.write_text("nonsense = ")
        await asyncio.to_thread(proxy._said, "(not TOML)")
        assert await status(session) == 401
        file.write_text("")
        await until(session, 200)

    with running(proxy):
        run(ask)


def test_what_runs_when_mitmdump_stops_is_interrupted(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    steps = Steps()
    provider.handler = steps.handler
    proxy = chats.gateway_proxy(tmp_path, authority, provider, confdir, "")

    async def ask(session: aiohttp.ClientSession) -> None:
        steps.go(3)
        async with session.post(f"{chats.url_of(proxy)}/v1/chat/stream", json=ASK) as response:
            events = Events(response)
            await events.next()
            await asyncio.to_thread(proxy.stop)
            try:
                rest = await events.rest()
            except aiohttp.ClientError:
                return
            assert all(event.data != "[DONE]" for event in rest)

    with running(proxy):
        run(ask)
    assert proxy.rows(1, "outcome = 'interrupted'")
