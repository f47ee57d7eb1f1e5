"""Which recording answers which request."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.recording import Header, RecordedRequest, RecordedResponse, Recording
from midstream.replay.catalogue import Catalogue, of_header, wanted

CHAT = "https://api.openai.com/v1/chat/completions"


def recording(name: str, url: str, body: Any = None, *, method: str = "POST", status: int = 200) -> Recording:
    header = Header(
        request=RecordedRequest(url=url, body=body, method=method), response=RecordedResponse(status=status)
    )
    return Recording(header, (), name=name)


def found(
    recordings: list[Recording], url: str, body: Any = None, *, method: str = "POST", websocket: bool = False
) -> str:
    match = Catalogue(recordings).find(wanted(method, url, body, websocket=websocket))
    return match.name if match else ""


def test_method_and_path_must_agree() -> None:
    only = [recording("a", CHAT)]
    assert found(only, CHAT) == "a"
    assert found(only, CHAT + "/") == "a"
    assert found(only, CHAT, method="GET") == ""
    assert found(only, "https://api.openai.com/v1/responses") == ""


def test_another_host_and_another_model_are_served_too() -> None:
    only = [recording("a", CHAT, {"model": "gpt-4o", "stream": True})]
    assert found(only, "http://127.0.0.1:8800/v1/chat/completions", {"model": "x", "stream": True}) == "a"


def test_the_same_host_then_the_same_model_is_preferred() -> None:
    groq = CHAT.replace("api.openai.com", "api.groq.com")
    both = [
        recording("mini", CHAT, {"model": "mini"}),
        recording("big", CHAT, {"model": "big"}),
        recording("groq", groq, {"model": "big"}),
    ]
    assert found(both, CHAT, {"model": "big"}) == "big"
    assert found(both, groq, {"model": "mini"}) == "groq"
    assert found(both, "http://localhost/v1/chat/completions", {"model": "mini"}) == "mini"


@pytest.mark.parametrize(
    ("url", "streamed", "plain"),
    [
        (CHAT, {"stream": True}, {"stream": False}),
        (CHAT, {"stream": True}, {"model": "m"}),
        ("http://localhost:11434/api/chat", {"model": "m"}, {"stream": False}),
    ],
)
def test_a_streamed_recording_never_answers_who_did_not_ask_for_a_stream(url: str, streamed: Any, plain: Any) -> None:
    both = [recording("streamed", url, streamed), recording("plain", url, plain)]
    assert found(both, url, streamed) == "streamed"
    assert found(both, url, plain) == "plain"
    assert found(both[:1], url, plain) == ""


def test_a_query_that_changes_the_framing_is_preferred() -> None:
    url = "https://generativelanguage.googleapis.com/v1beta/models/g:streamGenerateContent"
    both = [recording("array", url), recording("sse", url + "?alt=sse&key=redacted")]
    assert found(both, url + "?alt=sse&key=other") == "sse"
    assert found(both, url) == "array"


def test_several_that_fit_take_turns() -> None:
    catalogue = Catalogue([recording("a", CHAT), recording("b", CHAT), recording("other", CHAT + "x")])
    request = wanted("POST", CHAT, None, websocket=False)
    assert [match.name for _ in range(5) if (match := catalogue.find(request))] == ["a", "b", "a", "b", "a"]


def test_a_websocket_is_answered_by_a_session_only() -> None:
    url = "wss://api.openai.com/v1/realtime?model=gpt-realtime"
    both = [recording("http", url, method="GET"), recording("session", url, method="GET", status=101)]
    assert found(both, url, method="GET", websocket=True) == "session"
    assert found(both, url, method="GET") == "http"
    assert found(both[:1], url, method="GET", websocket=True) == ""


def test_quoting_and_doubled_slashes_in_a_path_make_no_difference() -> None:
    quoted = [recording("a", "https://h/model/anthropic.claude-3%3A0/converse-stream")]
    assert found(quoted, "https://h//model/anthropic.claude-3:0/converse-stream") == "a"


def test_the_hosts_and_the_listing_name_what_there_is() -> None:
    catalogue = Catalogue(
        [recording("a", CHAT, {"model": "m", "stream": True}), recording("b", "http://h:99/x", method="GET")]
    )
    assert catalogue.hosts == ["api.openai.com", "h"]
    first = catalogue.listing()[0]
    assert (first["method"], first["host"], first["path"]) == ("POST", "api.openai.com", "/v1/chat/completions")
    assert (first["model"], first["stream"], first["recording"]) == ("m", "true", "a")


@given(
    st.text(),
    st.text() | st.just("http://[") | st.just("http://h:x/"),
    st.none() | st.dictionaries(st.text(), st.integers()),
)
def test_no_request_raises(method: str, url: str, body: Any) -> None:
    Catalogue([recording("a", CHAT)]).find(wanted(method, url, body, websocket=False))
    of_header(recording("a", url, body).header)
