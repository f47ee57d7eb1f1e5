"""What a row gets once its stream is settled: the counts that the provider did not give, a price, and itself, whatever fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from databases import record
from midstream import ledger as ledgers
from midstream import tokens
from midstream.events import END, Event, Reasoning, Start, Text, ToolCall, Usage
from midstream.ledger import Account, Ledger
from midstream.observation import AttemptRecord, Observation, Outcome, StreamRecord

WORDS = "The quick brown fox jumps over the lazy dog. "


class Store:
    """Keeps what a store is told, in its order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, StreamRecord]] = []
        self.attempts: Sequence[AttemptRecord] = ()
        self.closed = False

    def started(self, row: StreamRecord) -> None:
        self.told.append(("started", row))

    def progress(self, row: StreamRecord) -> None:
        self.told.append(("progress", row))

    def forgotten(self, row: StreamRecord) -> None:
        self.told.append(("forgotten", row))

    def finished(self, row: StreamRecord, attempts: Sequence[AttemptRecord] = ()) -> None:
        self.told.append(("finished", row))
        self.attempts = attempts

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def ledger(store: Store) -> Iterator[Ledger]:
    """Its `shut` waits for the thread that counts: a test calls it before it looks at a row."""
    ledger = Ledger(store)  # type: ignore[arg-type]  # it is asked for nothing else
    yield ledger
    ledger.shut()


def settled(*events: Event, model: str = "gpt-4o", outcome: Outcome = "complete", **account: Any) -> Account:
    observation = Observation(record(model_requested=model), 0.0)
    observation.feed(events, 1.0)
    observation.settle(outcome, 2.0)
    return Account(observation, **account)


def row_of(ledger: Ledger, account: Account) -> StreamRecord:
    ledger.close(account)
    ledger.shut()
    return account.observation.record


def asking(*texts: str, template: int | None = 3) -> Any:
    return lambda: (list(texts), template)


def never() -> tuple[list[str], int | None]:
    raise AssertionError("the prompt is read only if the provider reported no usage")


def test_the_providers_count_is_kept_and_nothing_is_counted(ledger: Ledger) -> None:
    row = row_of(ledger, settled(Text(WORDS), Usage(7, 11), END, prompt=never))
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (7, 11, "provider")


def test_what_the_provider_did_not_count_is_counted_exactly(ledger: Ledger) -> None:
    """Output over the whole text, which differs from a sum over its chunks; input with the template's tokens."""
    row = row_of(ledger, settled(*map(Text, WORDS), END, prompt=asking(WORDS)))
    assert row.output_tokens == tokens.count_text("gpt-4o", WORDS) < len(WORDS)
    assert row.input_tokens == tokens.count_text("gpt-4o", WORDS) + 3
    assert row.usage_source == "tiktoken"


@pytest.mark.parametrize(
    ("events", "options"),
    [
        ((Text(WORDS), END), {"model": "claude-sonnet-4"}),  # no public tokenizer
        ((Start(model="llama-3"), Text(WORDS), END), {}),  # the model that answered decides
        ((Reasoning("hm"), Text(WORDS), END), {}),  # how reasoning is put into tokens is not known
        ((ToolCall(0, "t", "f", "{}"), END), {}),
        ((Text(WORDS), END), {"prompt": asking(WORDS, template=None)}),  # nor is the template
    ],
)
def test_what_no_tokenizer_counts_exactly_is_an_estimate(
    ledger: Ledger, events: tuple[Event, ...], options: dict[str, Any]
) -> None:
    row = row_of(ledger, settled(*events, **options))
    assert row.usage_source == "estimate"
    assert row.output_tokens
    assert row.output_tokens > 0


def test_a_stream_that_failed_before_any_content_has_no_tokens(ledger: Ledger) -> None:
    row = row_of(ledger, settled(outcome="failed", prompt=never))
    assert (row.input_tokens, row.output_tokens, row.usage_source, row.cost_usd) == (None, None, None, None)


def test_a_count_is_the_same_however_often_the_text_was_taken_away(ledger: Ledger) -> None:
    observation = Observation(record(model_requested="gpt-4o"), 0.0)
    account = Account(observation)
    for piece in range(20):
        observation.feed([Text(WORDS * 500)], float(piece))
        ledger.spill(account)
        assert observation.text_size == 0
    observation.feed([END], 21.0)
    observation.settle("complete", 22.0)
    assert row_of(ledger, account).output_tokens == tokens.count_text("gpt-4o", WORDS * 10_000)


def test_a_counted_stream_has_its_rate_and_its_price(ledger: Ledger) -> None:
    account = settled(Text(WORDS), prices="openai", prompt=asking(WORDS))
    account.observation.feed([Text(WORDS), END], 3.0)
    row = row_of(ledger, account)
    assert row.output_tokens is not None
    assert row.tokens_per_s == pytest.approx(row.output_tokens / 2.0)
    assert row.cost_usd is not None
    assert row.cost_usd > 0


def test_no_price_is_known_of_a_model_nobody_knows(ledger: Ledger) -> None:
    assert row_of(ledger, settled(Text(WORDS), Usage(7, 11), END, model="no-such-model")).cost_usd is None


def test_a_prompt_that_cannot_be_read_costs_its_count_never_the_row(
    ledger: Ledger, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> tuple[list[str], int | None]:
        raise ValueError("no prompt")

    with caplog.at_level(logging.ERROR):
        row = row_of(ledger, settled(Text(WORDS), END, prompt=broken))
    assert store.told == [("finished", row)]
    assert (row.outcome, row.input_tokens) == ("complete", None)
    assert "counting a stream's tokens failed" in caplog.text


def test_a_stream_is_shown_as_it_goes_and_forgotten_without_a_row(ledger: Ledger, store: Store) -> None:
    account = settled()
    row = account.observation.record
    ledger.open(account)
    ledger.first_content(account)
    ledger.forget(account)
    ledger.shut()
    assert store.told == [("started", row), ("progress", row), ("forgotten", row)]


def test_attempts_go_with_their_stream_and_shutting_writes_what_waits(ledger: Ledger, store: Store) -> None:
    accounts = [settled(Text(WORDS), END) for _ in range(20)]
    for account in accounts:
        ledger.close(account)
    ledger.shut()
    assert [what for what, _ in store.told] == ["finished"] * len(accounts)
    assert store.attempts == accounts[-1].observation.attempts
    assert [attempt.ended for attempt in store.attempts] == ["complete"]
    assert store.closed


def test_beyond_the_backlog_a_row_goes_without_a_count(
    ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "BACKLOG", 0)
    row = row_of(ledger, settled(Text(WORDS), END, prompt=never))
    assert store.told == [("finished", row)]
    assert row.output_tokens is None


def test_ids_are_as_long_as_one_another_and_never_the_same() -> None:
    made = [ledgers.new_id() for _ in range(1000)]
    assert len(set(made)) == len(made)
    assert {len(id_) for id_ in made} == {27}


def test_now_is_utc_with_milliseconds() -> None:
    assert len(ledgers.utc_now()) == len("2026-01-31T10:00:00.000Z")
    assert ledgers.utc_now().endswith("Z")
