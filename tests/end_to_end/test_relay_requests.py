"""Requests that are unlike others, and addons that look at them: with the relay all is as with plain mitmdump."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from databases import until
from end_to_end import gateway_chats as chats
from end_to_end.harness import DEADLINE, SETS, Authority, Provider, Proxy, chunks, running
from end_to_end.test_measure import ASK, CHAT, WHOLE

BODY = b"".join(WHOLE)


@pytest.fixture(scope="module")
def plain_provider(authority: Authority) -> Iterator[Provider]:
    """Without TLS: an HTTP/1.0 client speaks to mitmproxy in the clear."""
    provider = Provider(authority, tls=False)
    yield provider
    provider.stop()


@pytest.fixture(scope="module", params=SETS)
def proxy(
    request: pytest.FixtureRequest, authority: Authority, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with running(
        Proxy(tmp_path_factory.mktemp("requests"), scripts=SETS[request.param], confdir=confdir, trust=authority.file)
    ) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def gateway(
    authority: Authority, plain_provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    config = f'[providers.openai]\nbase_url = "http://127.0.0.1:{plain_provider.port}"\napi_key = "sk-x"\n'
    folder = tmp_path_factory.mktemp("old")
    scripts = ("relay_streams.py",)
    with running(chats.gateway_proxy(folder, authority, plain_provider, confdir, config, scripts=scripts)) as proxy:
        yield proxy


def post(url: str, host: str = "", *headers: str, version: str = "1.1", body: Any = ASK) -> bytes:
    """A request as it is on the wire; the connection is closed behind it."""
    data = json.dumps(body).encode()
    host = host or url.partition("://")[2].partition("/")[0]
    lines = [f"POST {url} HTTP/{version}", f"host: {host}", "content-type: application/json", "connection: close"]
    return "\r\n".join([*lines, f"content-length: {len(data)}", *headers]).encode("latin-1") + b"\r\n\r\n" + data


def say(port: int, request: bytes) -> tuple[bytes, bytes]:
    """The head and the body of what comes until the other side closes."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
        client.sendall(request)
        while data := client.recv(1 << 16):
            got += data
    head, _, body = got.partition(b"\r\n\r\n")
    return head.lower(), body


def nothing_is_left(proxy: Proxy) -> bool:
    return not proxy._query("select * from in_flight")


def test_a_client_of_http_1_0_gets_the_body_as_it_is(proxy: Proxy, plain_provider: Provider) -> None:
    """RFC 9112, 6.1: no chunked body for it."""
    plain_provider.handler = chunks(*WHOLE)
    url = f"http://127.0.0.1:{plain_provider.port}/v1/chat/completions"
    head, body = say(proxy.port, post(url, version="1.0"))
    assert b"transfer-encoding" not in head
    assert body == BODY


@pytest.mark.parametrize("accept", ["", "accept: application/x-ndjson"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/stream"])
def test_a_client_of_http_1_0_at_the_gateway(gateway: Proxy, plain_provider: Provider, path: str, accept: str) -> None:
    plain_provider.handler = chunks(*WHOLE)
    before = len(gateway._query("select * from streams"))
    headers = [accept] if accept else []
    head, body = say(int(chats.url_of(gateway).rpartition(":")[2]), post(path, "localhost", *headers, version="1.0"))
    assert b" 200 " in head
    assert b"transfer-encoding" not in head
    assert body.endswith(b"data: [DONE]\n\n" if "stream" not in path and not accept else b"\n")
    assert b"Hello" in body
    assert gateway.rows(before + 1)[-1]["outcome"] == "complete"
    assert nothing_is_left(gateway)


def test_the_address_asked_for_is_where_the_request_goes(proxy: Proxy, plain_provider: Provider) -> None:
    """Whatever name the Host header has for it: in reverse mode that may be anything."""
    plain_provider.handler = chunks(*WHOLE)
    url = f"http://127.0.0.1:{plain_provider.port}/v1/chat/completions"
    assert say(proxy.port, post(url, "nowhere.invalid"))[1].endswith(b"0\r\n\r\n")
    assert plain_provider.requests[-1].headers["host"] == "nowhere.invalid"


@pytest.mark.parametrize("host", ["xn--a", "[bad", "a:99999", "a\\b", "\u00e4\u00ff", "-"])
def test_a_host_that_is_no_name_leaves_nothing(proxy: Proxy, plain_provider: Provider, host: str) -> None:
    plain_provider.handler = chunks(*WHOLE)
    url = f"http://127.0.0.1:{plain_provider.port}/v1/chat/completions"
    head, _ = say(proxy.port, post(url, host))
    assert head.startswith(b"http/1.1 ")
    until(lambda: nothing_is_left(proxy))
    assert "Traceback" not in "".join(proxy.log)


def test_headers_reach_the_provider_as_they_are(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    """The cookies of an HTTP/2 client may come one by one, and go on in one line (RFC 9113, 8.2.3)."""
    provider.handler = chunks(*WHOLE)
    upstream = f"::127.0.0.1:{provider.port}"
    made = Proxy(tmp_path, scripts=SETS["relaying"], confdir=confdir, trust=authority.file, upstream=upstream)
    with (
        running(made) as proxy,
        httpx.Client(http2=True, proxy=proxy.url, verify=proxy.client_context(), timeout=DEADLINE) as client,
    ):
        headers = [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"x-title", "Zoë".encode()), (b"x-old", b"caf\xe9 x")]
        assert client.post(CHAT, json=ASK, headers=headers).content == BODY
    asked = provider.requests[-1].headers
    assert asked.getall("cookie") == ["a=1; b=2"]
    assert (asked["x-title"], asked["x-old"]) == ("Zoë", "café x")


def test_what_is_the_first_providers_or_the_others_stays_with_them(
    authority: Authority, provider: Provider, plain_provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    """Its account and a gateway's key beside it do not go to the fallback, whose cookies do not come back."""

    async def fails(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    async def answers(request: web.Request) -> web.StreamResponse:
        headers = {
            "content-type": "text/event-stream",
            "set-cookie": "of=another",
            "alt-svc": 'h3=":443"',
            "x-more": "1",
        }
        return web.Response(body=BODY, headers=headers)

    provider.handler, plain_provider.handler = fails, answers
    config = tmp_path / "midstream.toml"
    config.write_text(
        f"""
        providers.backup = {{ base_url = "http://127.0.0.1:{plain_provider.port}/v1", dialect = "openai_chat", api_key = "sk-b" }}
        [[routes]]
        model = "*"
        targets = ["openai", "backup/gpt-b"]
        attempts = 2
        """
    )
    more = (
        "--set",
        f"midstream_config={config}",
        "--set",
        f"midstream_connect_to=api.openai.com::127.0.0.1:{provider.port}",
    )
    private = {
        "authorization": "Bearer sk-client",
        "openai-organization": "org-client",
        "helicone-auth": "Bearer sk-h",
        "cookie": "a=client",
    }
    with (
        running(Proxy(tmp_path, *more, scripts=SETS["relaying"], confdir=confdir, trust=authority.file)) as proxy,
        httpx.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=DEADLINE) as client,
    ):
        answer = client.post(CHAT, json=ASK, headers=private | {"x-custom": "kept"})
    assert (answer.content, answer.headers["x-midstream-target"], answer.headers["x-more"]) == (
        BODY,
        "backup/gpt-b",
        "1",
    )
    assert not {"set-cookie", "alt-svc"} & set(answer.headers)
    assert {name: provider.requests[-1].headers[name] for name in private} == private
    asked = plain_provider.requests[-1].headers
    assert (asked["authorization"], asked["x-custom"]) == ("Bearer sk-b", "kept")
    assert not any("client" in value or "sk-h" in value for value in asked.values())


# --- addons of one's own


def with_addon(
    source: str, folder: Path, authority: Authority, provider: Provider, confdir: Path, *, first: bool = True
) -> Proxy:
    file = folder / "mine.py"
    file.write_text(source)
    upstream, more = f"::127.0.0.1:{provider.port}", () if first else ("-s", str(file))
    scripts = (str(file), *SETS["relaying"]) if first else SETS["relaying"]
    return Proxy(folder, *more, scripts=scripts, confdir=confdir, trust=authority.file, upstream=upstream)


LOOKS = """
import logging

def responseheaders(flow):
    logging.warning("seen %s %s", flow.request.host == "api.openai.com", flow.response.headers.get("content-type"))
    flow.response.headers["x-mine"] = "1"
"""


@pytest.mark.parametrize("first", [True, False])
def test_an_addon_sees_the_whole_head_and_adds_to_it(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, first: bool
) -> None:
    provider.handler = chunks(*WHOLE)
    with (
        running(with_addon(LOOKS, tmp_path, authority, provider, confdir, first=first)) as proxy,
        httpx.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=DEADLINE) as client,
    ):
        answer = client.post(CHAT, json=ASK)
        assert (answer.content, answer.headers["x-mine"]) == (BODY, "1")
        until(lambda: "seen True text/event-stream" in "".join(proxy.log))


HOLDS = """
import asyncio, json

def request(flow):
    flow.intercept()
    asyncio.get_running_loop().call_soon(edit, flow)

def edit(flow):
    said = json.loads(flow.request.text)
    said["model"] = "gpt-edited"
    flow.request.text = json.dumps(said)
    flow.request.headers["x-edited"] = "1"
    flow.resume()
"""


def test_what_a_user_changes_of_a_request_that_is_held_is_what_is_asked(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    provider.handler = chunks(*WHOLE)
    with (
        running(with_addon(HOLDS, tmp_path, authority, provider, confdir)) as proxy,
        httpx.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=DEADLINE) as client,
    ):
        assert client.post(CHAT, json=ASK).content == BODY
        (row,) = proxy.rows(1)
    asked = provider.requests[-1]
    assert (asked.headers["x-edited"], row["model_requested"], row["outcome"]) == ("1", "gpt-edited", "complete")


REPLAYS = """
import asyncio
from mitmproxy import ctx

times = []

def response(flow):
    times.append(flow)
    if len(times) == 1:
        asyncio.get_running_loop().call_soon(ctx.master.commands.call, "replay.client", [flow.copy()])
"""


@pytest.mark.parametrize("first", [True, False])
def test_a_flow_that_is_replayed_is_a_stream_of_its_own(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, first: bool
) -> None:
    bodies = list[Any]()

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return await chunks(*WHOLE)(request)

    provider.handler = answer
    with (
        running(with_addon(REPLAYS, tmp_path, authority, provider, confdir, first=first)) as proxy,
        httpx.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=DEADLINE) as client,
    ):
        assert client.post(CHAT, json=ASK).content == BODY
        rows = proxy.rows(2)
    assert [row["outcome"] for row in rows] == ["complete", "complete"]
    assert [row["attempts"] for row in rows] == [1, 1]  # by the relay, both
    assert bodies == [ASK, ASK]


SAYS_SO = """
def request(flow):
    flow.metadata["midstream.relayed"] = True
"""


def test_a_flow_that_a_relay_once_had_is_measured_where_there_is_none(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    provider.handler = chunks(*WHOLE)
    file = tmp_path / "says_so.py"
    file.write_text(SAYS_SO)
    upstream, scripts = f"::127.0.0.1:{provider.port}", (str(file), *SETS["measuring"])
    with (
        running(Proxy(tmp_path, scripts=scripts, confdir=confdir, trust=authority.file, upstream=upstream)) as proxy,
        httpx.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=DEADLINE) as client,
    ):
        assert client.post(CHAT, json=ASK).content == BODY
        assert proxy.rows(1)[0]["outcome"] == "complete"
