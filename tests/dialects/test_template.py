"""Reading frames by comparison gives exactly what parsing them in full gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.template import TRIES, TextTemplate
from midstream.events import Event, Text
from midstream.wire import Frame


def chunk(text: str, **more: Any) -> bytes:
    return json.dumps(
        {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more}
    ).encode()


def in_full(data: bytes) -> list[Event]:
    assert OPENAI_CHAT.decoder is not None
    return [e for e in OPENAI_CHAT.decoder().feed(Frame(data)) if isinstance(e, Text)]


def learnt(data: bytes) -> TextTemplate:
    template = TextTemplate()
    template.learn(data, in_full(data), in_full)
    return template


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_frame_with_another_text_is_read(first: str, second: str) -> None:
    template = learnt(chunk(first))
    read = template.read(chunk(second))
    assert read is None or [read] == in_full(chunk(second))


def test_the_ordinary_next_chunk_is_read() -> None:
    assert learnt(chunk(" token")).read(chunk(' "quoted" \n é 🎉')) == Text(' "quoted" \n é 🎉')


@given(st.binary(max_size=40))
def test_bytes_that_are_no_string_are_not_taken_for_text(inside: bytes) -> None:
    """A quote in the middle would make it another object; a raw newline, or invalid UTF-8, no JSON at all."""
    data = chunk("@@").replace(b"@@", inside)
    template = learnt(chunk("@@"))
    read = template.read(data)
    try:
        expected = json.loads(data)["choices"][0]["delta"]["content"]
    except (ValueError, KeyError):
        assert read is None
        return
    assert read is None or read.text == expected


def test_an_injected_key_is_not_taken_for_text() -> None:
    data = chunk("@@").replace(b"@@", b'a","refusal":"b')
    assert learnt(chunk("@@")).read(data) is None


def test_a_text_that_stands_elsewhere_too_is_learnt_only_where_it_is_read_from() -> None:
    data = chunk("c").replace(b'"content": "c"', b'"content": "\\u0063"')
    assert learnt(data).read(data.replace(b'"id": "c"', b'"id": "d"')) is None


def test_an_empty_text_is_left_to_the_full_parser() -> None:
    assert learnt(chunk("a")).read(chunk("")) is None


@pytest.mark.parametrize(
    "other", [chunk("b", usage={"prompt_tokens": 1}), b'{"error":{"message":"x"}}', b"[DONE]", b""]
)
def test_other_frames_are_left_to_the_full_parser(other: bytes) -> None:
    assert learnt(chunk("a")).read(other) is None


def test_frames_that_never_fit_are_given_up() -> None:
    template = TextTemplate()
    for n in range(TRIES):
        assert template.read(chunk("a", obfuscation=str(n))) is None
        template.learn(chunk("a", obfuscation=str(n)), in_full(chunk("a")), in_full)
    assert template.read(chunk("a")) is None
    template.learn(chunk("a"), in_full(chunk("a")), in_full)
    assert template.read(chunk("b")) is None


def test_a_first_token_waits_for_nothing_that_the_next_will_need() -> None:
    parsed = list[bytes]()

    def parse(data: bytes) -> list[Event]:
        parsed.append(data)
        return in_full(data)

    template = TextTemplate()
    template.learn(chunk("a"), in_full(chunk("a")), parse)
    assert not parsed
    assert template.read(chunk("b")) == Text("b")
    assert len(parsed) == 1
    assert template.read(chunk("c")) == Text("c")
    assert len(parsed) == 1


def test_an_in_band_error_event_is_never_read_as_text() -> None:
    assert OPENAI_CHAT.decoder is not None
    decoder = OPENAI_CHAT.decoder()
    decoder.feed(Frame(chunk("a")))
    decoder.feed(Frame(chunk("a")))
    assert not any(isinstance(e, Text) for e in decoder.feed(Frame(chunk("b"), event="error"))[:1])
