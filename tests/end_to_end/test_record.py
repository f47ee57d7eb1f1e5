"""Recording through a real mitmdump, and replaying what was recorded."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.harness import Authority, Provider, Proxy, chunks, cut_after, running
from midstream.recording import Recording, read
from midstream.replay.server import ReplayServer

PIECES = (b'data: {"choices":[{"index":0,"delta":{"content":"\xc3', b'\xa9"}}]}\n\n', b"data: [DONE]\n\n")
KEY = "sk-0123456789abcdefghijklmnop"
REQUEST = json.dumps({"model": "gpt-4o", "stream": True, "messages": []})


@pytest.fixture
def recording_proxy(authority: Authority, provider: Provider, confdir: Path, tmp_path: Path) -> Iterator[Proxy]:
    scripts = ("measure_streams.py", "record_streams.py", "connect_to.py")
    option = f"midstream_recordings={tmp_path / 'recordings'}"
    upstream = f"::127.0.0.1:{provider.port}"
    proxy = Proxy(tmp_path, "--set", option, scripts=scripts, confdir=confdir, trust=authority.file, upstream=upstream)
    with running(proxy):
        yield proxy


def ask(proxy: Proxy) -> bytes:
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=30, context=proxy.client_context())
    connection.set_tunnel("api.openai.com", 443)
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions?api_key=" + KEY, REQUEST, headers)
    try:
        return connection.getresponse().read()
    except http.client.IncompleteRead as e:
        return e.partial
    finally:
        connection.close()


def recorded(proxy: Proxy) -> tuple[str, Recording]:
    """Stopping mitmdump waits for what is still to be written."""
    proxy.stop()
    [file] = (proxy.folder / "recordings").rglob("*.jsonl")
    return file.read_text(encoding="utf-8"), read(file)


def test_what_is_recorded_replays_as_it_was(provider: Provider, recording_proxy: Proxy) -> None:
    provider.handler = chunks(*PIECES, content_type="text/event-stream", x_said=f"you are {KEY}")
    assert ask(recording_proxy) == b"".join(PIECES)
    text, recording = recorded(recording_proxy)
    assert KEY not in text
    assert recording.body == b"".join(PIECES)
    assert (recording.end, recording.header.dialect) == ("complete", "openai_chat")
    assert asyncio.run(replayed(recording)) == b"".join(PIECES)


async def replayed(recording: Recording) -> bytes:
    async with ReplayServer([recording], speed=0) as server:
        return await asyncio.to_thread(ask_plainly, server.port)


def ask_plainly(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/v1/chat/completions", REQUEST)
    try:
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_stream_cut_by_the_provider_is_recorded_as_cut(provider: Provider, recording_proxy: Proxy) -> None:
    provider.handler = cut_after(PIECES[0])
    ask(recording_proxy)
    assert recorded(recording_proxy)[1].end == "truncated"
