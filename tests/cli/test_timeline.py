"""A stream's attempts as a drawing that is read without colours, at any width, whatever is in the rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from midstream.cli.timeline import PLAIN, RICH, timeline

STREAM = {"started_at": "2026-11-24T04:00:00.000Z", "duration_ms": 4000.0}
BROKEN = {
    "n": 1,
    "provider": "openai",
    "model": "gpt-4o",
    "started_at": "2026-11-24T04:00:00.000Z",
    "http_status": 200,
    "ttft_ms": 1000.0,
    "duration_ms": 2000.0,
    "input_tokens": 1000,
    "output_tokens": 40,
    "usage_source": "tiktoken",
    "cost_usd": 0.0031,
    "ended": "connection_error",
    "error": "reset",
    "next": "backup/gpt-4o-mini",
}
WHOLE = BROKEN | {
    "n": 2,
    "provider": "backup",
    "model": "gpt-4o-mini",
    "started_at": "2026-11-24T04:00:02.000Z",
    "usage_source": "provider",
    "output_tokens": 25,
    "cost_usd": 0.0004,
    "ended": "complete",
    "error": None,
    "next": "",
}


def drawn(*attempts: dict[str, Any], width: int = 80, stream: dict[str, Any] = STREAM) -> list[str]:
    return [line.plain for line in timeline(stream, attempts, width, PLAIN)]


def test_an_attempt_is_a_bar_with_its_figures_and_a_line_that_says_how_it_ended() -> None:
    head, first, told, second, done, note = drawn(BROKEN, WHOLE)
    assert head.split()[:5] == ["at", ".", "waits", "#", "streams"]
    assert first.split() == ["1", "0", "ms", "......######", "200", "1.00", "s", "~1,000", "~40", "~$0.0031"]
    assert told == "   openai/gpt-4o: connection_error after 2.00 s (reset) -> backup/gpt-4o-mini"
    assert second.split() == ["2", "2.00", "s", "......######", "200", "1.00", "s", "1,000", "25", "$0.0004"]
    assert done == "   backup/gpt-4o-mini: complete after 2.00 s"
    assert note.startswith("~ ")


def test_bars_stand_at_their_place_in_the_streams_duration() -> None:
    _, first, _, second, _, _ = drawn(BROKEN, WHOLE, width=120)
    begins, breaks_off = first.index("."), first.rindex("#") + 1
    assert second.index("....") == breaks_off
    assert breaks_off - begins == second.rindex("#") + 1 - second.index("....")


@pytest.mark.parametrize("width", [80, 100, 240])
def test_no_line_with_a_bar_is_wider_than_the_terminal(width: int) -> None:
    long = BROKEN | {"n": 12, "started_at": "2026-11-24T05:10:00.000Z", "input_tokens": 1_234_567, "cost_usd": 12.5}
    head, first, _, second, _, _ = drawn(BROKEN, long, width=width)
    assert max(map(len, (head, first, second))) <= width


def test_the_figures_stand_below_one_another() -> None:
    head, first, _, second, _, _ = drawn(BROKEN, WHOLE)
    assert len(head) == len(first) == len(second)


def test_an_attempt_that_got_no_token_only_waited_and_shows_however_short_it_was() -> None:
    refused = BROKEN | {"ttft_ms": None, "duration_ms": 1.0, "output_tokens": None, "ended": "server_error"}
    line = drawn(refused, WHOLE)[1]
    assert "." in line.split()
    assert "#" not in line


@pytest.mark.parametrize("beyond", [5000.0, 1e308])
def test_a_first_token_beyond_the_attempts_end_is_drawn_at_its_end(beyond: float) -> None:
    _, line, *_ = drawn(BROKEN | {"ttft_ms": beyond}, stream={})
    assert line.count("#") == 1


def test_a_short_stream_of_tokens_after_a_long_wait_shows() -> None:
    assert "#" in drawn(BROKEN | {"ttft_ms": 1999.0})[1]


def test_the_note_is_there_only_if_something_was_counted_here() -> None:
    assert len(drawn(WHOLE)) == 3


def test_what_an_older_midstream_wrote_is_drawn() -> None:
    old = {"stream_id": "s", "n": 1, "provider": "p", "model": "m", "started_at": "2026-11-24T04:00:00.000Z"}
    _, line, told = drawn(old)
    assert line.split()[:3] == ["1", "0", "ms"]
    assert told.strip() == "p/m: ?"


def test_colours_say_nothing_that_the_words_do_not() -> None:
    rich, plain = timeline(STREAM, [BROKEN], 80, RICH), timeline(STREAM, [BROKEN], 80, PLAIN)
    words = rich[1].plain.replace(RICH.wait, PLAIN.wait).replace(RICH.stream, PLAIN.stream)
    assert words == plain[1].plain
    assert any(span.style == "red" for span in rich[1].spans)


def test_names_from_the_network_are_harmless() -> None:
    evil = dict.fromkeys(("provider", "model", "ended", "error", "next", "http_status"), "\x1b]0;owned\x07[red]x")
    for line in drawn(BROKEN | evil):
        assert line.isprintable()


anything = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=20))


@given(
    st.dictionaries(st.sampled_from(sorted(STREAM)), anything),
    st.lists(st.dictionaries(st.sampled_from(sorted(BROKEN)), anything), min_size=1, max_size=4),
    st.integers(1, 300),
)
def test_whatever_is_in_a_row_is_drawn(stream: dict[str, Any], attempts: list[dict[str, Any]], width: int) -> None:
    lines = timeline(stream, attempts, width, RICH)
    assert all(isinstance(line, Text) for line in lines)
    assert len(lines) >= 1 + 2 * len(attempts)
