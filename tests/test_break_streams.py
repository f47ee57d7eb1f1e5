"""break_streams' options; what it does to real traffic: end_to_end/test_break_streams.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from mitmproxy import exceptions, http
from mitmproxy.test import taddons, tflow

from break_streams import BreakStreams
from midstream.relay.upstream import BREAKING

type Addon = tuple[BreakStreams, taddons.context]


@pytest.fixture
def addon() -> Iterator[Addon]:
    addon = BreakStreams()
    with taddons.context(addon) as context:
        yield addon, context
        addon.done()
    assert BREAKING == []


async def asked(addon: BreakStreams, body: bytes = b'{"model":"gpt-4o","stream":true,"messages":[]}') -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.request = http.Request.make("POST", "https://api.openai.com/v1/chat/completions", body)
    flow.live = True
    await addon.request(flow)
    return flow


def test_a_wrong_rule_is_an_options_error_that_quotes_it(addon: Addon) -> None:
    with pytest.raises(
        exceptions.OptionsError, match=r"midstream_break: cannot parse 'cut aftr=4': cut takes no 'aftr'"
    ):
        addon[1].configure(addon[0], midstream_break=["reset", "cut aftr=4"])


def test_the_relays_provider_side_is_broken_while_there_are_rules(addon: Addon) -> None:
    breaker, context = addon
    assert BREAKING == []
    context.configure(breaker, midstream_break=["reset"])
    assert len(BREAKING) == 1
    context.configure(breaker, midstream_break=["silence", "cut"])
    assert len(BREAKING) == 1
    context.configure(breaker, midstream_break=[])
    assert BREAKING == []


def test_without_rules_a_request_is_not_even_looked_at(addon: Addon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midstream.flows.recognise", lambda *_: pytest.fail("looked at"))
    flow = asyncio.run(asked(addon[0]))
    assert flow.response is None


def test_a_status_is_set_on_the_flow(addon: Addon) -> None:
    addon[1].configure(addon[0], midstream_break=["status=503 times=1"])
    first, second = asyncio.run(asked(addon[0])), asyncio.run(asked(addon[0]))
    assert first.response is not None
    assert first.response.status_code == 503
    assert second.response is None


def test_the_response_of_another_addon_is_left_alone(addon: Addon) -> None:
    addon[1].configure(addon[0], midstream_break=["reset"])

    async def answered() -> http.HTTPFlow:
        flow = tflow.tflow(resp=True)
        flow.live = True
        await addon[0].request(flow)
        return flow

    assert asyncio.run(answered()).error is None


def test_what_is_no_llms_is_left_alone(addon: Addon) -> None:
    addon[1].configure(addon[0], midstream_break=["status=503"])
    assert asyncio.run(asked(addon[0], b"{}")).response is not None  # OpenAI's own path

    async def other() -> http.HTTPFlow:
        flow = tflow.tflow()
        flow.live = True
        await addon[0].request(flow)
        return flow

    assert asyncio.run(other()).response is None
