"""Request heads: what every HTTP implementation reads alike passes, and nothing else reaches the relay's server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.relay import heads

HOST = (b"host", b"midstream.internal")


@pytest.mark.parametrize(
    "target", [b"/", b"/v1/chat/stream?model=m&prompt=x%20y", b"/" + b"a" * (heads.TARGET_LIMIT - 1)]
)
def test_an_ordinary_head_passes(target: bytes) -> None:
    fields = [HOST, (b"x-words", "grüße\t".encode("latin-1")), (b"x-empty", b"")]
    assert heads.fault_of(b"GET", target, fields) is None


@pytest.mark.parametrize(
    ("method", "target", "fields", "status"),
    [
        (b"G\x1bT", b"/", [], 400),
        (b"", b"/", [], 400),
        (b"GET", b"*", [], 400),
        (b"GET", b"http://169.254.169.254/", [], 400),
        (b"GET", b"/a\x00b", [], 400),
        (b"GET", b"/a\r\nx: y", [], 400),
        (b"GET", b"/\xff", [], 400),
        (b"GET", b"/" + b"a" * heads.TARGET_LIMIT, [], 414),
        (b"GET", b"/", [(b"x y", b"")], 400),
        (b"GET", b"/", [(b"", b"")], 400),
        (b"GET", b"/", [(b"x", b"a\r\n b")], 400),
        (b"GET", b"/", [(b"x", b"a\x00")], 400),
        (b"GET", b"/", [(b"x", b"\x1b[2J")], 400),
        (b"GET", b"/", [(b"x", b"y" * (heads.FIELD_LIMIT + 1))], 431),
        (b"GET", b"/", [(b"x", b"y" * heads.FIELD_LIMIT)] * 2, 431),
        (b"GET", b"/", [(b"x", b"y")] * (heads.COUNT_LIMIT + 1), 431),
    ],
)
def test_a_head_that_servers_read_differently_is_refused(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], status: int
) -> None:
    fault = heads.fault_of(method, target, fields)
    assert fault is not None
    answered, body, headers = heads.answer(fault)
    assert (answered, headers["cache-control"]) == (status, "no-store")
    assert b'"invalid_request_error"' in body


@given(st.binary(max_size=9), st.binary(max_size=9), st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9))))
def test_no_line_end_and_no_nul_ever_passes(method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    if heads.fault_of(method, b"/" + target, fields) is None:
        written = method + target + b"".join(name + value for name, value in fields)
        assert not {*b"\r\n\0"} & {*written}


@pytest.mark.parametrize(
    ("length", "passed_on"),
    [
        ("", ""),
        ("5", ""),
        ("0" * 40 + "5", ""),
        (str(heads.LENGTH_LIMIT), ""),
        ("9" * 30, str(heads.LENGTH_LIMIT)),
        ("x", ""),
    ],
)
def test_a_length_that_nobody_can_count_is_cut(length: str, passed_on: str) -> None:
    assert heads.countable({"content-length": length}) == passed_on


def test_of_a_body_that_is_here_the_length_is_its_own() -> None:
    assert heads.countable({"content-length": "10"}, b"") == "0"
    assert heads.countable({"content-length": "10"}, b"abc") == "3"
    assert heads.countable({}, b"abc") == ""
