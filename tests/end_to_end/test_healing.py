"""The catalogue: what may go wrong at one primary with one fallback, by the official SDK through a real mitmdump over TLS."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web

from end_to_end.harness import Authority, Gate, Handler, Provider, Proxy, chunks, cut_after, running
from end_to_end.healing import WHOLE, WORDS, Scripted, answer, fails, healing_proxy, resets

ROUTE = """
[healing]
failures = 3
cool_down = 1.0
retry_budget = 1.0

[[routes]]
model = "gpt-4o*"
targets = ["openai", "backup/gpt-backup"]
attempts = 3
backoff = { base = 0.05, max = 2.0 }
timeouts = { connect = 10, first_token = 3, idle = 3, total = 60 }
on_break = "continue"
"""


@pytest.fixture(scope="module")
def backup(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority)
    yield provider
    provider.stop()


@pytest.fixture
def proxy(authority: Authority, provider: Provider, backup: Provider, tmp_path: Path) -> Iterator[Proxy]:
    """Each test has its own, for breakers remember."""
    with running(healing_proxy(tmp_path, authority, provider, backup, ROUTE)) as proxy:
        yield proxy


def client(proxy: Proxy, **more: Any) -> openai.OpenAI:
    http = httpx2.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=45)
    return openai.OpenAI(api_key="sk-test", max_retries=0, http_client=http, **more)


def ask(proxy: Proxy, **more: Any) -> list[Any]:
    """The chunks of one streamed answer."""
    stream = client(proxy).chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "Count."}],
        stream=True,
        stream_options={"include_usage": True},
        **more,
    )
    return list(stream)


def text(chunks_: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks_ if c.choices)


def check_lifecycle(said: list[Any]) -> None:
    """One answer from first chunk to last: one id, one model, one finish reason, usage at the end."""
    assert len({c.id for c in said}) == 1
    assert len({c.model for c in said}) == 1
    assert [c.choices[0].finish_reason for c in said if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert said[-1].usage is not None


def row(proxy: Proxy) -> dict[str, Any]:
    return proxy.rows(1)[-1]


def attempts(proxy: Proxy) -> list[dict[str, Any]]:
    row(proxy)
    return proxy._query("select * from attempts order by n")


def backup_answer(words: tuple[str, ...] = WORDS) -> Handler:
    return chunks(*answer(words, id="chatcmpl-backup", model="gpt-backup"))


def test_a_429_is_asked_again_when_it_says_and_not_before(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    asked: list[float] = []

    async def first(request: web.Request) -> web.StreamResponse:
        asked.append(time.monotonic())
        return await fails(429, retry_after="2")(request)

    async def second(request: web.Request) -> web.StreamResponse:
        asked.append(time.monotonic())
        return await chunks(*answer())(request)

    primary, spare = Scripted(provider, first, second), Scripted(backup, fails(500))
    assert text(ask(proxy)) == WHOLE
    assert asked[1] - asked[0] >= 2.0
    assert (len(primary.bodies), len(spare.bodies)) == (2, 0)
    assert primary.bodies[0] == primary.bodies[1]


@pytest.mark.parametrize("status", [429, 503])
def test_one_that_fails_for_ever_is_left_for_the_fallback(
    proxy: Proxy, provider: Provider, backup: Provider, status: int
) -> None:
    primary, spare = Scripted(provider, fails(status)), Scripted(backup, backup_answer())
    said = ask(proxy)
    assert text(said) == WHOLE
    check_lifecycle(said)
    assert (len(primary.bodies), len(spare.bodies)) == (3, 1)


def test_a_500_once(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    primary, spare = Scripted(provider, fails(500), chunks(*answer())), Scripted(backup, fails(500))
    assert text(ask(proxy)) == WHOLE
    assert (len(primary.bodies), len(spare.bodies)) == (2, 0)
    assert row(proxy)["outcome"] == "complete"
    assert [(a["ended"], a["http_status"]) for a in attempts(proxy)] == [("server_error", 500), ("complete", 200)]


def test_a_reset_before_the_headers(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    primary = Scripted(provider, resets, chunks(*answer()))
    Scripted(backup, fails(500))
    assert text(ask(proxy)) == WHOLE
    assert len(primary.bodies) == 2


def test_silence_is_not_asked_again_but_left_for_the_fallback(
    proxy: Proxy, provider: Provider, backup: Provider
) -> None:
    gate = Gate()

    async def silent(request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    primary, spare = Scripted(provider, silent), Scripted(backup, backup_answer())
    assert text(ask(proxy)) == WHOLE
    gate.open()
    assert (len(primary.bodies), len(spare.bodies)) == (1, 1)
    assert attempts(proxy)[0]["ended"] == "first_token_timeout"


def test_a_first_token_that_is_too_late_is_not_waited_for(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    """Pings and a role are no progress."""
    gate = Gate()

    async def late(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(answer()[0])
        while not gate.is_open:
            await response.write(b": ping\n\n")
            await asyncio.sleep(0.05)
        return response

    primary, spare = Scripted(provider, late), Scripted(backup, backup_answer())
    said = ask(proxy)
    gate.open()
    assert text(said) == WHOLE
    check_lifecycle(said)
    assert (len(primary.bodies), len(spare.bodies)) == (1, 1)


def test_a_cut_after_40_of_60_is_gone_on_from(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    rest = answer(WORDS[40:], id="chatcmpl-second")
    primary = Scripted(provider, cut_after(*answer()[:41]), chunks(*rest))
    spare = Scripted(backup, fails(500))
    said = ask(proxy)
    assert text(said) == WHOLE
    check_lifecycle(said)
    assert said[-1].usage.completion_tokens >= 60
    assert (len(primary.bodies), len(spare.bodies)) == (2, 0)
    turns = primary.bodies[1]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"].startswith("".join(WORDS[:40]).rstrip())
    found = row(proxy)
    assert (found["outcome"], found["attempts"], found["breaks"]) == ("complete", 2, 1)


def test_a_stall_after_20_is_gone_on_from_elsewhere(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    gate = Gate()

    async def stalls(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in answer()[:21]:
            await response.write(piece)
        await gate.wait()
        return response

    primary, spare = Scripted(provider, stalls), Scripted(backup, backup_answer(WORDS[20:]))
    said = ask(proxy)
    gate.open()
    assert text(said) == WHOLE
    check_lifecycle(said)
    assert (len(primary.bodies), len(spare.bodies)) == (1, 1)
    assert (row(proxy)["rerouted"], row(proxy)["breaks"]) == (1, 1)


def test_a_malformed_tenth_frame_is_left_out_and_counted(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    pieces = list(answer())
    pieces.insert(9, b'data: {"choices": [{"delta": {"cont\n\n')
    primary = Scripted(provider, chunks(*pieces))
    Scripted(backup, fails(500))
    assert text(ask(proxy)) == WHOLE
    assert len(primary.bodies) == 1
    found = row(proxy)
    assert found["outcome"] == "complete"
    assert "malformed" in found["error_type"]


@pytest.mark.parametrize("ending", ["closed", "open", "reset"])
def test_an_answer_without_done_is_whole(proxy: Proxy, provider: Provider, backup: Provider, ending: str) -> None:
    gate = Gate()

    async def unended(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in answer()[:-1]:
            await response.write(piece)
        if ending == "open":
            await gate.wait()
        if ending == "reset":
            assert request.transport is not None
            request.transport.close()
        return response

    primary = Scripted(provider, unended)
    Scripted(backup, fails(500))
    said = ask(proxy)
    gate.open()
    assert text(said) == WHOLE
    check_lifecycle(said)
    assert len(primary.bodies) == 1
    assert row(proxy)["outcome"] == "complete"


def test_too_long_a_context_goes_to_the_larger_model(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    error = {
        "error": {
            "message": "This model's maximum context length is 8192 tokens.",
            "type": "invalid_request_error",
            "code": "context_length_exceeded",
        }
    }
    primary, spare = Scripted(provider, fails(400, error)), Scripted(backup, backup_answer())
    assert text(ask(proxy)) == WHOLE
    assert (len(primary.bodies), len(spare.bodies)) == (1, 1)


def test_a_content_filter_is_told_and_not_asked_again(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    error = {"error": {"message": "filtered: violence", "type": None, "code": "content_filter", "status": 400}}
    primary, spare = Scripted(provider, fails(400, error)), Scripted(backup, backup_answer())
    with pytest.raises(openai.BadRequestError, match="filtered: violence") as raised:
        ask(proxy)
    assert raised.value.code == "content_filter"
    assert (len(primary.bodies), len(spare.bodies)) == (1, 0)
    assert row(proxy)["outcome"] == "failed"


def test_a_fallback_that_rejects_a_prefill_is_asked_the_other_way(
    authority: Authority, provider: Provider, backup: Provider, tmp_path: Path
) -> None:
    route = ROUTE.replace("[healing]", "prefill = true\n\n[healing]")
    no_prefill = {"error": {"message": "Last message must have role `user`", "type": "invalid_request_error"}}
    Scripted(provider, cut_after(*answer()[:41]), fails(503))
    spare = Scripted(backup, fails(400, no_prefill), backup_answer(WORDS[40:]))
    with running(healing_proxy(tmp_path, authority, provider, backup, route)) as proxy:
        said = ask(proxy)
    assert text(said) == WHOLE
    check_lifecycle(said)
    assert [turn["role"] for turn in spare.bodies[0]["messages"]] == ["user", "assistant"]
    assert [turn["role"] for turn in spare.bodies[1]["messages"]] == ["user", "assistant", "user"]


def test_a_primary_that_was_down_is_used_again(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    Scripted(provider, fails(503))
    Scripted(backup, backup_answer())
    for _ in range(4):
        assert text(ask(proxy)) == WHOLE
    primary = Scripted(provider, chunks(*answer()))
    until = time.monotonic() + 30
    while not primary.bodies and time.monotonic() < until:
        assert text(ask(proxy)) == WHOLE
    assert primary.bodies
    said = ask(proxy)
    assert said[0].model == "gpt-4o-2024"


def test_while_the_breaker_is_open_the_primary_is_left_alone(
    proxy: Proxy, provider: Provider, backup: Provider
) -> None:
    primary = Scripted(provider, fails(503))
    Scripted(backup, backup_answer())
    assert text(ask(proxy)) == WHOLE
    asked = len(primary.bodies)
    assert text(ask(proxy)) == WHOLE
    assert len(primary.bodies) <= asked + 1  # the one probe, if a second has passed


def test_the_fallbacks_model_and_usage_are_reported(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    Scripted(provider, fails(503))
    spare = Scripted(backup, backup_answer())
    said = ask(proxy)
    assert said[0].model == "gpt-backup"
    assert said[-1].usage.completion_tokens == 60
    assert spare.bodies[0]["model"] == "gpt-backup"
    assert spare.headers[0]["authorization"] == "Bearer sk-backup"
    found = row(proxy)
    assert (found["model_requested"], found["model_served"]) == ("gpt-4o", "gpt-backup")
    assert (found["output_tokens"], found["input_tokens"], found["usage_source"]) == (60, 7, "provider")
    tried = attempts(proxy)
    assert [(a["provider"], a["model"], a["ended"]) for a in tried][-1] == ("backup", "gpt-backup", "complete")
    assert found["attempts"] == len(tried) == 4


def test_nowhere_left_to_go_is_an_honest_error(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    """Before the first token: the asked-for provider's own status and words; after it: an error that the SDK raises."""
    said = {"error": {"message": "primary is overloaded", "type": "server_error", "code": "overloaded"}}
    Scripted(provider, fails(503, said))
    Scripted(backup, fails(500))
    with pytest.raises(openai.InternalServerError, match="primary is overloaded") as raised:
        ask(proxy)
    assert raised.value.status_code == 503
    Scripted(provider, cut_after(*answer()[:41]))
    Scripted(backup, fails(500))
    seen: list[Any] = []
    stream = client(proxy).chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Count."}], stream=True
    )
    with pytest.raises(openai.APIError):
        seen.extend(stream)


def test_the_callers_key_goes_to_nobody_else(proxy: Proxy, provider: Provider, backup: Provider) -> None:
    primary, spare = Scripted(provider, fails(503)), Scripted(backup, backup_answer())
    ask(proxy)
    assert all(h["authorization"] == "Bearer sk-test" for h in primary.headers)
    assert "sk-test" not in json.dumps(spare.headers)
