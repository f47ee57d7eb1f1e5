"""Node's clients against the gateway over TLS: the issue's own, eventsource 2 and 4, fetch with a reader, WebSockets."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from end_to_end import gateway_chats as chats
from end_to_end.gateway_chats import ASK, TEXT, WHOLE, WORDS, Steps, answering
from end_to_end.harness import DEADLINE, Authority, Provider, Proxy, running
from end_to_end.web_clients import KEYS, TOKEN, Node, install_clients, issue_client, node, node_major, wire_to


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_clients(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module")
def proxy(
    clients: Path, authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with running(chats.gateway_proxy(tmp_path_factory.mktemp("gateway"), authority, provider, confdir, KEYS)) as proxy:
        yield proxy


def _port(proxy: Proxy) -> int:
    return int(chats.url_of(proxy).rpartition(":")[2])


def start_chat(proxy: Proxy) -> str:
    """What another client of the same key does before: it starts the stream that is then the newest. Return its path."""
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json", "prefer": "respond-async"}
    request = urllib.request.Request(f"{chats.url_of(proxy)}/v1/chat/stream", json.dumps(ASK).encode(), headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=DEADLINE) as response:
        assert response.status == 202
        location: str = response.headers["location"]
        return location


def run_issue_client(clients: Path, proxy: Proxy, package: str, url: str) -> AbstractContextManager[Node]:
    (clients / f"{package}.js").write_text(issue_client(url))
    return node(clients, "--require", f"./{package}.cjs", f"{package}.js", ca=proxy.ca)


@pytest.mark.parametrize("package", ["eventsource2", "eventsource4"])
def test_the_issues_client_follows_the_newest_stream(
    clients: Path, proxy: Proxy, provider: Provider, package: str
) -> None:
    steps = Steps()
    provider.handler = steps.handler
    start_chat(proxy)
    steps.go(2)
    url = f"https://localhost:{_port(proxy)}/v1/chat/stream"
    with run_issue_client(clients, proxy, package, url) as client:
        for number, _ in enumerate(WORDS, 1):
            client.wait_for("".join(WORDS[:number]))  # only then does the provider go on
            steps.go()
        steps.go_on()
        assert client.rest() == TEXT
    assert len(steps.bodies) == 1


@pytest.mark.parametrize("package", ["eventsource2", "eventsource4"])
def test_the_issues_client_survives_cuts(clients: Path, proxy: Proxy, provider: Provider, package: str) -> None:
    steps = Steps()
    provider.handler = steps.handler
    start_chat(proxy)
    steps.go(4)
    with wire_to(provider, _port(proxy)) as wire:
        url = f"https://localhost:{wire.port}/v1/chat/stream"
        with run_issue_client(clients, proxy, package, url) as client:
            client.wait_for("".join(WORDS[:3]))
            wire.cut()
            steps.go(2)
            client.wait_for("".join(WORDS[:5]))
            wire.cut()
            steps.go_on()
            assert client.rest() == TEXT
        assert wire.cuts == 2
    assert len(steps.bodies) == 1


@pytest.mark.parametrize("package", ["eventsource2", "eventsource4"])
def test_a_cut_at_any_byte_loses_nothing(clients: Path, proxy: Proxy, provider: Provider, package: str) -> None:
    """In the second event, the first that has text, and into the third. eventsource 2 cannot be helped where a cut leaves it with
    an event's id and without the empty line behind it."""
    provider.handler = answering(*WHOLE)
    path = start_chat(proxy)
    answer = _raw(proxy, path)
    second, third = [found.end() for found in re.finditer(rb"data: ", answer)][1:3]
    limits = [
        n for n in range(second, third) if package == "eventsource4" or not re.search(rb"id: \w+:[1-9]\n\Z", answer[:n])
    ]
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(wire_to(provider, _port(proxy), limit)) for limit in limits]
        ports = [str(wire.port) for wire in wires]
        args = ("--require", f"./{package}.cjs", "follow_all.cjs", TOKEN, path, *ports)
        client = stack.enter_context(node(clients, *args, ca=proxy.ca))
        texts = json.loads(client.rest())
        assert {wire.cuts for wire in wires} == {1}
    assert [(answer[:limit][-50:], text) for limit, text in zip(limits, texts, strict=True) if text != TEXT] == []


def _raw(proxy: Proxy, path: str) -> bytes:
    """The bytes of an answer as Node's clients get it."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", _port(proxy)), timeout=DEADLINE) as connection:
        connection.sendall(request.encode())
        answer = b""
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            answer += connection.recv(65536)
    return answer


@pytest.mark.parametrize("accept", ["text/plain", "application/x-ndjson"])
def test_fetch_with_a_reader(clients: Path, proxy: Proxy, provider: Provider, accept: str) -> None:
    steps = Steps()
    provider.handler = steps.handler
    steps.go(2)
    url = f"https://localhost:{_port(proxy)}/v1/chat/stream"
    with node(clients, "fetch.mjs", url, TOKEN, accept, json.dumps(ASK), ca=proxy.ca) as client:
        if accept == "text/plain":
            client.wait_for(WORDS[0])
        steps.go_on()
        output = client.rest()
    if accept == "text/plain":
        assert output == TEXT
    else:
        answer = chats.read([json.loads(line) for line in output.splitlines()])
        assert (answer.text, answer.finish, answer.usage["total_tokens"]) == (TEXT, "stop", 16)


@pytest.mark.parametrize("library", ["built in", "ws"])
def test_a_websocket(clients: Path, proxy: Proxy, provider: Provider, library: str) -> None:
    provider.handler = answering(*WHOLE)
    early = library == "built in" and node_major() < 22
    flags = ("--experimental-websocket", "--no-warnings") if early else ()
    url = f"wss://localhost:{_port(proxy)}/v1/chat/stream?access_token={TOKEN}"
    with node(clients, *flags, "websocket.mjs", url, json.dumps(ASK), "2", library, ca=proxy.ca) as client:
        chats_ = client.rest().removesuffix("[DONE]\n").split("[DONE]\n")
    assert len(chats_) == 2
    for lines in chats_:
        items = [json.loads(line) for line in lines.splitlines()]
        assert [item["sequence_number"] for item in items] == list(range(1, len(items) + 1))
        assert chats.read(items).text == TEXT
