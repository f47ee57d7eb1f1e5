"""A real Chromium against the gateway, over HTTP/1.1 and, with TLS, HTTP/2: what pages can do, and what only those of allowed
origins can."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from end_to_end import gateway_chats as chats
from end_to_end.chromium import Chromium, Page, Pages, page
from end_to_end.gateway_chats import TEXT, WHOLE, WORDS, Steps, answering
from end_to_end.harness import DEADLINE, Authority, Provider, Proxy, running
from end_to_end.web_clients import KEYS, TOKEN, issue_client, need, wire_to

ALLOWED = """
[gateway]
allowed_origins = ["http://localhost:*", "http://allowed.example:*"]
"""


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    need("chromium")
    folder = tmp_path_factory.mktemp("gateway")
    with running(chats.gateway_proxy(folder, authority, provider, confdir, KEYS + ALLOWED)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def chromium(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    chromium = Chromium(tmp_path_factory.mktemp("chromium"), proxy.ca)
    yield chromium
    chromium.stop()


@pytest.fixture(scope="module")
def pages(authority: Authority) -> Iterator[Pages]:
    pages = Pages(authority)
    yield pages
    pages.stop()


@pytest.fixture
def port(proxy: Proxy) -> int:
    return int(chats.url_of(proxy).rpartition(":")[2])


@pytest.fixture
def steps(provider: Provider) -> Steps:
    steps = Steps()
    provider.handler = steps.handler
    return steps


SCHEMES = ("http", "https")


def test_with_tls_browsers_get_http2(proxy: Proxy, port: int) -> None:
    context = proxy.client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])  # what Chromium offers
    with (
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_issues_client_as_a_page(chromium: Chromium, pages: Pages, port: int, steps: Steps, scheme: str) -> None:
    """As written, but for the token, which a browser's EventSource cannot send in a header."""
    query = f"model=gpt-4o-mini&prompt=Hello&access_token={TOKEN}"
    url = f"{scheme}://127.0.0.1:{port}/v1/chat/stream?{query}"
    pages.issue_client = issue_client(url, "not used by a browser")
    with page(chromium, pages, "issue", url) as seen:
        steps.go()
        for word in WORDS:
            steps.go()
            seen.texts_until(word)  # only then does the provider go on
        steps.go_on()
        report = seen.next()
        while "text" in report:
            assert report["text"] == ""
            report = seen.next()
        assert report == {"closed": 2}
    assert len(steps.bodies) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_eventsource_reconnects_and_stops(
    chromium: Chromium, pages: Pages, port: int, provider: Provider, steps: Steps, scheme: str
) -> None:
    """Cut twice in the middle; after the end the browser asks once more, and 204 tells it to stop."""
    with (
        wire_to(provider, port) as wire,
        page(chromium, pages, "eventsource", f"{scheme}://127.0.0.1:{wire.port}/v1/chat/stream") as seen,
    ):
        events: list[Any] = []
        for last in (3, 5):
            steps.go(last - len(events))
            while len(events) < last:
                events.append(seen.next())
            wire.cut()
            assert seen.next() == {"error": 0}
        steps.go_on()
        while "error" not in (report := seen.next()):
            events.append(report)
        assert report == {"error": 0}  # the end of the answer
        assert seen.next() == {"error": 2}  # 204
        assert wire.cuts == 2
    assert [event["id"].rpartition(":")[2] for event in events] == [str(n + 1) for n in range(len(events))]
    assert events.pop()["data"] == "[DONE]"
    assert chats.read([json.loads(event["data"]) for event in events]).text == TEXT
    assert len(steps.bodies) == 1


@pytest.mark.parametrize("limit", [700, 800, 1000])
def test_an_eventsource_cut_inside_an_event(
    chromium: Chromium, pages: Pages, port: int, provider: Provider, steps: Steps, limit: int
) -> None:
    steps.go_on()
    with (
        wire_to(provider, port, limit) as wire,
        page(chromium, pages, "eventsource", f"http://127.0.0.1:{wire.port}/v1/chat/stream") as seen,
    ):
        events: list[Any] = []
        while (report := seen.next()) != {"error": 2}:
            events.append(report)
        assert wire.cuts == 1
    assert events.count({"error": 0}) == 2  # the cut, and the end of the answer
    events = [event for event in events if "error" not in event]
    assert events.pop()["data"] == "[DONE]"
    assert chats.read([json.loads(event["data"]) for event in events]).text == TEXT
    assert len(steps.bodies) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fetch_with_a_reader_as_text(chromium: Chromium, pages: Pages, port: int, steps: Steps, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{port}/v1/chat/stream"
    with page(chromium, pages, "fetch", url, accept="text/plain") as seen:
        steps.go(2)
        head = seen.next()
        assert head["status"] == 200
        assert head["stream"]  # the page may read the header
        for word in WORDS:
            seen.texts_until(word)  # only then does the provider go on
            steps.go()
        steps.go_on()
        assert seen.next() == {"end": True}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fetch_with_a_reader_as_lines(
    chromium: Chromium, pages: Pages, port: int, provider: Provider, scheme: str
) -> None:
    provider.handler = answering(*WHOLE)
    url = f"{scheme}://127.0.0.1:{port}/v1/chat/stream"
    with page(chromium, pages, "fetch", url, accept="application/x-ndjson") as seen:
        assert seen.next()["status"] == 200
        text = ""
        while "text" in (report := seen.next()):
            text += report["text"]
        assert report == {"end": True}
    answer = chats.read([json.loads(line) for line in text.splitlines()])
    assert (answer.text, answer.finish, answer.usage["total_tokens"]) == (TEXT, "stop", 16)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_fetch_goes_on_by_range(
    chromium: Chromium, pages: Pages, port: int, provider: Provider, steps: Steps, scheme: str
) -> None:
    begun = "".join(WORDS[:4])
    with (
        wire_to(provider, port) as wire,
        page(chromium, pages, "range", f"{scheme}://127.0.0.1:{wire.port}/v1/chat/stream") as seen,
    ):
        steps.go(5)
        seen.texts_until(begun)
        wire.cut()
        assert seen.next() == {"error": "TypeError"}
        rest = seen.next()
        assert rest["status"] == 206
        assert rest["range"].startswith(f"bytes {len(begun.encode())}-")
        steps.go_on()
        seen.texts_until("".join(WORDS[4:]))
        assert seen.next() == {"end": True}
    assert len(steps.bodies) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_websocket_resumes_and_is_used_again(
    chromium: Chromium, pages: Pages, port: int, provider: Provider, steps: Steps, scheme: str
) -> None:
    with (
        wire_to(provider, port) as wire,
        page(chromium, pages, "websocket", f"{scheme}://127.0.0.1:{wire.port}/v1/chat/stream") as seen,
    ):
        steps.go(3)
        items = [json.loads(seen.next()["data"]) for _ in range(3)]
        wire.cut()
        assert seen.next() == {"closed": 1006}
        steps.go_on()
        items += _chat_of(seen)
        assert [item["sequence_number"] for item in items] == list(range(1, len(items) + 1))
        assert chats.read(items).text == TEXT
        assert chats.read(_chat_of(seen)).text == TEXT
        assert seen.next() == {"closed": 1000}
    assert len(steps.bodies) == 2


def _chat_of(seen: Page) -> list[Any]:
    items = []
    while (data := seen.next()["data"]) != "[DONE]":
        items.append(json.loads(data))
    return items


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_page_of_another_origin_is_refused(
    chromium: Chromium, pages: Pages, port: int, provider: Provider, scheme: str
) -> None:
    """Whatever it tries, and though it has a good token. The same page is served where its origin is allowed."""
    provider.handler = answering(*WHOLE)
    before = len(provider.requests)
    url = f"{scheme}://127.0.0.1:{port}/v1/chat/stream"
    with page(chromium, pages, "everything", url, host="other.example") as seen:
        assert seen.next() == {
            "preflighted": {"error": "TypeError"},
            "simple": {"error": "TypeError"},
            "get": {"error": "TypeError"},
            "opaque": {"type": "opaque"},  # of a refusal, as the count of the provider's requests shows
            "eventsource": {"error": 2},
            "websocket": {"closed": 1006},
            "image": {"type": "error"},
        }
    assert len(provider.requests) == before
    with page(chromium, pages, "everything", url, host="allowed.example") as seen:
        report = seen.next()
    for how in ("preflighted", "simple", "get"):
        assert report[how]["status"] == 200
        assert "[DONE]" in report[how]["text"]
    assert json.loads(report["eventsource"]["data"])["choices"]
    assert report["websocket"] == {"open": True}
    assert len(provider.requests) == before + 4
