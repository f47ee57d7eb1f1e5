from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from midstream.cli.charts import BLOCKS
from midstream.cli.tail_screen import SAMPLES, Screen, health, tries

NOW = datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC)
HOSTILE = "evil\x1b]0;owned\x07[red]model[/red]"


def running(id_: str = "a", **values: Any) -> dict[str, Any]:
    usual = {
        "started_at": "2026-11-26T12:00:00.000Z",
        "model_requested": "gpt",
        "model_served": "",
        "provider": "openai",
    }
    return {"id": id_, "attempts": 1, **usual, **values}


def drawn(
    screen: Screen,
    rows: list[dict[str, Any]],
    targets: Sequence[dict[str, Any]] = (),
    size: tuple[int, int] = (200, 40),
) -> str:
    console = Console(width=size[0], height=size[1], color_system=None, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(screen.draw(rows, targets, NOW, size))
    return captured.get()


def test_tokens_per_second_are_those_of_the_last_seconds_with_a_sparkline() -> None:
    screen = Screen()
    for tokens in (0, 10, 30, 70, 70):
        rows = [running(ttft_ms=100.0, tokens=tokens)]
        screen.sample(rows)
    shown = drawn(screen, rows)
    assert "streaming" in shown
    assert "20.0" in shown  # of (20, 40, 0)
    assert f"{BLOCKS[2]}{BLOCKS[4]}{BLOCKS[7]}" in shown
    assert "30.00 s" in shown


def test_a_stream_that_ran_before_tail_did_is_not_taken_for_a_fast_one() -> None:
    screen = Screen()
    rows = [running(ttft_ms=100.0, tokens=5000)]
    screen.sample(rows)
    assert " 0.0 " in drawn(screen, rows)


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "waiting"),
        ({"attempts": 2}, "mending"),
        ({"ttft_ms": 1.0, "tokens": 3}, "stalled"),
    ],
)
def test_what_a_stream_does(values: dict[str, Any], state: str) -> None:
    screen = Screen()
    rows = [running(**values)]
    for _ in range(3):
        screen.sample(rows)
    assert state in drawn(screen, rows)


def test_a_provider_that_is_held_back_now_is_told() -> None:
    screen = Screen()
    for paused in (0.0, 700.0):
        rows = [running(ttft_ms=1.0, tokens=3, paused_ms=paused)]
        screen.sample(rows)
    assert "held back" in drawn(screen, rows).splitlines()[-2]
    assert "700 ms" in drawn(screen, rows)


def test_whom_it_was_sent_to_last_and_how_often() -> None:
    rows = [running(asked="anthropic", attempts=3, rerouted=1, breaks=1)]
    assert "anthropic" in drawn(Screen(), rows)
    assert "3: 1 rerouted, 1 broken" in drawn(Screen(), rows)
    assert tries(running()) == ""
    assert tries(running(resumes=2)) == "1: 2 resumed"


def test_a_stream_that_ended_keeps_its_sparkline() -> None:
    screen = Screen()
    screen.sample([running(tokens=0)])
    screen.sample([running(tokens=9)])
    screen.end([running(outcome="complete", output_tokens=12, tokens_per_s=33.3, duration_ms=2000.0)])
    shown = drawn(screen, [])
    assert "complete" in shown
    assert "33.3" in shown
    assert BLOCKS[-1] in shown


def test_what_has_no_room_is_counted() -> None:
    rows = [running(f"{n:03}") for n in range(500)]
    shown = drawn(Screen(), rows, size=(80, 24))
    assert len(shown.splitlines()) <= 24
    assert "500 in flight, 482 of them not shown" in shown


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_it_fits_the_terminal_and_obeys_no_stranger(width: int) -> None:
    rows = [running(model_requested=HOSTILE, app=HOSTILE, asked=HOSTILE, ttft_ms=5.0)]
    targets = health([{"provider": HOSTILE, "model": "m", "ended": HOSTILE, "started_at": "2026-11-26T12:00:00.000Z"}])
    shown = drawn(Screen(), rows, targets, (width, 24))
    assert shown.replace("\n", "").isprintable()
    assert max(map(len, shown.splitlines())) <= width


def attempts(*ended: str) -> list[dict[str, Any]]:
    at = (NOW - timedelta(seconds=10 * (len(ended) - n)) for n in range(len(ended)))
    return [
        {"provider": "openai", "model": "gpt", "ended": end, "started_at": when.isoformat()}
        for end, when in zip(ended, at, strict=True)
    ]


def test_the_health_of_a_target_is_how_its_last_attempts_ended() -> None:
    [target] = health(attempts("timeout", "complete", "overloaded", "client_gone", "overloaded"))
    assert (target["attempts"], target["failed"], target["in_a_row"], target["how"]) == (5, 3, 2, "overloaded")
    shown = drawn(Screen(), [], [target])
    assert "openai/gpt: 3 of 5 attempts failed in 15 minutes, the last 10.00 s ago (overloaded), 2 in a row" in shown


def test_of_targets_that_do_well_nothing_is_told() -> None:
    assert "openai" not in drawn(Screen(), [], health(attempts("complete", "client_gone")))


def test_a_sparkline_has_an_end() -> None:
    screen = Screen()
    for tokens in range(100):
        screen.sample([running(tokens=tokens, ttft_ms=1.0)])
    assert drawn(screen, [running(tokens=99, ttft_ms=1.0)]).count(BLOCKS[-1]) == SAMPLES
