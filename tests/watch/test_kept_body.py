"""What is kept of a body: no more than the limit, and the times that go with it."""

from __future__ import annotations

import pytest

from midstream.watch import kept_body
from midstream.watch.kept_body import KeptBody, cut_of, timed


def test_the_first_bytes_are_kept_and_all_are_counted() -> None:
    body = KeptBody(5, 10.0)
    for n in range(4):
        body.add(b"abc", 10.5 + n)
    assert body.content() == b"abcab"
    assert body.notes() == {"size": 12, "kept": 5, "ends": [3, 5], "ms": [500.0, 1500.0]}
    assert cut_of(body.notes(), 5) == 12


def test_a_whole_body_is_not_cut_nor_is_one_that_was_edited() -> None:
    body = KeptBody(100, 0.0)
    body.add(b"abc", 1.0)
    assert cut_of(body.notes(), 3) == 0
    assert cut_of({"size": 12, "kept": 5}, 9) == 0
    assert cut_of({}, 9) == 0


def test_pieces_come_back_with_their_times_from_any_offset() -> None:
    body = KeptBody(100, 0.0)
    body.add(b"abc", 0.001)
    body.add(b"def", 0.002)
    data = body.content() + b"later"
    assert list(timed(data, body.notes())) == [(b"abc", 1.0), (b"def", 2.0), (b"later", None)]
    assert list(timed(data, body.notes(), 4)) == [(b"ef", 2.0), (b"later", None)]
    assert list(timed(b"abcd", body.notes())) == [(b"abc", 1.0), (b"d", None)]


def test_the_times_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_body, "EDGES", 3)
    body = KeptBody(100, 0.0)
    for n in range(10):
        body.add(b"x", n)
    assert body.notes()["ends"] == [1, 2, 3]
    assert list(timed(body.content(), body.notes()))[-1] == (b"x" * 7, None)
