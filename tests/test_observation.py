"""Events and a clock → a row's figures."""

from __future__ import annotations

import pytest

from midstream.events import END, OPAQUE, Event, Failure, Finish, Malformed, Reasoning, Start, Text, ToolCall, Usage
from midstream.gaps import GAPS
from midstream.observation import Observation, Outcome, StreamRecord


def observe(*steps: tuple[float, list[Event]], outcome: Outcome = "complete", end: float | None = None) -> StreamRecord:
    observation = Observation(StreamRecord(id="s", started_at="t"), 100.0)
    for at, events in steps:
        observation.feed(events, 100.0 + at)
    return observation.settle(outcome, 100.0 + (steps[-1][0] if end is None else end))


def test_first_token_is_the_first_content_not_the_first_bytes() -> None:
    row = observe((0.1, [Start(model="m")]), (0.2, [OPAQUE]), (0.5, [Text("a")]), (0.9, [END]))
    assert row.ttft_ms == pytest.approx(500)
    assert row.duration_ms == pytest.approx(900)


@pytest.mark.parametrize("content", [Reasoning("hm"), ToolCall(0, "id", "f")])
def test_reasoning_and_tool_calls_are_content(content: Event) -> None:
    assert observe((0.25, [content]), (0.3, [END])).ttft_ms == pytest.approx(250)


def test_gaps_are_between_content_only() -> None:
    steps: list[tuple[float, list[Event]]] = [(t, [Text("a")]) for t in (1.0, 1.1, 1.3, 1.6, 2.0)]
    row = observe(*steps, (1.9, [OPAQUE]), (2.1, [END]))
    assert row.gap_p50_ms == pytest.approx(250)
    assert row.gap_max_ms == pytest.approx(400)
    assert row.gap_p95_ms == pytest.approx(385)
    assert row.chunks == 5


def test_tokens_per_second_is_over_the_generation_without_the_wait() -> None:
    row = observe((5.0, [Text("a")]), (7.0, [Text("b")]), (9.0, [Usage(10, 50), END]))
    assert row.tokens_per_s == pytest.approx(25)
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (10, 50, "provider")


@pytest.mark.parametrize(
    ("first", "rate"),
    [(Text("a"), 50.0), (Reasoning("", signature="s"), 50.0), (Reasoning("hm"), 2050 / 21)],
    ids=["hidden", "a signature alone", "shown"],
)
def test_reasoning_that_nobody_saw_come_makes_no_stream_faster(first: Event, rate: float) -> None:
    """20 s of silence, then a second of text: of the reasoning's tokens only those that were sent came in that time."""
    at = 0.0 if rate > 50 else 20.0
    usage = Usage(10, 2050, reasoning_tokens=2000)
    row = observe((at, [first]), (20.0, [Text("a")]), (21.0, [Text("b"), Finish("stop"), usage, END]))
    assert row.tokens_per_s == pytest.approx(rate)
    assert (row.output_tokens, row.reasoning_tokens) == (2050, 2000)


def test_what_is_no_count_of_tokens_reaches_no_row_whatever_the_dialect() -> None:
    row = observe((1.0, [Text("a"), Usage(2**70, -7, 2**53, -1, 5, raw={}), END]))
    assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.reasoning_tokens) == (None, None, None, 5)


def test_an_answer_of_hidden_reasoning_alone_has_no_rate() -> None:
    usage = Usage(10, 20, reasoning_tokens=20)
    assert observe((1.0, [Text("a")]), (2.0, [Text("b"), usage, END])).tokens_per_s is None


def test_a_stream_with_one_content_event_has_no_rate_and_nogaps() -> None:
    row = observe((1.0, [Text("a"), Usage(1, 1), END]))
    assert (row.tokens_per_s, row.gap_p50_ms, row.gap_max_ms) == (None, None, None)


@pytest.mark.parametrize("end", ["client_gone", "truncated", "interrupted", "complete"])
def test_what_the_stream_said_goes_before_how_the_connection_ended(end: Outcome) -> None:
    assert observe((1.0, [Text("a"), Finish("stop"), END]), outcome=end).outcome == "complete"


def test_a_failure_in_the_stream_is_a_failed_one_even_if_it_went_on_to_its_end() -> None:
    row = observe((1.0, [Text("a")]), (2.0, [Failure("overloaded", "overloaded_error"), END]))
    assert (row.outcome, row.error_type, row.error) == ("failed", "overloaded_error", "overloaded")


def test_a_missing_terminal_event_is_truncation_unless_the_client_left() -> None:
    truncated = Failure("too early", "truncated")
    assert observe((1.0, [Text("a"), truncated])).outcome == "truncated"
    assert observe((1.0, [Text("a"), truncated]), outcome="client_gone").outcome == "client_gone"


def test_the_connections_own_error_explains_a_truncation_best() -> None:
    observation = Observation(StreamRecord(id="s", started_at="t"), 0.0)
    observation.feed([Text("a"), Failure("too early", "truncated")], 1.0)
    row = observation.settle("truncated", 2.0, error_type="connection_error", error="reset by peer")
    assert (row.error_type, row.error) == ("connection_error", "reset by peer")


def test_malformed_frames_are_counted_on_a_complete_stream() -> None:
    row = observe((1.0, [Malformed("not JSON"), Malformed("worse"), Text("a"), END]))
    assert (row.outcome, row.error_type, row.error) == ("complete", "malformed", "2 malformed: not JSON")


def test_the_first_choice_names_the_finish_reason() -> None:
    row = observe((1.0, [Finish("length", choice=1), Finish("stop", choice=0), Finish("x", choice=2), END]))
    assert row.finish_reason == "stop"


def test_text_is_handed_over_once() -> None:
    observation = Observation(StreamRecord(id="s", started_at="t"), 0.0)
    observation.feed([Text("ab"), Reasoning("c")], 1.0)
    assert (observation.text_size, observation.take_text()) == (3, "abc")
    assert (observation.text_size, observation.take_text()) == (0, "")


def test_a_long_stream_keeps_a_bounded_sample_of_itsgaps() -> None:
    observation = Observation(StreamRecord(id="s", started_at="t"), 0.0)
    for n in range(3 * GAPS):
        observation.feed([Text("a")], n * 0.01)
    assert len(observation.gaps) == GAPS
    row = observation.settle("complete", 1000.0)
    assert row.gap_p50_ms == pytest.approx(10)
    assert row.chunks == 3 * GAPS


def test_restart_measures_from_the_later_request() -> None:
    observation = Observation(StreamRecord(id="s", started_at="t"), 0.0)
    observation.restart(5.0)
    observation.feed([Text("a"), END], 6.0)
    assert observation.settle("complete", 6.0).ttft_ms == pytest.approx(1000)
