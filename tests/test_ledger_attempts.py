"""What a stream of several attempts was billed: each counted by itself, and priced by whoever was asked."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from midstream import ledger as ledgers
from midstream import prices, tokens
from midstream.events import END, Event, Start, Text, Usage
from midstream.ledger import Account, Ledger
from midstream.observation import Observation
from midstream.records import AttemptRecord, StreamRecord

WORDS = "The quick brown fox jumps over the lazy dog. "
COUNT = tokens.count_text("gpt-4o", WORDS)
FIRST, SECOND = ("openai", "gpt-4o"), ("backup", "gpt-4o-mini")


class Store:
    def __init__(self) -> None:
        self.rows: list[tuple[StreamRecord, Sequence[AttemptRecord]]] = []

    def finished(self, row: StreamRecord, attempts: Sequence[AttemptRecord] = ()) -> None:
        self.rows.append((row, attempts))

    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store)  # type: ignore[arg-type]  # it is asked for nothing else


def account(**said: Any) -> Account:
    record = StreamRecord(id="s", started_at="t", provider="openai", model_requested="gpt-4o")
    return Account(Observation(record, 0.0), **{"prompt": lambda: ([WORDS, WORDS], 3), **said})


def attempt(of: Account, target: tuple[str, str], *events: Event, ended: str = "connection_error", **said: Any) -> None:
    at = 10.0 * len(of.observation.attempts)
    of.observation.begin_attempt(*target, "t", at, **said)
    of.observation.feed(events, at + 1)
    of.observation.end_attempt(ended, at + 2)


def written(ledger: Ledger, of: Account) -> tuple[StreamRecord, list[Any]]:
    of.observation.settle("complete" if of.observation.ended else "truncated", 99.0)
    ledger.close(of)
    ledger.shut()
    return of.observation.record, list(of.observation.attempts)


def in_thread_that_counts(ledger: Ledger, event: threading.Event) -> None:
    ledger._pool.submit(event.wait, 30)


def test_a_broken_attempt_is_counted_and_the_one_that_completes_reports(ledger: Ledger, store: Store) -> None:
    stream = account()
    attempt(stream, FIRST, Text(WORDS))
    attempt(stream, SECOND, Text(WORDS), Usage(40, 50), END, ended="complete")
    row, (first, second) = written(ledger, stream)
    assert (first.input_tokens, first.output_tokens, first.usage_source) == (2 * COUNT + 3, COUNT, "tiktoken")
    assert (second.input_tokens, second.output_tokens, second.usage_source) == (40, 50, "provider")
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (2 * COUNT + 43, COUNT + 50, "tiktoken")
    assert store.rows == [(row, [first, second])]


def test_usage_is_the_providers_if_every_attempt_with_content_has_its_own(ledger: Ledger) -> None:
    stream = account(prompt=None)
    attempt(stream, FIRST)
    attempt(stream, FIRST, Text(WORDS), Usage(7, 8), END, ended="complete")
    row, (first, _) = written(ledger, stream)
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (7, 8, "provider")
    assert (first.input_tokens, first.output_tokens, first.usage_source, first.cost_usd) == (None, None, None, None)


def test_input_reported_by_an_attempt_without_content_was_billed(ledger: Ledger) -> None:
    """Anthropic's message_start, and then nothing."""
    stream = account(prices="anthropic")
    stream.observation.record.provider = "anthropic"
    attempt(stream, ("anthropic", "claude-haiku-4-5"), Usage(1_000_000, 1))
    attempt(stream, ("anthropic", "claude-haiku-4-5"), Usage(9, 1), Text(WORDS), Usage(9, 50), END, ended="complete")
    row, (first, _) = written(ledger, stream)
    assert (first.input_tokens, first.output_tokens) == (1_000_000, 1)
    assert (row.input_tokens, row.usage_source) == (1_000_009, "provider")
    assert first.cost_usd > 1


def test_output_of_a_broken_anthropic_attempt_is_counted_not_one(ledger: Ledger) -> None:
    stream = account()
    attempt(stream, ("anthropic", "claude-x"), Usage(9, 1), Text(WORDS))
    row, _ = written(ledger, stream)
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (9, COUNT, "estimate")


def test_the_input_of_an_attempt_after_a_break_is_an_estimate(ledger: Ledger) -> None:
    """It was asked to go on from what was there: more than the client's own words."""
    stream = account()
    attempt(stream, FIRST, ended="server_error")
    attempt(stream, FIRST, Text(WORDS))
    attempt(stream, FIRST, Text(WORDS), END, ended="complete")
    row, attempts = written(ledger, stream)
    assert [one.usage_source for one in attempts] == [None, "tiktoken", "estimate"]
    assert (row.output_tokens, row.usage_source) == (2 * COUNT, "estimate")


def test_each_attempt_is_priced_by_its_own_provider_and_model(ledger: Ledger) -> None:
    stream = account(prices="openai")
    attempt(stream, FIRST, Text(WORDS), Usage(1000, 2000))
    attempt(stream, ("backup", "my-own-name"), Start(model="claude-haiku-4-5"), Text(WORDS), Usage(1000, 2000), END,
            ended="complete", prices="anthropic")  # fmt: skip
    row, (first, second) = written(ledger, stream)
    assert first.cost_usd == prices.cost_usd("openai", "gpt-4o", Usage(1000, 2000))
    assert second.cost_usd == prices.cost_usd("anthropic", "claude-haiku-4-5", Usage(1000, 2000))
    assert row.cost_usd == pytest.approx(first.cost_usd + second.cost_usd)
    assert first.cost_usd != second.cost_usd


def test_a_part_without_a_price_leaves_the_sum_without_one(ledger: Ledger) -> None:
    stream = account(prices="openai")
    attempt(stream, FIRST, Text(WORDS), Usage(1000, 2000))
    attempt(stream, ("vllm", "gpt-4o"), Text(WORDS), Usage(1000, 2000), END, ended="complete")
    row, (first, second) = written(ledger, stream)
    assert first.cost_usd is not None
    assert (second.cost_usd, row.cost_usd) == (None, None)


def test_text_counted_as_it_goes_counts_for_the_attempt_it_belongs_to(ledger: Ledger) -> None:
    stream = account()
    for target, pieces in ((FIRST, 3), (SECOND, 5)):
        stream.observation.begin_attempt(*target, "t", 0.0)
        for _ in range(pieces):
            stream.observation.feed([Text(WORDS * 2000)], 1.0)
            ledger.spill(stream)
        stream.observation.feed([Text(WORDS)], 1.0)
        stream.observation.end_attempt("connection_error", 2.0)
    row, (first, second) = written(ledger, stream)
    assert first.output_tokens == tokens.count_text("gpt-4o", WORDS * 6001)
    assert second.output_tokens == tokens.count_text("gpt-4o", WORDS * 10_001)
    assert row.output_tokens == first.output_tokens + second.output_tokens


def test_what_cannot_be_counted_leaves_the_others_counts_and_prices(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    stream = account(prices="openai", prompt=None)
    attempt(stream, FIRST, Text(WORDS))
    attempt(stream, FIRST, Text(WORDS), Usage(1000, 2000), END, ended="complete")
    with caplog.at_level(logging.ERROR):
        row, (first, second) = written(ledger, stream)
    assert (first.input_tokens, first.output_tokens, second.input_tokens) == (None, COUNT, 1000)
    assert second.cost_usd is not None
    assert (row.input_tokens, row.output_tokens, row.cost_usd) == (None, COUNT + 2000, None)


# What the client is shown


def test_nothing_was_billed_before_the_only_attempt(ledger: Ledger) -> None:
    stream = account()
    stream.observation.begin_attempt(*FIRST, "t", 0.0)
    stream.observation.feed([Text(WORDS)], 1.0)
    assert asyncio.run(ledger.billed(stream)) == Usage()
    assert asyncio.run(ledger.billed(account())) == Usage()
    ledger.shut()


def test_what_ended_attempts_were_billed_is_counted_without_the_one_that_runs(ledger: Ledger) -> None:
    stream = account()
    attempt(stream, FIRST, Text(WORDS))
    attempt(stream, FIRST, Text(WORDS), Usage(10, 20, 5, raw={"cost": 1}))
    stream.observation.begin_attempt(*FIRST, "t", 50.0)
    stream.observation.feed([Text(WORDS), Usage(100, 200)], 51.0)
    assert asyncio.run(ledger.billed(stream)) == Usage(2 * COUNT + 13, COUNT + 20, 5)
    row, _ = written(ledger, stream)
    assert (row.input_tokens, row.output_tokens) == (2 * COUNT + 113, COUNT + 220)


def test_what_providers_reported_is_summed_without_a_thread(ledger: Ledger) -> None:
    stream, busy = account(), threading.Event()
    attempt(stream, FIRST, Text(WORDS), Usage(10, 20))
    attempt(stream, SECOND)
    in_thread_that_counts(ledger, busy)
    assert asyncio.run(ledger.billed(stream)) == Usage(10, 20)
    busy.set()
    ledger.shut()


def test_the_event_loop_runs_on_while_tokens_are_counted(ledger: Ledger) -> None:
    stream, busy = account(), threading.Event()
    attempt(stream, FIRST, Text(WORDS))
    in_thread_that_counts(ledger, busy)

    async def ask() -> Usage:
        asked = asyncio.create_task(ledger.billed(stream))
        await asyncio.sleep(0)  # it has begun to wait, and the loop goes on: only so is the thread let go
        assert not asked.done()
        busy.set()
        return await asked

    assert asyncio.run(ask()) == Usage(2 * COUNT + 3, COUNT)
    ledger.shut()


def test_a_client_does_not_wait_for_long(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "BILLED_SECONDS", 0.01)
    stream, busy = account(), threading.Event()
    attempt(stream, FIRST, Text(WORDS))
    attempt(stream, FIRST, Text(WORDS), Usage(10, 20))
    in_thread_that_counts(ledger, busy)
    assert asyncio.run(ledger.billed(stream)) == Usage(10, 20 + 1)  # a content event for a token
    busy.set()
    row, _ = written(ledger, stream)
    assert row.output_tokens == COUNT + 20  # the row has it all


def test_after_the_end_nobody_counts_and_nothing_is_raised(ledger: Ledger) -> None:
    stream = account()
    attempt(stream, FIRST, Text(WORDS))
    ledger.shut()
    assert asyncio.run(ledger.billed(stream)) == Usage(None, 1)
