"""Every address that the gateway has: an IPv6 listener, TLS with a certificate of one's own, and its name behind the proxy."""

from __future__ import annotations

import json
import re
import shlex
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from end_to_end import gateway_chats as chats
from end_to_end.chromium import Chromium, Pages, page
from end_to_end.gateway_answers import STOPS, anthropic_messages
from end_to_end.gateway_chats import ASK, TEXT, WHOLE, Events, answering, run
from end_to_end.harness import DEADLINE, Authority, Provider, Proxy, clean_environment, running
from end_to_end.web_clients import KEYS, TOKEN, need

BASES = ("http://midstream.internal", "https://midstream.internal")
bases = pytest.mark.parametrize("base", BASES)
GUIDE = Path(__file__).parent.parent.parent / "docs" / "gateway.md"


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    config = '[providers.openai]\napi_key = "sk-provider-secret"\n'
    with running(
        chats.gateway_proxy(tmp_path_factory.mktemp("listeners"), authority, provider, confdir, config)
    ) as proxy:
        yield proxy


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_listener(authority: Authority, provider: Provider, confdir: Path, tmp_path: Path) -> None:
    """Without keys: ::1 is this machine, too, as its clients' address and in the Host header."""
    provider.handler = answering(*WHOLE)
    ipv6 = chats.gateway_proxy(tmp_path, authority, provider, confdir, "", at="::1")

    async def ask(session: aiohttp.ClientSession) -> None:
        url = chats.url_of(ipv6)
        assert url.startswith("http://[::1]:")
        for deliver in (chats.over_sse, chats.over_lines, chats.over_websocket):
            assert (await deliver(session, url, ASK)).text == TEXT
        secure, context = url.replace("http:", "https:"), ipv6.client_context()
        async with session.post(f"{secure}/v1/chat/stream", json=ASK, ssl=context) as response:
            assert (await Events(response).rest())[-1].data == "[DONE]"
        async with session.get(f"{url}/v1/streams", headers={"origin": "http://[::1]:3000"}) as response:
            assert response.headers["access-control-allow-origin"] == "http://[::1]:3000"
        async with session.get(f"{url}/v1/streams", headers={"host": "[2001:db8::1]"}) as response:
            assert response.status == 403

    with running(ipv6):
        run(ask)
        assert {row["client"] for row in ipv6.rows(4)} == {"::1"}


def documented_options() -> list[str]:
    """The options for a certificate, as docs/gateway.md has them."""
    found = re.search(r"`(--certs proxy\.example\.com=\S+)`", GUIDE.read_text())
    assert found
    return shlex.split(found.group(1))


def test_tls_with_a_certificate_of_ones_own(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guide, to the letter: cert.pem has the certificate with its chain, and the key."""
    provider.handler = answering(*WHOLE)
    chain, key = authority.write_certificate(tmp_path, "proxy.example.com")
    with Path(chain).open("a") as file:
        file.write(Path(key).read_text())
    monkeypatch.chdir(tmp_path)
    proxy = chats.gateway_proxy(tmp_path, authority, provider, confdir, KEYS, *documented_options())
    port = int(chats.url_of(proxy).rpartition(":")[2])
    trusting = ssl.create_default_context(cafile=str(authority.file))  # and nothing of mitmproxy's own authority

    async def ask(session: aiohttp.ClientSession) -> None:
        base = f"https://127.0.0.1:{port}"
        named: dict[str, Any] = {"ssl": trusting, "server_hostname": "proxy.example.com"}
        headers = {"host": "proxy.example.com", "authorization": f"Bearer {TOKEN}"}
        async with session.post(f"{base}/v1/chat/stream", json=ASK, headers=headers, **named) as response:
            assert len(await Events(response).rest()) == len(WHOLE)
        async with session.ws_connect(f"{base}/v1/chat/stream", headers=headers, **named) as socket_:
            await socket_.send_json(ASK)
            assert chats.read(await chats.chat_on(socket_)).text == TEXT
        own = headers | {"origin": "https://proxy.example.com"}  # the gateway's own origin may call it
        async with session.get(f"{base}/v1/streams", headers=own, **named) as response:
            assert response.status == 200
        other: dict[str, Any] = {
            "ssl": trusting,
            "server_hostname": "other.example.com",
        }  # which mitmproxy's own authority signs
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"{base}/healthz", **other)

    with running(proxy):
        run(ask)


def curl(proxy: Proxy, *args: str) -> str:
    command = ["curl", "-sS", "--max-time", str(DEADLINE), "-x", proxy.url, "--cacert", str(proxy.ca), *args]
    done = subprocess.run(command, capture_output=True, env=clean_environment(), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@bases
def test_curl_through_the_proxy(proxy: Proxy, provider: Provider, base: str) -> None:
    provider.handler = answering(*WHOLE)
    assert "/v1/chat/stream" in curl(proxy, f"{base}/")
    assert json.loads(curl(proxy, f"{base}/healthz")) == {"status": "ok"}
    said = curl(proxy, "-N", "-d", json.dumps(ASK), f"{base}/v1/chat/stream")
    assert said.count("\nid: ") == len(WHOLE) + 1  # and the opening event
    assert curl(proxy, "-H", "accept: text/plain", "-d", json.dumps(ASK), f"{base}/v1/chat/stream") == TEXT
    query = f"{base}/v1/chat/stream?model=gpt-4o-mini&prompt=Hi"
    assert curl(proxy, "-H", "accept: text/plain", query) == TEXT


@bases
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_over_both_http_versions(proxy: Proxy, provider: Provider, base: str, version: str) -> None:
    provider.handler = answering(*WHOLE)
    path = f"{base}/v1/chat/stream"
    said = curl(proxy, version, "-w", "|%{http_version}", "-H", "accept: text/plain", "-d", json.dumps(ASK), path)
    spoken = "2" if version == "--http2" and base.startswith("https") else "1.1"
    assert said == f"{TEXT}|{spoken}"


@bases
def test_official_sdks_through_the_proxy(
    proxy: Proxy, provider: Provider, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": str(proxy.ca)}.items():
        monkeypatch.setenv(name, value)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    provider.handler = answering(*WHOLE)
    with openai.OpenAI(base_url=f"{base}/v1", api_key="sk-mine", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="gpt-4o-mini", stream=True, messages=[{"role": "user", "content": "x"}]
        )
        assert "".join(c.choices[0].delta.content or "" for c in answer if c.choices) == TEXT
    assert provider.requests[-1].headers["authorization"] == "Bearer sk-provider-secret"
    provider.handler = answering(*anthropic_messages(STOPS))
    with (
        anthropic.Anthropic(base_url=base, api_key="sk-ant-mine", max_retries=0) as claude,
        claude.messages.stream(
            model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        ) as stream,
    ):
        assert stream.get_final_text() == "Hello wörld 🌍, I look."
    assert provider.requests[-1].headers["x-api-key"] == "sk-ant-mine"


@bases
def test_a_browser_through_the_proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, base: str
) -> None:
    """A page of this machine, in a browser that has the proxy set: EventSource, fetch and WebSocket."""
    need("chromium")
    provider.handler = answering(*WHOLE)
    proxy = chats.gateway_proxy(tmp_path, authority, provider, confdir, KEYS)
    pages = Pages(authority)
    with running(proxy):
        chromium = Chromium(tmp_path, proxy.ca, proxy.url)
        try:
            with page(chromium, pages, "eventsource", f"{base}/v1/chat/stream") as seen:
                got = [seen.next() for _ in range(len(WHOLE))]
                assert got[-1]["data"] == "[DONE]"
                assert chats.read([json.loads(event["data"]) for event in got[:-1]]).text == TEXT
            with page(chromium, pages, "fetch", f"{base}/v1/chat/stream", accept="text/plain") as seen:
                assert seen.next()["status"] == 200
                seen.texts_until(TEXT)
            with page(chromium, pages, "websocket", f"{base}/v1/chat/stream") as seen:
                messages = [seen.next()["data"] for _ in range(2 * len(WHOLE))]
                assert messages.count("[DONE]") == 2
                assert seen.next() == {"closed": 1000}
        finally:
            chromium.stop()
            pages.stop()


def test_its_name_needs_no_dns_and_leaves_no_trace_at_a_provider(proxy: Proxy, provider: Provider) -> None:
    before = len(provider.requests)
    for base in (*BASES, "http://MIDSTREAM.internal.", "http://midstream.internal:8123"):
        assert json.loads(curl(proxy, f"{base}/healthz")) == {"status": "ok"}, base
    with pytest.raises(OSError, match=r"."):
        socket.create_connection(("midstream.internal", 80), timeout=DEADLINE)
    assert len(provider.requests) == before


def test_a_token_in_a_query_is_in_no_flow_and_no_log(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    provider.handler = answering(*WHOLE)
    saved = tmp_path / "flows"
    talkative = tmp_path / "talkative.py"
    talkative.write_text("from mitmproxy import ctx\n\ndef running():\n    ctx.options.flow_detail = 4\n")
    verbose = ("--save-stream-file", str(saved), "-s", str(talkative), "--set", "termlog_verbosity=debug")
    proxy = chats.gateway_proxy(tmp_path, authority, provider, confdir, KEYS, *verbose)

    async def ask(session: aiohttp.ClientSession) -> None:
        query = {"model": "gpt-4o-mini", "prompt": "a prompt to find", "access_token": TOKEN}
        ways: list[tuple[str, Any]] = [(chats.url_of(proxy), {}), (BASES[0], {"proxy": proxy.url})]
        for base, through in ways:
            async with session.get(f"{base}/v1/chat/stream", params=query, **through) as response:
                assert response.status == 200
                await response.read()
            async with session.ws_connect(f"{base}/v1/chat/stream?access_token={TOKEN}", **through) as socket_:
                await socket_.send_json(ASK)
                await chats.chat_on(socket_)
        wrong = {"model": "gpt-4o-mini", "prompt": "x", "access_token": TOKEN + "x"}
        async with session.get(f"{chats.url_of(proxy)}/v1/chat/stream", params=wrong) as response:
            assert response.status == 401
            assert TOKEN not in await response.text()

    with running(proxy):
        run(ask)
        proxy.rows(4)
    log, flows = "".join(proxy.log), saved.read_bytes()
    assert "/v1/chat/stream" in log
    assert b"/v1/chat/stream" in flows
    assert TOKEN not in log
    assert TOKEN.encode() not in flows
