"""Several attempts in one stream: what each is charged with, and what the stream's row says of them."""

from __future__ import annotations

from typing import Any

import pytest

from midstream.attempts import Attempt, add_up, cost, rate, source, tokens
from midstream.events import END, Event, Failure, Finish, Reasoning, Start, Text, Usage
from midstream.observation import Observation, Outcome, StreamRecord
from midstream.records import NEXT_LENGTH

FIRST, SECOND = ("openai", "gpt-4o"), ("backup", "gpt-4o-mini")


def stream(**fields: Any) -> Observation:
    record = StreamRecord(id="s", started_at="t0", provider="openai", model_requested="gpt-4o", **fields)
    return Observation(record, 100.0)


def begin(observation: Observation, target: tuple[str, str], at: float) -> None:
    observation.begin_attempt(*target, f"t{at:g}", 100.0 + at)


def feed(observation: Observation, at: float, *events: Event) -> bool:
    return observation.feed(events, 100.0 + at)


def end(observation: Observation, ended: str, at: float, **said: Any) -> None:
    observation.end_attempt(ended, 100.0 + at, **said)


def settle(observation: Observation, at: float, outcome: Outcome = "complete", **said: str) -> StreamRecord:
    return observation.settle(outcome, 100.0 + at, **said)


def healed() -> Observation:
    """Broken at 2 s after two pieces, gone on with elsewhere from 3 s, whole at 5 s."""
    observation = stream()
    begin(observation, FIRST, 0)
    feed(observation, 1.0, Start(model="gpt-4o-2024"), Usage(10, 1))
    assert feed(observation, 1.5, Text("one "))
    feed(observation, 1.75, Text("two "))
    end(observation, "connection_error", 2.0, http_status=200, error="reset", next="backup/gpt-4o-mini")
    begin(observation, SECOND, 3.0)
    feed(observation, 3.5, Start(model="gpt-4o-mini-2024"))
    assert not feed(observation, 4.0, Reasoning("hm"), Text("three"))
    feed(observation, 5.0, Finish("stop"), Usage(14, 20, 4, None, 2), END)
    end(observation, "complete", 5.0, http_status=201)
    settle(observation, 5.5)
    return observation


# What each attempt is charged with


def test_each_attempt_has_its_own_figures() -> None:
    first, second = healed().attempts
    assert (first.n, first.provider, first.model, first.started_at) == (1, "openai", "gpt-4o", "t0")
    assert (first.ttft_ms, first.duration_ms, first.http_status) == (1500, 2000, 200)
    assert (first.ended, first.error, first.next) == ("connection_error", "reset", "backup/gpt-4o-mini")
    assert (second.n, second.provider, second.model, second.started_at) == (2, "backup", "gpt-4o-mini", "t3")
    assert (second.ttft_ms, second.duration_ms, second.http_status) == (1000, 2000, 201)
    assert (second.ended, second.error, second.next) == ("complete", None, "")
    assert (second.input_tokens, second.output_tokens, second.usage_source) == (14, 20, "provider")


def test_each_attempt_keeps_the_text_that_is_its_own_to_count() -> None:
    first, second = healed().attempts
    assert (first.chunks, first.plain_text, first.take_text()) == (2, True, "one two ")
    assert (second.chunks, second.plain_text) == (2, False)
    assert second.take_text() == ""  # its provider has counted it


def test_usage_from_before_the_content_of_a_broken_attempt_tells_its_input_only() -> None:
    """Anthropic's message_start reports one output token, before there is any."""
    first = healed().attempts[0]
    assert (first.input_tokens, first.output_tokens) == (10, None)
    first.counted_output(0, exact=True)
    assert first.output_tokens == 1


def test_usage_that_came_with_the_last_content_of_a_broken_attempt_is_believed() -> None:
    """Gemini and vLLM report with every chunk."""
    observation = stream()
    begin(observation, FIRST, 0)
    feed(observation, 1, Text("a"), Usage(10, 1))
    feed(observation, 2, Text("b"), Text("c"), Usage(10, 3))
    end(observation, "idle_timeout", 3)
    assert (observation.attempts[0].output_tokens, observation.attempts[0].usage_source) == (3, "provider")


def test_early_usage_of_a_complete_answer_is_believed() -> None:
    observation = stream()
    feed(observation, 1, Usage(10, 3), Text("a"))
    feed(observation, 2, Text("b"), END)
    assert settle(observation, 3).output_tokens == 3


def test_an_attempt_left_open_ends_when_the_next_begins() -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    feed(observation, 1, Text("a"), Failure("busy", "overloaded_error"))
    begin(observation, FIRST, 2)
    first = observation.attempts[0]
    assert (first.ended, first.error, first.duration_ms) == ("overloaded_error", "busy", 2000)
    begin(observation, FIRST, 3)
    assert observation.attempts[1].ended == "abandoned"


def test_an_attempt_ends_once() -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    feed(observation, 1, Text("a"))
    end(observation, "idle_timeout", 2, next="backup")
    end(observation, "complete", 3)
    settle(observation, 4, "truncated")
    assert observation.record.breaks == 1
    assert [(one.ended, one.next, one.duration_ms) for one in observation.attempts] == [
        ("idle_timeout", "backup", 2000)
    ]


def test_what_is_fed_after_an_attempts_end_is_still_its() -> None:
    """What its decoder says when it is closed."""
    observation = stream()
    begin(observation, FIRST, 0)
    feed(observation, 1, Text("a"))
    end(observation, "idle_timeout", 2)
    feed(observation, 2, Text("b"), Usage(3, 2))
    begin(observation, FIRST, 3)
    feed(observation, 4, Text("c"), END)
    settle(observation, 5)
    assert [(one.chunks, one.take_text(), one.output_tokens) for one in observation.attempts] == [
        (2, "", 2),
        (1, "c", None),
    ]


def test_what_an_attempt_says_of_itself_is_short_and_holds_no_credential() -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    end(observation, "x" * 30 + " " + "y " * 500, 1, error="key sk-abcdefgh12345678 is wrong", next="n " * 1000)
    [attempt] = observation.attempts
    assert attempt.error == "key [redacted] is wrong"
    assert len(attempt.ended) <= 200
    assert len(attempt.next) <= NEXT_LENGTH


def test_what_followed_is_noted_one_behind_the_other() -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    observation.attempt.note("before: key sk-abcdefgh12345678")
    end(observation, "connection_error", 1, next="asks backup")
    observation.attempt.note("not asked: no key")
    observation.attempt.note("")
    assert observation.attempt.next == "before: key [redacted]; asks backup; not asked: no key"


# What the stream's row says


def test_a_failed_attempt_does_not_make_a_healed_stream_failed() -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    feed(observation, 1, Failure("busy", "overloaded_error"), Finish("error"))
    end(observation, "overloaded_error", 1, http_status=503, next="retry after 2.0 s")
    begin(observation, FIRST, 3)
    feed(observation, 4, Text("a"), Finish("stop"), END)
    row = settle(observation, 5)
    assert (row.outcome, row.error_type, row.error, row.finish_reason) == ("complete", None, None, "stop")
    assert (row.attempts, row.rerouted, row.breaks) == (2, 0, 0)


def test_a_stream_counts_its_attempts_reroutes_and_breaks() -> None:
    row = healed().record
    assert (row.attempts, row.rerouted, row.breaks, row.outcome) == (2, 1, 1, "complete")


def test_another_model_of_the_same_provider_is_a_reroute_and_so_is_the_way_back() -> None:
    observation = stream()
    for at, target in enumerate([FIRST, FIRST, ("openai", "gpt-4o-mini"), FIRST]):
        begin(observation, target, at)
        end(observation, "server_error", at, http_status=500 + at)
    row = settle(observation, 9, "failed")
    assert (row.attempts, row.rerouted, row.breaks, row.http_status) == (4, 2, 0, 503)


def test_the_streams_times_count_from_its_own_beginning_and_the_pause_of_a_break_is_a_gap() -> None:
    row = healed().record
    assert (row.ttft_ms, row.duration_ms) == (1500, 5500)
    assert row.gap_max_ms == 2250
    assert row.chunks == 4
    assert row.tokens_per_s is None  # until somebody has counted the first attempt


def test_the_first_token_of_a_retry_counts_the_wait_for_the_stream_not_for_the_attempt() -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    end(observation, "first_token_timeout", 10)
    begin(observation, SECOND, 10)
    assert feed(observation, 10.25, Text("a"), END)
    row = settle(observation, 11)
    assert row.ttft_ms == 10_250
    assert [one.ttft_ms for one in observation.attempts] == [None, 250]


def test_the_status_is_the_last_attempts() -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    end(observation, "server_error", 1, http_status=500)
    begin(observation, FIRST, 2)
    end(observation, "connection_error", 3)
    assert settle(observation, 4, "failed").http_status is None


def test_the_status_may_stand_in_the_record() -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    observation.record.http_status = 200
    feed(observation, 1, Text("a"), END)
    assert settle(observation, 2).http_status == 200
    assert observation.attempts[0].http_status == 200


@pytest.mark.parametrize(
    ("named", "content", "served"),
    [
        (("gpt-4o-2024", "gpt-4o-mini-2024"), (True, True), "gpt-4o-mini-2024"),
        (
            ("gpt-4o-2024", ""),
            (True, True),
            "gpt-4o-mini",
        ),  # the fallback does not name its model: what it was asked for
        (("gpt-4o-2024", "gpt-4o-mini-2024"), (True, False), "gpt-4o-2024"),  # and it never said a word
        (("", ""), (True, False), ""),  # the model that was asked for
    ],
)
def test_the_model_is_that_of_the_last_attempt_that_answered(
    named: tuple[str, str], content: tuple[bool, bool], served: str
) -> None:
    observation = stream()
    for at, target in enumerate((FIRST, SECOND)):
        begin(observation, target, at)
        feed(observation, at, Start(model=named[at]), *([Text("a")] if content[at] else []))
        end(observation, "connection_error", at + 0.5)
    assert settle(observation, 3, "truncated").model_served == served


def test_a_stream_whose_last_attempt_failed_is_not_complete() -> None:
    for content, outcome in (([Text("a")], "truncated"), ([], "failed")):
        observation = stream()
        begin(observation, FIRST, 0)
        feed(observation, 1, *content)
        end(observation, "idle_timeout", 2, error="silent", next="gives up")
        row = settle(observation, 2)
        assert (row.outcome, row.error_type, row.error) == (outcome, "idle_timeout", "silent")


def test_an_attempt_that_lacked_its_terminal_event_alone_may_be_called_complete() -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    feed(observation, 1, Text("a"), Finish("stop"), Failure("no end", "truncated"))
    end(observation, "complete", 2)
    row = settle(observation, 2)
    assert (row.outcome, row.error, row.breaks, observation.attempts[0].error) == ("complete", None, 0, None)


def test_a_client_that_leaves_while_a_retry_is_due_is_gone() -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    feed(observation, 1, Failure("busy", "overloaded_error"))
    end(observation, "overloaded_error", 1, http_status=529, next="retry after 2.0 s")
    row = settle(observation, 2, "client_gone", error_type="client_disconnected", error="left")
    assert (row.outcome, row.error_type, row.error) == ("client_gone", "client_disconnected", "left")
    assert observation.attempts[0].ended == "overloaded_error"


@pytest.mark.parametrize(
    ("outcome", "said", "ended", "breaks"),
    [
        ("complete", [END], "complete", 0),
        ("client_gone", [], "client_gone", 0),
        ("interrupted", [], "interrupted", 0),
        ("truncated", [], "connection_error", 1),
        ("failed", [Failure("busy", "overloaded_error")], "overloaded_error", 1),
    ],
)
def test_an_open_attempt_ends_as_its_stream_does(outcome: Outcome, said: list[Event], ended: str, breaks: int) -> None:
    observation = stream()
    begin(observation, FIRST, 0)
    feed(observation, 1, Text("a"), *said)
    row = settle(observation, 2, outcome, error_type="connection_error")
    assert (observation.attempts[0].ended, row.breaks, row.outcome) == (ended, breaks, outcome)


def test_a_stream_for_which_no_attempt_was_begun_has_one() -> None:
    observation = stream(http_status=200)
    feed(observation, 1, Start(model="gpt-4o-2024"), Text("a"), Usage(3, 4), END)
    row = settle(observation, 2)
    [attempt] = observation.attempts
    assert (attempt.stream_id, attempt.n, attempt.provider, attempt.model) == ("s", 1, "openai", "gpt-4o")
    assert (attempt.started_at, attempt.ttft_ms, attempt.duration_ms) == ("t0", 1000, 2000)
    assert (attempt.http_status, attempt.ended, attempt.output_tokens) == (200, "complete", 4)
    assert (row.attempts, row.rerouted, row.model_served) == (1, 0, "gpt-4o-2024")


def test_asked_again_the_one_attempt_begins_again_too() -> None:
    observation = stream()
    feed(observation, 1, Start(model="m"))
    observation.restart(105.0)
    feed(observation, 6, Text("a"), END)
    settle(observation, 7)
    assert (observation.attempts[0].ttft_ms, observation.attempts[0].duration_ms) == (1000, 2000)


# Sums


def attempt(**fields: Any) -> Attempt:
    return Attempt(
        **{"stream_id": "s", "n": 1, "provider": "p", "model": "m", "started_at": "t", "began": 0.0, **fields}
    )


def test_usage_is_the_sum_of_what_was_billed() -> None:
    observation = stream()
    for at in (0, 2):
        begin(observation, FIRST, at)
        feed(observation, at, Text("a"), Usage(10, 20, 4, None, 5))
        end(observation, "idle_timeout", at + 1)
    begin(observation, FIRST, 4)
    end(observation, "server_error", 4, http_status=500)  # billed nothing
    row = settle(observation, 5, "truncated")
    assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.reasoning_tokens) == (20, 40, 8, 10)
    assert row.usage_source == "provider"
    assert row.tokens_per_s == pytest.approx((40 - 10) / 2)  # nothing was sent of the reasoning


def test_each_attempts_hidden_reasoning_is_left_out_of_the_rate() -> None:
    usage = Usage(10, 20, reasoning_tokens=5)
    told = {"usage": usage, "output_tokens": 20, "chunks": 1}
    hidden, shown = attempt(**told), attempt(**told, reasoned=True)
    counted = attempt(**{**told, "output_tokens": 30})  # of its text alone, in which no hidden reasoning is
    assert rate([hidden, shown, counted], 2.0) == pytest.approx((15 + 20 + 30) / 2)
    assert rate([hidden, attempt(chunks=1)], 2.0) is None
    assert rate([hidden], 0.0) is None


def test_a_sum_of_which_a_part_is_unknown_is_unknown() -> None:
    known, unknown = attempt(chunks=1, output_tokens=5, usage_source="provider"), attempt(chunks=1)
    assert tokens([known, unknown], "output_tokens") is None
    assert tokens([known, attempt()], "output_tokens") == 5
    assert tokens([attempt()], "output_tokens") is None


@pytest.mark.parametrize(
    ("sources", "whole"),
    [
        (["provider", "provider"], "provider"),
        (["provider", "tiktoken"], "tiktoken"),
        (["estimate", "tiktoken", "provider"], "estimate"),
        (["provider", None], None),
    ],
)
def test_a_sum_is_as_uncertain_as_its_most_uncertain_part(sources: list[Any], whole: str | None) -> None:
    assert source([attempt(chunks=1, usage_source=one) for one in sources]) == whole


def test_an_attempt_that_brought_nothing_does_not_make_a_sum_uncertain() -> None:
    assert source([attempt(), attempt(chunks=1, usage_source="provider")]) == "provider"


def test_a_cost_is_known_where_all_that_was_billed_has_a_price() -> None:
    priced, free = attempt(usage_source="provider", cost_usd=0.25), attempt()
    assert cost([priced, free, priced]) == 0.5
    assert cost([priced, attempt(usage_source="estimate")]) is None
    assert cost([free]) is None


def test_adding_up_leaves_out_what_nobody_knows() -> None:
    parts = [Usage(1, 2, raw={"a": 1}), Usage(), Usage(3, None, 4)]
    assert add_up(parts) == Usage(4, 2, 4)
    assert add_up([]) == Usage()
