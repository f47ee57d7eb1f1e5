"""What a row keeps of a stranger's text."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.records import ERROR_LENGTH, NAME_LENGTH, clean, named, utc


@pytest.mark.parametrize(
    "secret",
    ["sk-abcdefgh12345678", "Bearer abc.def-ghi", "AIzaSyA1234567890abcdef", "x" * 64, "eyJhbGciOiJIUzI1NiJ9.e30"],
)
def test_clean_hides_what_looks_like_a_credential(secret: str) -> None:
    assert secret not in clean(f"Incorrect key {secret} given", ERROR_LENGTH)


@given(st.text(), st.integers(1, 400))
def test_clean_is_short_and_printable(text: str, length: int) -> None:
    assert len(clean(text, length)) <= max(length, 0)
    assert clean(text, length).isprintable()


def test_a_name_out_of_an_answer_is_printable_and_short() -> None:
    assert named("gpt-4o") == "gpt-4o"
    assert named("m\x1b[2J\u202e\ud800\0x") == "m [2J   x"
    assert len(named("m" * 10_000)) == NAME_LENGTH
    assert named("a" * 60) == "a" * 60  # looks like a credential; a model's name may


def test_times_of_different_zones_compare_as_text() -> None:
    early, late = (
        datetime.fromisoformat("2026-01-31T11:00:00+05:00"),
        datetime.fromisoformat("2026-01-31T09:00:00.5+01:00"),
    )
    assert [utc(early), utc(late)] == ["2026-01-31T06:00:00.000Z", "2026-01-31T08:00:00.500Z"]
