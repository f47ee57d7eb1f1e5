"""What a row keeps of a stranger's text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.records import ERROR_LENGTH, clean


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
