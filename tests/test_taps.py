"""chain: taps see all, change nothing, and never break a stream."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest

from midstream.taps import chain


def drained(result: bytes | Iterable[bytes]) -> list[bytes]:
    return [result] if isinstance(result, bytes) else list(result)


@pytest.mark.parametrize("previous", [True, False, None])
def test_without_a_previous_callable_data_passes_through(previous: bool | None) -> None:
    seen: list[bytes] = []
    stream = chain(previous, seen.append)
    assert [drained(stream(data)) for data in (b"one", b"two", b"")] == [[b"one"], [b"two"], []]
    assert seen == [b"one", b"two", b""]


def test_what_a_previous_callable_does_is_kept() -> None:
    seen: list[bytes] = []
    bytes_back = chain(lambda data: data.upper(), seen.append)
    many_back = chain(lambda data: iter((data, b"!")), seen.append)
    assert bytes_back(b"a") == b"A"
    assert drained(many_back(b"a")) == [b"a", b"!"]
    assert drained(many_back(b"")) == [b"", b"!"]
    assert seen == [b"a", b"a", b""]


def test_two_taps_both_see_everything() -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    stream = chain(chain(True, first.append), second.append)
    assert drained(stream(b"x")) == [b"x"]
    assert drained(stream(b"")) == []
    assert first == second == [b"x", b""]


def test_a_tap_that_raises_is_logged_once_and_the_bytes_pass(caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    def broken(data: bytes) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("no")

    stream = chain(None, broken)
    with caplog.at_level(logging.ERROR):
        assert [drained(stream(data)) for data in (b"a", b"b", b"")] == [[b"a"], [b"b"], []]
    assert calls == 1
    assert len(caplog.records) == 1
