"""Joins an observation with what its row still lacks, tokens and price, off the event loop; then hands it to the store."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from midstream import prices, tokens
from midstream.observation import AttemptRecord, Observation, StreamRecord
from midstream.store import StoreWriter

SPILL = 64 * 1024
"""Characters of uncounted output that one stream may hold in memory before the tokenizer takes them."""

BACKLOG = 2_000
"""Finished streams that may wait for the tokenizer; beyond that their rows go without a count of ours."""

log = logging.getLogger(__name__)


def new_id() -> str:
    """A stream's id: sorts by time, and its tail cannot be guessed."""
    return f"{time.time_ns() // 1_000_000:011x}{secrets.token_hex(8)}"


def utc_now() -> str:
    """Now, as rows have it: UTC ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_OPEN: dict[Path, Ledger] = {}


def _no_prompt() -> tuple[list[str], int | None]:
    return [], None


@dataclass(slots=True)
class Account:
    """What the ledger keeps of one open stream.

    prompt: gives the texts that count as input, and the tokens the provider's template adds (None: not known); called off
    the event loop, and only if the provider reported no usage.
    """

    observation: Observation
    prices: str = ""
    prompt: Callable[[], tuple[list[str], int | None]] = _no_prompt
    counter: tokens.OutputCounter | None = field(default=None)


class Ledger:
    """One worker thread counts and prices; the store's own thread writes. Nothing here blocks the caller or raises."""

    def __init__(self, store: StoreWriter) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="midstream-count")
        self._pool.submit(_guarded, tokens.warm_up)
        self._waiting = 0
        self._users = 0
        self._path: Path | None = None
        self.stopping = False
        """Set when mitmdump is told to stop: streams that end now were interrupted, not left by their clients."""

    @classmethod
    def of(cls, path: Path) -> Ledger:
        """Return the one ledger of this process for a database; `shut` it once for each time it was asked for.

        Several addons record into the same file, and mitmproxy loads each as a module of its own: they meet here.
        """
        ledger = _OPEN.get(path)
        if ledger is None:
            ledger = _OPEN[path] = cls(StoreWriter(path))
            ledger._path = path
        ledger._users += 1
        return ledger

    def open(self, account: Account) -> None:
        """A stream has begun: show it as in flight."""
        self._store.started(account.observation.record)

    def first_content(self, account: Account) -> None:
        """Its first content came: show that."""
        self._store.progress(account.observation.record)

    def forget(self, account: Account) -> None:
        """It is measured elsewhere: no row."""
        self._store.forgotten(account.observation.record)

    def spill(self, account: Account) -> None:
        """Count what the observation holds so far, so that memory stays flat however long the answer is."""
        text = account.observation.take_text()
        self._pool.submit(_guarded, lambda: self._add(account, text))

    def close(self, account: Account, attempts: Sequence[AttemptRecord] = ()) -> None:
        """A stream is settled: count and price it, and write its row."""
        if self._waiting >= BACKLOG:
            self._store.finished(account.observation.record, attempts)
            return
        self._waiting += 1
        self._pool.submit(_guarded, lambda: self._finish(account, attempts))

    def shut(self) -> None:
        """Finish what waits and flush the store, once nobody uses it any more. Blocks; for the very end."""
        self._users -= 1
        if self._users > 0:
            return
        if self._path is not None:
            _OPEN.pop(self._path, None)
        self._pool.shutdown(wait=True)
        self._store.close()

    def _add(self, account: Account, text: str) -> None:
        if account.counter is None:
            account.counter = tokens.OutputCounter(_model(account.observation.record))
        account.counter.add(text)
        if account.counter.pending:
            account.counter.count()

    def _finish(self, account: Account, attempts: Sequence[AttemptRecord]) -> None:
        self._waiting -= 1
        record = account.observation.record
        try:
            self._count(account)
            record.cost_usd = _cost(account)
        finally:
            self._store.finished(record, attempts)

    def _count(self, account: Account) -> None:
        """Fill in what the provider did not report: output from the whole text, input from the request."""
        record, observation = account.observation.record, account.observation
        exact = observation.plain_text
        if record.output_tokens is None and record.chunks:
            self._add(account, observation.take_text())
            assert account.counter is not None  # noqa: S101 - _add has just made it
            record.output_tokens = account.counter.count()
            exact = exact and account.counter.exact
            record.usage_source = "tiktoken" if exact else "estimate"
        observation.rate()
        if record.input_tokens is None and (record.chunks or record.outcome == "complete"):
            texts, template = account.prompt()
            if texts:
                text_tokens, exact_texts = tokens.count_prompt(_model(record), texts)
                record.input_tokens = text_tokens + (template or 0)
                exact = exact and exact_texts and template is not None
                record.usage_source = "tiktoken" if exact else "estimate"


def _model(record: StreamRecord) -> str:
    return record.model_served or record.model_requested


def _cost(account: Account) -> float | None:
    record, usage = account.observation.record, account.observation.usage
    if record.input_tokens is None and record.output_tokens is None:
        return None
    return prices.cost_usd(account.prices, _model(record), prices.usage_of(record, usage))


def _guarded(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        log.exception("counting a stream's tokens failed; its row goes without")
