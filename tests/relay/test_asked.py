"""What a request to the gateway asks for."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.relay import asked
from midstream.relay.prepare import BY_NAME


@pytest.mark.parametrize(
    ("accept", "delivery"),
    [
        ("", "sse"),
        ("*/*", "sse"),
        ("text/event-stream", "sse"),
        ("Text/Event-Stream; charset=utf-8", "sse"),
        ("application/x-ndjson", "ndjson"),
        ("text/plain", "text"),
        ("text/plain;q=0.5, application/x-ndjson;q=0.9", "ndjson"),
        ("text/plain, */*", "text"),
        ("*/*, text/plain;q=0.2", "sse"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "sse"),
        ("application/json, text/event-stream", "sse"),
        ("text/plain;q=0, */*;q=0.1", "sse"),
    ],
)
def test_accept_chooses_the_delivery(accept: str, delivery: str) -> None:
    assert asked.delivery_of(accept) == delivery


def test_an_upgrade_goes_first() -> None:
    assert asked.delivery_of("text/plain", "WebSocket") == "websocket"
    assert asked.delivery_of("text/plain", "h2c") == "text"


@pytest.mark.parametrize("accept", ["image/png", "application/json", "text/plain;q=0", "text/event-stream;q=nonsense"])
def test_what_a_stream_has_not_is_not_acceptable(accept: str) -> None:
    with pytest.raises(asked.NotAcceptable, match="Accept"):
        asked.delivery_of(accept)


def test_last_event_id_names_stream_and_event() -> None:
    assert asked.place_of_event_id("0af3-x_Y:17") == asked.Place("0af3-x_Y", 17)
    assert asked.place_of_event_id(" s:0 ") == asked.Place("s", 0)


@pytest.mark.parametrize(
    "value", ["", "17", ":17", "s:", "s:-1", "s:1.5", "s:x", "a b:1", "a:b:1", "s:" + "9" * 40, "s:²", "s:1\n2"]
)
def test_a_bad_last_event_id_is_named(value: str) -> None:
    with pytest.raises(ValueError, match="Last-Event-ID"):
        asked.place_of_event_id(value)


def test_the_header_wins_over_the_query() -> None:
    headers, query = {"last-event-id": "s:5"}, {"after": "2"}
    assert asked.place_of(headers, query, "s") == asked.Place("s", 5)
    assert asked.place_of({}, query, "s") == asked.Place("s", 2)
    assert asked.place_of({}, query | {"stream": "t"}) == asked.Place("t", 2)
    assert asked.place_of({}, {}, "s") is None


def test_places_that_contradict_or_lack_a_stream() -> None:
    with pytest.raises(ValueError, match="Last-Event-ID"):
        asked.place_of({"last-event-id": "other:5"}, {}, "s")
    with pytest.raises(ValueError, match="stream"):
        asked.place_of({}, {"after": "2"})


@pytest.mark.parametrize("value", ["-1", "x", "", -1, 1.5, None, True, [], 1 << 60])
def test_a_bad_after_is_named(value: object) -> None:
    with pytest.raises(ValueError, match="after"):
        asked.after_of(value)


def test_ranges() -> None:
    assert asked.offset_of_range("bytes=0-") == 0
    assert asked.offset_of_range("bytes=1230-9007199254740991") == 1230  # RFC 8673
    for bad in ("bytes=-5", "bytes=1-2,5-6", "lines=1-", "bytes=x-", "bytes=1"):
        with pytest.raises(ValueError, match="Range"):
            asked.offset_of_range(bad)


def test_prefer_respond_async() -> None:
    """RFC 7240, section 4.1."""
    assert asked.wants_async("respond-async, wait=10")
    assert asked.wants_async("return=minimal, Respond-Async")
    assert not asked.wants_async("return=representation")


def test_binary_is_asked_for_by_query_or_subprotocol() -> None:
    assert asked.wants_binary({"binary": "1"}, "")
    assert asked.wants_binary({}, "midstream.text, midstream.binary")
    assert not asked.wants_binary({"binary": "0"}, "midstream.text")


def test_a_query_says_a_chat() -> None:
    query = {"model": "m", "prompt": "Hi", "system": "Short", "temperature": "0.2", "max_tokens": "9", "_": "17"}
    assert asked.chat_of_query(query) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Short"}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "temperature": 0.2,
        "max_tokens": 9,
    }
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    body = asked.chat_of_query({"model": "m", "messages": json.dumps(messages)})
    assert body is not None
    assert body["messages"] == messages


def test_a_query_that_says_no_chat() -> None:
    assert asked.chat_of_query({"after": "3", "temperature": "1"}) is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"prompt": "x"}, "model"),
        ({"model": "m"}, "prompt"),
        ({"model": "m", "messages": "{"}, "messages"),
        ({"model": "m", "messages": "{}"}, "messages"),
        ({"model": "m", "prompt": "x", "temperature": "nan"}, "temperature"),
        ({"model": "m", "prompt": "x", "temperature": "hot"}, "temperature"),
        ({"model": "m", "prompt": "x", "max_tokens": "1.5"}, "max_tokens"),
        ({"model": "m", "prompt": "x", "seed": "9" * 5000}, "seed"),
        ({"model": "m", "prompt": "x", "tools": "["}, "tools"),
    ],
)
def test_a_bad_query_names_the_field(query: dict[str, str], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}:"):
        asked.chat_of_query(query)


def test_secrets_leave_the_path() -> None:
    assert asked.split_secrets("/a?x=1&access_token=t%2B1&y=2") == ("/a?x=1&y=2", "t+1")
    assert asked.split_secrets("/a?access_token=t") == ("/a", "t")
    assert asked.split_secrets("/a?ACCESS%5FTOKEN=t&key=u") == ("/a", "t")
    assert asked.split_secrets("/a?b") == ("/a?b", "")
    assert asked.split_secrets("/a") == ("/a", "")
    assert asked.split_secrets("/a?") == ("/a?", "")


@given(st.text(max_size=40), st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3))
def test_a_strangers_words_are_only_ever_a_value_error(text: str, query: dict[str, str]) -> None:
    for parse in (asked.delivery_of, asked.place_of_event_id, asked.after_of, asked.offset_of_range, asked.read_object):
        with contextlib.suppress(ValueError):
            parse(text)
    with contextlib.suppress(ValueError):
        asked.chat_of_query(query | {"model": text, "messages": text, "seed": text, "temperature": text})
    asked.split_secrets(text)


def test_only_a_body_known_to_be_short_is_short() -> None:
    assert asked.is_short({"content-length": "10"}, 10, may_be_empty=True)
    assert asked.is_short({}, 10, may_be_empty=True)
    for headers in (
        {"content-length": "11"},
        {"transfer-encoding": "chunked"},
        {"content-length": "x"},
        {"content-length": "9" * 5000},
    ):
        assert not asked.is_short(headers, 10, may_be_empty=True)
    assert not asked.is_short({}, 10, may_be_empty=False)


@pytest.mark.parametrize(
    ("accept", "delivery"),
    [
        ("application/x-ndjson", "ndjson"),
        ("Application/JSONL; q=0.9", "ndjson"),
        ("text/plain", "text"),
        ("text/plain, application/x-ndjson", "text"),
        ("application/x-ndjson, */*;q=0.1", "ndjson"),
        ("application/json;q=0.5, text/plain", "text"),
        ("", None),
        ("*/*", None),
        ("text/event-stream", None),
        ("application/json", None),
        ("text/*", None),
        ("application/json, text/plain, */*", None),  # axios
        ("text/plain, application/json, application/*+json, */*", None),  # Spring
        ("text/plain;q=0", None),
        ("text/plain;q=0.5, application/json", None),
        (",;q=,", None),
    ],
)
def test_another_delivery_than_the_providers_must_be_preferred_to_all(accept: str, delivery: str | None) -> None:
    assert asked.other_delivery_of(BY_NAME["openai_chat"], accept) == delivery


def test_json_lines_are_ollamas_own_form() -> None:
    assert asked.other_delivery_of(BY_NAME["ollama"], "application/x-ndjson") is None
    assert asked.other_delivery_of(BY_NAME["ollama"], "text/plain") == "text"
    assert asked.other_delivery_of(BY_NAME["ollama"], "", "websocket") == "websocket"


def test_what_cannot_be_read_is_delivered_as_it_is() -> None:
    assert asked.other_delivery_of(BY_NAME["bedrock_converse"], "text/plain") is None
