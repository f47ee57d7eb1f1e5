"""What the live page says of one stream: estimated tokens, states, and what it was seen to do."""

from __future__ import annotations

from typing import Any

import pytest

from databases import record
from midstream.events import END, Text, Usage
from midstream.ledger import Account
from midstream.observation import Observation
from midstream.watch import tracks
from midstream.watch.tracks import MOMENTS, SAMPLES, STALL, Track, details, ended, epoch

WALL = epoch("2026-01-31T10:00:00.000Z", 0.0)


def observed(**values: Any) -> tuple[Observation, Track]:
    observation = Observation(record(model_requested="gpt-4o", provider="openai", **values), 0.0)
    return observation, Track(Account(observation), 0.0, WALL)


def test_the_first_look_tells_all_and_the_next_only_what_changed() -> None:
    observation, track = observed(app="curl")
    assert track.see(observation, 0.1)["app"] == "curl"
    assert track.see(observation, 0.2) == {}
    observation.feed([Text("Hello, world")], 0.3)
    assert track.see(observation, 0.3) == {"state": "streaming", "ttft_ms": 300.0, "tokens": 3}


def test_a_content_event_is_a_token_at_least() -> None:
    observation, track = observed()
    for n in range(5):
        observation.feed([Text("a")], n / 10)
    assert track.see(observation, 0.5)["tokens"] == 5


def test_text_that_was_handed_over_to_be_counted_still_counts() -> None:
    observation, track = observed()
    observation.feed([Text("a" * 400)], 0.1)
    track.see(observation, 0.1)
    observation.take_text()
    observation.feed([Text("a" * 40)], 0.2)
    assert track.see(observation, 0.2)["tokens"] == 110


def test_silence_is_a_stall_and_then_a_moment_with_its_place_and_length() -> None:
    observation, track = observed()
    observation.feed([Text("a")], 0.5)
    track.see(observation, 0.5)
    assert track.see(observation, 0.5 + STALL) == {"state": "stalled"}
    observation.feed([Text("b")], 4.0)
    assert track.see(observation, 4.0)["state"] == "streaming"
    assert list(track.moments) == [{"kind": "stall", "at_ms": 500, "lasted_ms": 3500}]


def test_no_stall_before_the_first_token() -> None:
    observation, track = observed()
    assert track.see(observation, 60.0)["state"] == "waiting"
    observation.feed([Text("a")], 61.0)
    track.see(observation, 61.0)
    assert not track.moments


def test_a_break_is_mended_until_the_next_attempt_begins() -> None:
    observation, track = observed()
    observation.begin_attempt("openai", "gpt-4o", "2026-01-31T10:00:00.000Z", 0.0)
    observation.feed([Text("a")], 0.1)
    observation.end_attempt("connection_error", 0.2)
    assert track.see(observation, 0.2)["state"] == "mending"
    observation.begin_attempt("backup", "gpt-4o-mini", "2026-01-31T10:00:00.300Z", 0.3)
    changed = track.see(observation, 0.3)
    assert (changed["state"], changed["provider"], changed["rerouted"]) == ("streaming", "backup", 1)
    assert track.facts["breaks"] == 1


def test_resumes_and_pauses_are_moments() -> None:
    observation, track = observed()
    track.see(observation, 0.0)
    observation.record.resumes += 1
    track.see(observation, 1.0)
    observation.record.paused_ms = 250.0
    track.see(observation, 2.0)
    assert list(track.moments) == [
        {"kind": "resume", "at_ms": 1000},
        {"kind": "pause", "at_ms": 1750, "lasted_ms": 250},
    ]


def test_being_held_back_for_a_moment_is_no_moment_but_adds_up() -> None:
    observation, track = observed()
    track.see(observation, 0.0)
    for n in range(1, 5):
        observation.record.paused_ms = n * 30.0
        track.see(observation, n / 10)
    assert [(one["kind"], one["lasted_ms"]) for one in track.moments] == [("pause", 120)]


def test_moments_are_bounded() -> None:
    observation, track = observed()
    for n in range(MOMENTS * 2):
        observation.record.resumes += 1
        track.see(observation, float(n))
    assert len(track.moments) == MOMENTS


def test_a_stream_seen_late_keeps_its_own_beginning() -> None:
    observation = Observation(record(), 0.0)
    track = Track(Account(observation), 100.0, WALL + 30)
    assert track.began == pytest.approx(70.0)


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    assert Track(Account(Observation(record(), 0.0)), 100.0, WALL - 3600).began == 100.0


@pytest.mark.parametrize("started_at", ["", "yesterday", "2026-99-99T00:00:00Z"])
def test_a_time_that_is_none_is_now(started_at: str) -> None:
    assert epoch(started_at, 7.0) == 7.0


def test_samples_are_tokens_a_second_and_bounded() -> None:
    observation, track = observed()
    for n in range(SAMPLES + 5):
        observation.feed([Text("a")] * (n % 3), float(n))
        track.see(observation, float(n))
        track.sample(0.5)
    assert len(track.samples) == SAMPLES
    assert list(track.samples)[-3:] == [n % 3 * 2 for n in range(SAMPLES + 2, SAMPLES + 5)]


def test_looking_begins_no_attempt() -> None:
    observation, track = observed()
    track.see(observation, 0.0)
    details(observation, [])
    assert observation.attempts == []


def test_an_ended_stream_has_the_counts_of_its_row() -> None:
    observation, _ = observed()
    observation.feed([Text("a"), Usage(3, 40), END], 0.5)
    observation.settle("complete", 1.0)
    said = ended(observation)
    assert (said["state"], said["tokens"], said["duration_ms"], said["ttft_ms"]) == ("complete", 40, 1000.0, 500.0)


def test_an_ended_stream_is_at_the_provider_that_answered_last() -> None:
    observation, _ = observed()
    observation.begin_attempt("openai", "gpt-4o", "2026-01-31T10:00:00.000Z", 0.0)
    observation.end_attempt("server_error", 0.1)
    observation.begin_attempt("backup", "m", "2026-01-31T10:00:00.100Z", 0.1)
    observation.feed([Text("a"), END], 0.5)
    observation.settle("complete", 1.0)
    assert ended(observation)["provider"] == "backup"


def test_a_streams_page_has_no_text_of_it() -> None:
    observation, _ = observed()
    observation.feed([Text("a secret")], 0.5)
    observation.settle("truncated", 1.0)
    said = details(observation, [{"kind": "stall", "at_ms": 1, "lasted_ms": 2}])
    assert "secret" not in repr(said)
    assert set(said["attempts"][0]) == set(tracks.ATTEMPT)
    assert said["moments"][0]["kind"] == "stall"
