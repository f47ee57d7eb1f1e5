"""Each fault through a real mitmdump, as an official SDK sees it: without the relay, and between the provider and the relay."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web

from end_to_end.harness import Authority, Provider, Proxy, chunks, clean_environment, running
from end_to_end.test_measure import CHAT, DONE, ROLE, STOP, USAGE, app, chat_chunk, rows_of
from end_to_end.test_modes import http2_port

__all__ = ["app", "http2_port"]

TOKENS = ("Once", " upon", " a", " time")
WHOLE = (ROLE, *(chat_chunk(content=token) for token in TOKENS), STOP, USAGE, DONE)
TEXT = "".join(TOKENS)

RULES = {
    "status-429": "status=429 retry-after=1",
    "reset": "reset",
    "silence": "silence",
    "slow": "slow=0.05",
    "cut-2": "cut after=2",
    "cut-0": "cut after=0",
    "stall-2": "stall after=2",
    "malformed-3": "malformed frame=3",
    "error-2": "error after=2 status=529",
    "unterminated": "unterminated",
    "flapping": "flapping",
}
"""By the model that a request asks for: one mitmdump then serves every test."""

ALONE = ("measure_streams.py", "break_streams.py", "connect_to.py")
RELAYED = ("measure_streams.py", "relay_streams.py", "break_streams.py", "connect_to.py")


def _start(folder: Path, confdir: Path, authority: Authority, provider: Provider, scripts: tuple[str, ...]) -> Proxy:
    rules = [word for model, rule in RULES.items() for word in ("--set", f"midstream_break={rule} model={model}")]
    upstream = f"::127.0.0.1:{provider.port}"
    return Proxy(folder, *rules, scripts=scripts, confdir=confdir, trust=authority.file, upstream=upstream)


@pytest.fixture(scope="module")
def alone(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with running(_start(tmp_path_factory.mktemp("alone"), confdir, authority, provider, ALONE)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def relayed(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with running(_start(tmp_path_factory.mktemp("relayed"), confdir, authority, provider, RELAYED)) as proxy:
        yield proxy


@pytest.fixture(params=["alone", "relayed"])
def breaking(request: pytest.FixtureRequest) -> Proxy:
    proxy: Proxy = request.getfixturevalue(request.param)
    return proxy


class Client:
    """The openai SDK through a proxy; keeps what it got."""

    def __init__(self, proxy: Proxy, app: str, *, timeout: float = 60.0, http2: bool = False) -> None:
        self.got = ""
        self.finish: str | None = None
        http = openai.DefaultHttpxClient(proxy=proxy.url, verify=proxy.client_context(), http2=http2)
        headers = {"user-agent": f"{app}/1.0"}
        self._sdk = openai.OpenAI(
            api_key="sk-secret", http_client=http, default_headers=headers, max_retries=0, timeout=timeout
        )

    def ask(self, model: str) -> None:
        messages: Any = [{"role": "user", "content": "Tell me"}]
        with self._sdk, self._sdk.chat.completions.create(model=model, messages=messages, stream=True) as stream:
            for chunk in stream:
                for choice in chunk.choices:
                    self.got += choice.delta.content or ""
                    self.finish = choice.finish_reason or self.finish


@pytest.fixture
def broken_off(breaking: Proxy, alone: Proxy) -> type[openai.APIError]:
    """What the SDK raises: the relay, which is not broken itself, says what happened to its provider."""
    return openai.APIConnectionError if breaking is alone else openai.APIError


def said(proxy: Proxy, row: dict[str, Any] | None, words: str) -> bool:
    """Whether the log tells of the break."""
    named = f"stream {row['id']} on purpose: {words}" if row else f"on purpose: {words}"
    return any("midstream broke" in line and named in line for line in proxy.log)


def test_what_no_rule_strikes_is_whole(breaking: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    client = Client(breaking, app)
    client.ask("gpt-4o")
    assert (client.got, client.finish) == (TEXT, "stop")
    assert rows_of(breaking, app)[0]["outcome"] == "complete"


def test_status_raises_the_sdks_own_error_with_retry_after(breaking: Proxy, provider: Provider, app: str) -> None:
    provider.handler, before = chunks(*WHOLE), len(provider.requests)
    with pytest.raises(openai.RateLimitError) as error:
        Client(breaking, app).ask("status-429")
    assert error.value.response.headers["retry-after"] == "1"
    assert "midstream broke this on purpose" in str(error.value)
    assert len(provider.requests) == before
    row = rows_of(breaking, app)[0]
    assert (row["outcome"], row["http_status"]) == ("failed", 429)
    assert said(breaking, None, "status 429 (openai status-429)")


def test_reset_closes_the_connection_before_any_header(alone: Proxy, provider: Provider, app: str) -> None:
    provider.handler, before = chunks(*WHOLE), len(provider.requests)
    with pytest.raises(openai.APIConnectionError):
        Client(alone, app).ask("reset")
    assert len(provider.requests) == before
    row = rows_of(alone, app)[0]
    assert (row["outcome"], row["http_status"], row["error_type"]) == ("failed", None, "connection_error")
    assert said(alone, row, "reset")


def test_reset_is_a_connection_error_to_the_relay(relayed: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    with pytest.raises(openai.APIError):
        Client(relayed, app).ask("reset")
    row = rows_of(relayed, app)[0]
    assert (row["outcome"], row["error_type"]) == ("failed", "connection_error")


def test_silence_lasts_until_the_client_gives_up(breaking: Proxy, provider: Provider, app: str) -> None:
    provider.handler, before = chunks(*WHOLE), len(provider.requests)
    with pytest.raises(openai.APITimeoutError):
        Client(breaking, app, timeout=1).ask("silence")
    assert rows_of(breaking, app)[0]["outcome"] == "client_gone"
    assert len(provider.requests) == before


def test_slow_delays_the_first_token(breaking: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    client = Client(breaking, app)
    client.ask("slow")
    assert client.got == TEXT
    assert rows_of(breaking, app)[0]["ttft_ms"] >= 50


def _endless(seen: threading.Event) -> Any:
    """Four tokens, and then nothing: whoever breaks off does so of its own accord."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"".join(WHOLE[:5]))
        try:
            await asyncio.Event().wait()
        finally:
            seen.set()
        return response

    return answer


@pytest.mark.parametrize("http2", [False, True])
def test_cut_breaks_off_at_once_and_lets_the_provider_go(
    breaking: Proxy, broken_off: type[openai.APIError], provider: Provider, app: str, *, http2: bool
) -> None:
    left = threading.Event()
    provider.handler = _endless(left)
    client = Client(breaking, app, http2=http2)
    with pytest.raises(broken_off):
        client.ask("cut-2")
    assert client.got == "Once upon"
    row = rows_of(breaking, app)[0]
    assert row["outcome"] in ("truncated", "failed")
    assert row["chunks"] == 2
    assert left.wait(30)
    assert said(breaking, None, "cut after 2 tokens (openai cut-2)")


@pytest.mark.parametrize(("model", "text"), [("cut-2", "Once upon"), ("cut-0", "")])
def test_cut_of_an_answer_that_had_arrived_whole(
    breaking: Proxy, broken_off: type[openai.APIError], provider: Provider, app: str, model: str, text: str
) -> None:
    provider.handler = chunks(b"".join(WHOLE))
    client = Client(breaking, app)
    with pytest.raises(broken_off):
        client.ask(model)
    assert client.got == text
    assert rows_of(breaking, app)[0]["outcome"] in ("truncated", "failed")


def test_cut_of_a_body_that_ends_with_its_connection(alone: Proxy, provider: Provider, app: str) -> None:
    """Where the end of the connection is the rightful end of the body, a cut must not look like one."""

    async def old(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + b"".join(WHOLE))
        request.transport.close()
        raise ConnectionResetError

    provider.handler = old
    client = Client(alone, app)
    with pytest.raises(openai.APIConnectionError):
        client.ask("cut-2")
    assert client.got == "Once upon"


def test_stall_says_nothing_more_and_keeps_the_connection(breaking: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    client = Client(breaking, app, timeout=1)
    with pytest.raises(openai.APITimeoutError):
        client.ask("stall-2")
    assert client.got == "Once upon"
    row = rows_of(breaking, app)[0]
    assert row["outcome"] in ("truncated", "client_gone")
    assert row["chunks"] == 2


def test_a_malformed_frame_is_no_json(breaking: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    client = Client(breaking, app)
    with pytest.raises(json.JSONDecodeError):
        client.ask("malformed-3")
    assert client.got == "Once"


def test_an_error_in_band_is_raised_by_the_sdk(breaking: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    client = Client(breaking, app)
    with pytest.raises(openai.APIError, match="midstream broke this on purpose"):
        client.ask("error-2")
    assert client.got == "Once upon"
    row = rows_of(breaking, app)[0]
    assert (row["outcome"], row["http_status"]) == ("failed", 200)


def test_anthropics_error_event_is_raised_by_its_sdk(breaking: Proxy, provider: Provider, app: str) -> None:
    def event(type_: str, **fields: Any) -> bytes:
        return f"event: {type_}\ndata: {json.dumps({'type': type_} | fields)}\n\n".encode()

    message = {"id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {}}
    deltas = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in TOKENS]
    block = {"type": "text", "text": ""}
    start = event("message_start", message=message), event("content_block_start", index=0, content_block=block)
    provider.handler = chunks(*start, *deltas, event("content_block_stop", index=0), event("message_stop"))
    http = anthropic.DefaultHttpxClient(proxy=breaking.url, verify=breaking.client_context())
    sdk = anthropic.Anthropic(
        api_key="k", http_client=http, max_retries=0, default_headers={"user-agent": f"{app}/1.0"}
    )
    got = ""

    def ask(model: str) -> None:
        nonlocal got
        with sdk.messages.stream(model=model, max_tokens=9, messages=[{"role": "user", "content": "x"}]) as stream:
            for text in stream.text_stream:
                got += text

    with sdk:
        with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
            ask("error-2")
        assert got == "Once upon"
        with pytest.raises(anthropic.RateLimitError, match="rate_limit_error"):
            ask("status-429")


def test_unterminated_lacks_done_alone(breaking: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    client = Client(breaking, app)
    client.ask("unterminated")
    assert (client.got, client.finish) == (TEXT, "stop")
    assert rows_of(breaking, app)[0]["finish_reason"] == "stop"
    assert said(breaking, None, "unterminated")


def test_flapping_alternates(alone: Proxy, provider: Provider, app: str) -> None:
    provider.handler = chunks(*WHOLE)
    with pytest.raises(openai.InternalServerError):
        Client(alone, app).ask("flapping")
    client = Client(alone, app)
    client.ask("flapping")
    assert client.got == TEXT


def _curl(proxy: Proxy, app: str, model: str, *more: str) -> subprocess.CompletedProcess[bytes]:
    """curl over HTTP/2; in %{http_version} it says so."""
    ask = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "x"}]})
    command = ["curl", "-sS", "-N", "--http2", "-x", proxy.url, "--cacert", str(proxy.ca), "-A", f"{app}/1", "-d", ask]
    command += ["-H", "content-type: application/json", "-w", "%{stderr}HTTP/%{http_version}", *more, CHAT]
    return subprocess.run(command, capture_output=True, env=clean_environment(), check=False)


STREAM_NOT_CLOSED_CLEANLY, TIMED_OUT = 92, 28


@pytest.mark.parametrize(("model", "code"), [("reset", 92), ("cut-2", 92), ("stall-2", 28), ("silence", 28)])
def test_an_http2_client_sees_its_stream_reset_or_nothing_more(
    alone: Proxy, provider: Provider, app: str, model: str, code: int
) -> None:
    provider.handler = chunks(*WHOLE)
    done = _curl(alone, app, model, *(("--max-time", "2") if code == TIMED_OUT else ()))
    assert done.returncode == code, done.stderr
    assert b"HTTP/2" in done.stderr or model in ("reset", "silence")
    assert done.stdout.count(b"content") == (3 if model.endswith("-2") else 0)  # the role's chunk has one, too
    assert rows_of(alone, app)[0]["outcome"] in ("failed", "truncated", "client_gone")


def test_the_stream_of_an_http2_provider_is_cut(
    authority: Authority, http2_port: int, confdir: Path, tmp_path: Path, app: str
) -> None:
    rule = ("--set", "midstream_break=cut after=1")
    upstream = f"::127.0.0.1:{http2_port}"
    proxy = Proxy(tmp_path, *rule, scripts=ALONE, confdir=confdir, trust=authority.file, upstream=upstream)
    with running(proxy):
        done = _curl(proxy, app, "gpt-4o")
        assert done.returncode == STREAM_NOT_CLOSED_CLEANLY, done.stderr
        assert b"Hello" in done.stdout
        assert b" there" not in done.stdout
        assert rows_of(proxy, app)[0]["outcome"] == "truncated"


def test_a_mitmdump_that_stops_ends_a_silent_stream(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str
) -> None:
    proxy = _start(tmp_path, confdir, authority, provider, ALONE)

    def ask() -> None:
        with contextlib.suppress(openai.APIError):
            Client(proxy, app).ask("silence")

    asking = threading.Thread(target=ask)
    with running(proxy):
        asking.start()
        proxy._said(r"midstream broke stream (\S+) on purpose: silence")
    asking.join(30)
    assert not asking.is_alive()


def test_a_wrong_rule_stops_mitmdump_and_says_why(confdir: Path, tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, "--set", "midstream_break=cut aftr=4", scripts=ALONE, confdir=confdir)
    assert proxy.process.wait(30) == 1
    assert "midstream_break: cannot parse 'cut aftr=4': cut takes no 'aftr'; it takes after, host" in "".join(proxy.log)
