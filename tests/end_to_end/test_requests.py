"""Requests out of the ordinary: a GET that streams, Expect, methods that ask nothing, bodies of many megabytes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web

from end_to_end.harness import DEADLINE, SETS, Authority, Provider, Proxy, chunks, clean_environment, running
from end_to_end.test_measure import ASK, CHAT, WHOLE, app, ask, openai_client, rows_of

__all__ = ["app"]

BODY = b"".join(WHOLE)
LARGE = {**ASK, "messages": [{"role": "user", "content": "word " * 2_000_000}]}
"""Some 10 MB, as with images inline."""


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


RESPONSE: dict[str, Any] = {"id": "resp_1", "object": "response", "model": "gpt-5", "created_at": 1, "output": []}
USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
REST = (
    event("response.output_text.delta", item_id="m1", output_index=0, content_index=0, delta="Hi", sequence_number=5),
    event("response.completed", response=RESPONSE | {"status": "completed", "usage": USAGE}, sequence_number=6),
)
"""What follows event 4 of a response in background mode."""


def test_a_response_in_background_mode_that_is_gone_on_with_has_its_row(
    proxy: Proxy, provider: Provider, app: str
) -> None:
    provider.handler = chunks(*REST)
    with openai_client(proxy, app) as client:
        events = list(client.responses.retrieve("resp_1", stream=True, starting_after=4))
    assert [e.type for e in events] == ["response.output_text.delta", "response.completed"]
    sent = provider.requests[-1]
    assert (sent.method, sent.path_qs) == ("GET", "/v1/responses/resp_1?starting_after=4&stream=true")
    row = rows_of(proxy, app)[0]
    assert (row["provider"], row["dialect"], row["outcome"]) == ("openai", "openai_responses", "complete")
    assert (row["model_served"], row["output_tokens"], row["chunks"]) == ("gpt-5", 2, 1)


def test_a_background_response_that_is_not_found_fails_as_the_provider_says(
    proxy: Proxy, provider: Provider, app: str
) -> None:
    error = {"error": {"message": "No such response", "type": "invalid_request_error", "code": "not_found"}}
    provider.handler = chunks(json.dumps(error).encode(), status=404, content_type="application/json")
    with openai_client(proxy, app) as client, pytest.raises(openai.NotFoundError):
        list(client.responses.retrieve("resp_2", stream=True))
    row = rows_of(proxy, app)[0]
    assert (row["outcome"], row["http_status"], row["error"]) == ("failed", 404, "No such response")


def test_another_delivery_is_not_made_of_a_get(proxy: Proxy, provider: Provider, app: str) -> None:
    """There is no chat in it that could be asked anew: it stays what it is."""
    provider.handler = chunks(*REST)

    async def get() -> bytes:
        url, headers = "https://api.openai.com/v1/responses/resp_1?stream=true", {"accept": "text/plain"}
        async with (
            aiohttp.ClientSession(headers=headers | {"user-agent": f"{app}/1"}) as session,
            session.get(url, proxy=proxy.url, ssl=proxy.client_context()) as response,
        ):
            return await response.read()

    assert asyncio.run(get()) == b"".join(REST)
    assert provider.requests[-1].method == "GET"


def curl(proxy: Proxy, app: str, *args: str) -> bytes:
    common = [
        "curl",
        "-sS",
        "-N",
        "-x",
        proxy.url,
        "--cacert",
        str(proxy.ca),
        "-A",
        f"{app}/1",
        "--max-time",
        str(DEADLINE),
    ]
    done = subprocess.run([*common, *args], capture_output=True, env=clean_environment(), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_expect_100_continue_is_answered_and_goes_no_further(proxy: Proxy, provider: Provider, app: str) -> None:
    """curl waits longer for the 100 than it may take in all: without one it would fail."""
    provider.handler = chunks(*WHOLE)
    asked = ["-H", "content-type: application/json", "-H", "expect: 100-continue", "-d", json.dumps(ASK)]
    assert curl(proxy, app, "--expect100-timeout", "600", "--http1.1", *asked, CHAT) == BODY
    assert "expect" not in provider.requests[-1].headers
    assert rows_of(proxy, app)[0]["outcome"] == "complete"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET", "DELETE"])
def test_methods_that_ask_nothing_pass_and_have_no_row(proxy: Proxy, provider: Provider, app: str, method: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers={"x-method": request.method, "access-control-allow-origin": "*"})

    provider.handler = answer
    head = ["--head"] if method == "HEAD" else ["-i", "-X", method]
    said = curl(proxy, app, *head, "-H", "origin: https://page.example", CHAT).lower()
    assert b" 204 " in said
    assert f"x-method: {method.lower()}".encode() in said
    assert b"access-control-allow-origin: *" in said
    provider.handler = chunks(*WHOLE)
    ask(proxy, app)
    assert len(rows_of(proxy, app)) == 1


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_large_body_arrives_whole(proxy: Proxy, provider: Provider, app: str, version: str, tmp_path: Path) -> None:
    seen: list[str] = []
    provider.handler = _digesting(seen)
    file = tmp_path / "body.json"
    file.write_text(json.dumps(LARGE))
    asked = ["-H", "content-type: application/json", "--data-binary", f"@{file}"]
    assert curl(proxy, app, version, *asked, CHAT) == BODY
    assert seen == [hashlib.sha256(file.read_bytes()).hexdigest()]
    row = rows_of(proxy, app)[0]
    assert (row["outcome"], row["model_requested"]) == ("complete", "gpt-4o-mini")


def _digesting(seen: list[str]) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        digest = hashlib.sha256()
        async for piece in request.content.iter_any():
            digest.update(piece)
        seen.append(digest.hexdigest())
        return await chunks(*WHOLE)(request)

    return answer


@pytest.mark.parametrize("scripts", SETS.values(), ids=SETS)
def test_a_body_beyond_stream_large_bodies_passes_and_has_its_row(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path, app: str, scripts: tuple[str, ...]
) -> None:
    """Such a request is on its way to its provider before an addon sees its end: nobody can point it elsewhere any more."""
    seen: list[str] = []
    provider.handler = _digesting(seen)
    limit = ("--set", "stream_large_bodies=1m")
    upstream = f"::127.0.0.1:{provider.port}"
    proxy = Proxy(tmp_path, *limit, scripts=scripts, confdir=confdir, trust=authority.file, upstream=upstream)
    with running(proxy):
        assert ask(proxy, app, body=LARGE) == (200, BODY)
        assert seen == [hashlib.sha256(json.dumps(LARGE).encode()).hexdigest()]
        row = rows_of(proxy, app)[0]
    assert (row["provider"], row["dialect"], row["outcome"]) == ("openai", "openai_chat", "complete")
    assert (row["model_served"], row["output_tokens"]) == ("gpt-4o-mini-2024-07-18", 3)
