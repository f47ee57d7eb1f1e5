"""SSE by the specification: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation"""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from midstream.wire import Damage, Frame
from midstream.wire.sse import BOM, SseDecoder, encode_sse
from wire.feeding import CUTS, cut, datas, joined, pieces, searched_in, whole

PARTS = (
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r"),
    *(b"data: a", b"data:b", b"data", b"data:", b"data:  c", b"event: e", b"event", b"id: 1", b"id", b"id: \0"),
    *(b"retry: 10", b"retry: x", b": comment", b"unknown: f", b" ", b"\xff", b"\xc3\xa9", BOM),
)


def said(body: bytes) -> list[tuple[str, bytes, str]]:
    """(event, data, last event id) of every frame."""
    frames = whole(SseDecoder, body)
    assert frames == pieces(SseDecoder, body, 1)
    assert not [frame for frame in frames if isinstance(frame, Damage)]
    return [(frame.event, frame.data, frame.id) for frame in frames if isinstance(frame, Frame)]


def by_the_book(body: bytes) -> list[tuple[str, bytes, str]]:
    """The specification's steps, line by line, with the one deviation at the end of the body."""
    *lines, last = re.split(rb"\r\n|\n|\r", body.removeprefix(BOM))
    event = last_id = ""
    data = b""
    out = []
    for line in [*lines, *([last] if last else []), None]:
        if not line:
            if data and (line is not None or data != b"\n"):
                out.append((event, data[:-1], last_id))
            event, data = "", b""
            continue
        name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if name == b"data":
            data += value + b"\n"
        elif name == b"event":
            event = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            last_id = value.decode(errors="replace")
    return out


# The specification's own examples (9.2.1 Introduction, 9.2.6 Interpreting an event stream).


def test_spec_stock_ticker() -> None:
    assert said(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [("", b"YHOO\n+2\n10", "")]


def test_spec_introduction() -> None:
    body = b"data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\n"
    body += b"data: This is the third message.\n\n"
    assert said(body) == [
        ("", b"This is the first message.", ""),
        ("", b"This is the second message, it\nhas two lines.", ""),
        ("", b"This is the third message.", ""),
    ]


def test_spec_named_events() -> None:
    body = b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n"
    assert said(body) == [("add", b"73857293", ""), ("remove", b"2153", ""), ("add", b"113411", "")]


def test_spec_four_blocks() -> None:
    """The first block is a comment; `id` alone resets the last event id; the space after the first is kept."""
    body = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event"
    assert said(body + b"\n\n") == [
        ("", b"first event", "1"),
        ("", b"second event", ""),
        ("", b" third event", ""),
    ]


def test_spec_empty_data_is_an_event_and_an_empty_end_is_none() -> None:
    assert said(b"data\n\ndata\ndata\n\ndata:") == [("", b"", ""), ("", b"\n", "")]


def test_spec_one_space_after_the_colon_is_dropped() -> None:
    assert said(b"data:test\n\ndata: test\n\n") == [("", b"test", "")] * 2


# The rules one by one.


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end(end: bytes) -> None:
    body = b"".join(line + end for line in (b"event: a", b"data: 1", b"data: 2", b"", b": c", b"", b"data: 3", b""))
    assert said(body) == [("a", b"1\n2", ""), ("", b"3", "")]


def test_line_ends_may_be_mixed_within_one_event() -> None:
    assert said(b"event: a\rdata: 1\ndata: 2\r\n\ndata: 3\n\r\ndata: 4\r\r\n\n") == [
        ("a", b"1\n2", ""),
        ("", b"3", ""),
        ("", b"4", ""),
    ]


def test_crlf_split_across_chunks_ends_one_line() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: 1\r") == []
    assert decoder.feed(b"\ndata: 2\r\n") == []
    assert decoder.feed(b"\r\n") == [Frame(b"1\n2", 20)]


def test_event_that_ends_in_crlf_waits_for_its_lf() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: 1\r\n\r") == []
    assert decoder.feed(b"\n") == [Frame(b"1", 11)]


def test_event_that_ends_in_cr_alone_does_not_wait() -> None:
    assert SseDecoder().feed(b"data: 1\r\r") == [Frame(b"1", 9)]


def test_event_is_there_with_its_last_byte() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: 1\n") == []
    assert decoder.feed(b"\n") == [Frame(b"1", 9)]


def test_byte_order_mark_is_dropped_at_the_start_alone() -> None:
    assert said(BOM + b"data: 1\n\n" + BOM + b"data: 2\n\ndata: 3\n\n") == [("", b"1", ""), ("", b"3", "")]


@pytest.mark.parametrize("body", [b": ping\n\n", b"\n\n\n", b"event: ping\n\n", b"id: 3\n\n", b":\r\n\r\n", b"foo\n\n"])
def test_event_without_data_gives_nothing(body: bytes) -> None:
    assert said(body) == []


def test_event_name_does_not_outlive_its_event() -> None:
    assert said(b"event: a\n\ndata: 1\n\n") == [("", b"1", "")]


def test_id_lasts_until_the_next_one_and_comes_from_events_without_data_too() -> None:
    assert said(b"id: 1\n\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\n") == [
        ("", b"a", "1"),
        ("", b"b", "1"),
        ("", b"c", "2"),
    ]


def test_id_with_nul_is_ignored() -> None:
    assert said(b"id: 1\nid: 2\0\ndata: a\n\n") == [("", b"a", "1")]


@pytest.mark.parametrize(
    ("field", "retry"),
    [
        (b"retry: 3000", 3000),
        (b"retry:0", 0),
        (b"retry: 3s", None),
        (b"retry: -1", None),
        (b"retry", None),
        (b"retry: \xd9\xa3", None),
        (b"retry: " + b"9" * 5000, None),
    ],
)
def test_retry_is_ascii_digits_only(field: bytes, retry: int | None) -> None:
    body = field + b"\ndata: a\n\ndata: b\n\n"
    frames = whole(SseDecoder, body)
    assert [frame.retry for frame in frames if isinstance(frame, Frame)] == [retry, None]


def test_retry_without_data_comes_with_the_next_frame() -> None:
    assert SseDecoder().feed(b"retry: 5\n\ndata: a\n\n") == [Frame(b"a", 19, retry=5)]


def test_field_names_are_case_sensitive_and_not_trimmed() -> None:
    assert said(b"Data: 1\n data: 2\ndata : 3\ndata: 4\n\n") == [("", b"4", "")]


def test_data_passes_undecoded() -> None:
    assert said(b"data: \xff\xfe\0\x0b\x0c\xe2\x80\xa8\n\n") == [("", b"\xff\xfe\0\x0b\x0c\xe2\x80\xa8", "")]


def test_end_is_just_past_the_blank_line() -> None:
    body = b": c\n\ndata: 1\r\n\r\n\r\ndata: 2\n\ndata: 3"
    ends = [frame.end for frame in whole(SseDecoder, body)]
    assert [body[:end] for end in ends] == [b": c\n\ndata: 1\r\n\r\n", b": c\n\ndata: 1\r\n\r\n\r\ndata: 2\n\n", body]


@pytest.mark.parametrize("rest", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n", b"data: [DONE]\r\n\r"])
def test_unterminated_final_event_is_dispatched_at_the_end(rest: bytes) -> None:
    assert said(b"data: 1\n\n" + rest) == [("", b"1", ""), ("", b"[DONE]", "")]


def test_event_that_waited_for_its_line_feed_is_whole_at_the_end() -> None:
    assert said(b"data:\r\n\r") == [("", b"", "")]
    assert said(b"data:\r\n") == []


def test_close_gives_an_event_once() -> None:
    decoder = SseDecoder()
    decoder.feed(b"data: 1")
    assert decoder.close() == [Frame(b"1", 7)]
    assert decoder.close() == []


# Limits.


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_event_over_the_limit_is_one_damage_and_decoding_goes_on(end: bytes, size: int) -> None:
    long = b"event: x\ndata: " + b"a" * 40
    body = b"data: 1" + end + long + end + b"data: 2" + end
    frames = pieces(lambda: SseDecoder(limit=20), body, size)
    assert [type(frame) for frame in frames] == [Frame, Damage, Frame]
    assert [frame.end for frame in frames] == [7 + len(end), 7 + len(long) + 2 * len(end), len(body)]
    assert datas([frame for frame in frames if isinstance(frame, Frame)]) == [b"1", b"2"]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\r", b"\n\r", b"\r\n", b"\n", b"\r", b""])
@pytest.mark.parametrize(("length", "kind"), [(20, Frame), (21, Damage)])
def test_limit_is_exact_whatever_the_line_end(end: bytes, length: int, kind: type) -> None:
    body = b"data: ".ljust(length, b"a") + end
    for size in (1, 2, 5, 100):
        frames = pieces(lambda: SseDecoder(limit=20), body, size)
        assert [type(frame) for frame in frames] == [kind]


def test_rest_of_an_event_over_the_limit_is_no_event_though_it_looks_like_one() -> None:
    decoder = SseDecoder(limit=20)
    assert decoder.feed(b"x" * 50 + b"da") == decoder.feed(b"ta: 1") == []
    assert decoder.feed(b"\n\ndata: 2\n\n")[1:] == [Frame(b"2", 68)]
    decoder = SseDecoder(limit=20)
    assert decoder.feed(b"x" * 50 + b"da") == []
    assert [type(frame) for frame in decoder.feed(b"ta: 1\n\n")] == [Damage]


def test_event_over_the_limit_that_never_ends_is_one_damage_at_the_end() -> None:
    body = b"data: " + b"a" * 100
    assert [(type(f), f.end) for f in pieces(lambda: SseDecoder(limit=20), body, 9)] == [(Damage, len(body))]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize(("length", "size"), [(300_000, 1), (10_000_000, 1024)])
def test_large_frame_in_small_chunks_is_searched_once(end: bytes, length: int, size: int) -> None:
    body = b"data: " + b"x" * length + end
    # Three line-end pairs are looked for, each from two bytes before what is new.
    assert searched_in(SseDecoder, body, size) <= 5 * len(body) + 15 * len(body) // size


# Any bytes, any split.


@given(joined(*PARTS), CUTS)
@example(b"data: 1\r\r\n\r\ndata: 2\n\r\n\n", [])
def test_any_body_reads_as_the_specification_says_at_any_split(body: bytes, cuts: list[int]) -> None:
    frames = cut(SseDecoder, body, cuts)
    assert frames == whole(SseDecoder, body)
    assert [(f.event, f.data, f.id) for f in frames if isinstance(f, Frame)] == by_the_book(body)
    assert len(frames) == len(by_the_book(body))


@given(joined(*PARTS), CUTS, st.integers(0, 12))
def test_any_split_gives_the_same_damage_and_memory_stays_bounded(body: bytes, cuts: list[int], limit: int) -> None:
    frames = cut(lambda: SseDecoder(limit), body, cuts, held=limit + 5)
    assert frames == whole(lambda: SseDecoder(limit), body)
    assert frames == pieces(lambda: SseDecoder(limit), body, 1)
    assert [frame.end for frame in frames] == sorted({frame.end for frame in frames})


@given(st.lists(st.binary(max_size=60)))
def test_arbitrary_bytes_never_raise(chunks: list[bytes]) -> None:
    decoder = SseDecoder(limit=30)
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)] + decoder.close()
    assert all(frame.end <= sum(map(len, chunks)) for frame in frames)


@given(joined(*PARTS))
def test_bytes_cut_at_a_frames_end_decode_on_their_own(body: bytes) -> None:
    """What resuming a stream needs: what follows `end` reads the same without what came before (ids aside)."""
    frames = whole(SseDecoder, body)
    for i, frame in enumerate(frames):
        rest = by_the_book(b"\n" + body[frame.end :])
        assert [r[:2] for r in rest] == [(f.event, f.data) for f in frames[i + 1 :] if isinstance(f, Frame)]


# Encoding.


def test_encode_writes_fields_in_order() -> None:
    assert encode_sse("{}", event="ping", id="s:1", retry=3000) == b"event: ping\nid: s:1\nretry: 3000\ndata: {}\n\n"


def test_encode_plain_data() -> None:
    assert encode_sse(b'{"a":1}') == b'data: {"a":1}\n\n'


def test_encode_cannot_be_broken_out_of() -> None:
    body = encode_sse("a\n\nevent: evil\r\rdata: b", event="x\ndata: evil", id="1\r\n\r\ndata: evil")
    assert said(body) == [("xdata: evil", b"a\n\nevent: evil\n\ndata: b", "1data: evil")]


def test_encode_leaves_out_an_id_with_nul_and_replaces_lone_surrogates() -> None:
    assert encode_sse("a\ud83d", id="\0") == "data: a\ufffd\n\n".encode()


@given(st.text() | st.text(st.characters(min_codepoint=0xD7F0, max_codepoint=0xE010)), st.text(), st.text(), CUTS)
def test_encode_and_decode_round_trip(data: str, event: str, id: str, cuts: list[int]) -> None:
    body = encode_sse(data, event=event, id=id, retry=7)
    (frame,) = cut(SseDecoder, body, cuts)
    text = data.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert isinstance(frame, Frame)
    assert frame.data.decode() == text.replace("\r\n", "\n").replace("\r", "\n")
    assert frame.event == re.sub("[\r\n]", "", event)
    assert frame.id == ("" if "\0" in id else re.sub("[\r\n]", "", id))
    assert (frame.retry, frame.end) == (7, len(body))


@given(st.lists(st.binary().filter(lambda data: b"\r" not in data)))
def test_encoded_bytes_come_back_byte_for_byte(datas_in: list[bytes]) -> None:
    assert datas(whole(SseDecoder, b"".join(map(encode_sse, datas_in)))) == datas_in
