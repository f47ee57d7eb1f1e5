"""What render_streams keeps of bodies, for whom, and how much; what mitmweb makes of it: end_to_end/test_render.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mitmproxy import contentviews, exceptions, http
from mitmproxy.addons import save, savehar
from mitmproxy.addons.view import View
from mitmproxy.flow import Error
from mitmproxy.test import taddons, tflow

import render_streams
from midstream.dialects import registry
from midstream.events import Failure, Text
from midstream.flows import STREAM
from midstream.ledger import Account
from midstream.observation import Observation, StreamRecord
from midstream.recording import read
from midstream.watch.readings import NOTES, REMARK
from recorded_flows import flow_of
from render_streams import RenderStreams

SSE = b'data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'

type Addon = tuple[RenderStreams, taddons.context]


@pytest.fixture
def addon() -> Iterator[Addon]:
    addon = RenderStreams()
    with taddons.context(addon, save.Save(), savehar.SaveHar()) as context:
        yield addon, context


@pytest.fixture
def watched(addon: Addon) -> RenderStreams:
    """With a view, as mitmweb and the console have one."""
    addon[1].master.addons.add(View())
    return addon[0]


def asked(*, body: bytes = b'{"model":"gpt-4o","stream":true,"messages":[]}') -> http.HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.request = http.Request.make("POST", "https://api.openai.com/v1/chat/completions", body)
    flow.response = http.Response.make(200, b"", {"content-type": "text/event-stream"})
    flow.response.raw_content, flow.response.timestamp_end, flow.live = None, None, True
    return flow


def stream(flow: http.HTTPFlow, *chunks: bytes) -> list[object]:
    assert flow.response is not None
    assert callable(flow.response.stream)
    return [flow.response.stream(chunk) for chunk in chunks]


def test_where_nobody_can_look_nothing_is_kept(addon: Addon) -> None:
    flow = asked()
    assert flow.response is not None
    flow.response.stream = True
    addon[0].responseheaders(flow)
    assert flow.response.stream is True


def test_a_file_to_save_to_is_somebody_who_looks(addon: Addon, tmp_path: Path) -> None:
    flow = asked()
    assert flow.response is not None
    addon[1].options.update(hardump=f"{tmp_path}/flows.har")
    addon[0].responseheaders(flow)
    assert callable(flow.response.stream)


def test_the_body_passes_untouched_and_belongs_to_the_flow_at_its_end(watched: RenderStreams) -> None:
    flow = asked()
    watched.responseheaders(flow)
    assert stream(flow, SSE % b"a", SSE % b"b", b"") == [SSE % b"a", SSE % b"b", []]
    assert flow.response is not None
    assert flow.response.raw_content == SSE % b"a" + SSE % b"b"
    assert flow.metadata[NOTES]["size"] == len(flow.response.raw_content)
    shown = contentviews.prettify_message(flow.response, flow)
    assert shown.view_name == "LLM stream"
    assert "ab" in shown.text


def test_no_more_than_the_limit_is_kept(addon: Addon, watched: RenderStreams) -> None:
    addon[1].configure(watched, midstream_body_limit=200)
    flow = asked()
    watched.responseheaders(flow)
    stream(flow, *(SSE % b"abc" for _ in range(5)), b"")
    assert flow.response is not None
    assert flow.response.raw_content is not None
    assert len(flow.response.raw_content) == 200
    assert "the first 200 of" in contentviews.prettify_message(flow.response, flow).text


def test_a_limit_of_nothing_keeps_nothing_and_one_below_is_refused(addon: Addon, watched: RenderStreams) -> None:
    addon[1].configure(watched, midstream_body_limit=0)
    flow = asked()
    watched.responseheaders(flow)
    assert flow.response is not None
    assert not callable(flow.response.stream)
    with pytest.raises(exceptions.OptionsError, match="midstream_body_limit: -1 is below 0"):
        addon[1].configure(watched, midstream_body_limit=-1)


def test_all_bodies_together_are_bounded(watched: RenderStreams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_streams, "TOTAL_LIMIT", 3 * len(SSE % b"a"))
    flows = [asked() for _ in range(5)]
    for flow in flows:
        watched.responseheaders(flow)
        stream(flow, SSE % b"a", b"")
    assert [flow.response.raw_content is None for flow in flows if flow.response] == [True, True, False, False, False]


def test_what_is_no_llms_is_left_as_it_is(watched: RenderStreams) -> None:
    flow = asked(body=b"{}")
    flow.request.host, flow.request.path = "news.example", "/feed"
    watched.responseheaders(flow)
    assert flow.response is not None
    assert not callable(flow.response.stream)


def test_a_body_that_broke_off_is_kept_too(watched: RenderStreams) -> None:
    flow = asked()
    watched.responseheaders(flow)
    stream(flow, SSE % b"half")
    flow.error = Error("Server disconnected.")
    watched.error(flow)
    assert flow.response is not None
    assert flow.response.raw_content == SSE % b"half"


@pytest.mark.parametrize("name", ["openai_realtime/text", "gemini_live/tool_call"])
def test_the_view_is_chosen_for_the_messages_of_an_llms_websocket(watched: RenderStreams, name: str) -> None:
    file = Path(__file__).parent.parent / "recordings" / f"{name}.jsonl"
    flow = flow_of(read(file))
    assert flow.websocket is not None
    shown = [contentviews.prettify_message(message, flow) for message in flow.websocket.messages]
    assert {one.view_name for one in shown} == {"LLM stream"}
    assert any(one.text.startswith("api: ") and "outcome: complete" in one.text for one in shown)


def account(flow: http.HTTPFlow) -> Account:
    observation = Observation(StreamRecord(id="0199", started_at="", provider="openai"), 0.0)
    observation.feed([Text("a"), Failure("cut", type="truncated")], 1.0)
    observation.settle("complete", 2.0)
    flow.metadata[STREAM] = "0199"
    return Account(observation)


def test_a_broken_stream_is_marked_and_commented_but_never_over_its_users_words() -> None:
    mine, theirs = asked(), asked()
    theirs.comment, theirs.marked = "look here", ":grapes:"
    for flow in (mine, theirs):
        assert render_streams._remark(flow, account(flow))
        assert not render_streams._remark(flow, account(flow))  # said once
        assert flow.metadata[REMARK].startswith("truncated: openai after 1 piece")
    assert mine.comment == "midstream: " + mine.metadata[REMARK]
    assert mine.marked == ":broken_heart:"
    assert (theirs.comment, theirs.marked) == ("look here", ":grapes:")


def test_every_stream_type_is_one_that_is_kept(watched: RenderStreams) -> None:
    for kind in registry.STREAM_TYPES:
        flow = asked()
        assert flow.response is not None
        flow.response.headers["content-type"] = kind
        watched.responseheaders(flow)
        assert callable(flow.response.stream)
