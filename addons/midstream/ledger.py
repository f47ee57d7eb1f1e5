"""Joins an observation with what its row still lacks, tokens and price, off the event loop; then hands it to the store."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from midstream import prices, tokens
from midstream.attempts import Attempt, add_up
from midstream.events import Usage
from midstream.observation import Observation, StreamRecord
from midstream.records import utc
from midstream.store.database import StoreWriter

SPILL = 64 * 1024
"""Characters of uncounted output that one stream may hold in memory before the tokenizer takes them."""

BACKLOG = 2_000
"""Finished streams that may wait for the tokenizer; beyond that their rows go without a count of ours."""

GATHER = 0.1
"""Seconds for which streams that end are gathered until they are counted: to wake the counting thread is to hand it the
interpreter, which holds up all streams for longer than anything else that is done at the end of one."""

BILLED_SECONDS = 1.0
"""How long a client waits for the count of its earlier attempts, at the end of its answer. Counting takes 20 ms, but many may
wait for it; later the client is told what is known by then, and the row gets the rest."""

log = logging.getLogger(__name__)


def new_id() -> str:
    """A stream's id: sorts by time, and its tail cannot be guessed."""
    return f"{time.time_ns() // 1_000_000:011x}{secrets.token_hex(8)}"


def utc_now() -> str:
    """Now, as rows have it."""
    return utc(datetime.now(UTC))


_OPEN: dict[Path, Ledger] = {}


def _no_prompt() -> tuple[list[str], int | None]:
    return [], None


@dataclass(slots=True)
class Account:
    """What the ledger keeps of one open stream.

    prices: of the provider asked for. prompt: gives the texts that count as input, and the tokens the provider's template
    adds (None: not known); called off the event loop, and only if a provider reported no usage. counters: by the attempt's n.
    streamed: whether a streamed answer was asked for. trace: the request's W3C traceparent, "" without one. forgotten: it turned
    out to be measured elsewhere.
    """

    observation: Observation
    prices: str = ""
    prompt: Callable[[], tuple[list[str], int | None]] = _no_prompt
    counters: dict[int, tokens.OutputCounter] = field(default_factory=dict)
    streamed: bool = True
    trace: str = ""
    forgotten: bool = False


class Ledger:
    """One worker thread counts and prices; the store's own thread writes. Nothing here blocks the caller or raises."""

    def __init__(self, store: StoreWriter) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="midstream-count")
        self._pool.submit(_guarded, tokens.warm_up)
        self._waiting = 0
        self._ended: list[Account] = []
        self._users = 0
        self._path: Path | None = None
        self.live: dict[str, Account] = {}
        """The streams that run, by id, oldest first."""
        self.opened: list[Callable[[Account], None]] = []
        """Told of each stream that begins, before anything of it is fed; on the event loop."""
        self.watchers: list[Callable[[Account], None]] = []
        """Told of each stream that is over, once its tokens and its price are known; in the counting thread."""
        self.occupied: list[Callable[[], bool]] = []
        """Say whether somebody still reads what is over by its row."""
        self.draining = False
        """Set when mitmdump is told to stop: no stream is begun any more."""
        self.stopping = False
        """Set when those in flight have had their time: streams that end now were interrupted, not left by their clients."""

    @classmethod
    def of(cls, path: Path) -> Ledger:
        """Return the one ledger of this process for a database; `shut` it once for each time it was asked for.

        Several addons record into the same file, and mitmproxy loads each as a module of its own: they meet here.
        """
        ledger = _OPEN.get(path)
        if ledger is None:
            ledger = _OPEN[path] = cls(StoreWriter(path))
            ledger._path = path
            ledger._store.follow(ledger._running)
        ledger._users += 1
        return ledger

    @classmethod
    def at(cls, path: Path) -> Ledger | None:
        """The ledger of this process for a database, if an addon has one open; not to be shut."""
        return _OPEN.get(path)

    def retain(self, keep_days: Callable[[], float]) -> None:
        """Have rows older than this summed up and deleted; 0: never. It is asked every hour, on the store's thread."""
        self._store.retain(keep_days)

    def _running(self) -> list[Observation]:
        return [account.observation for account in list(self.live.values())]

    @property
    def busy(self) -> bool:
        """Whether a stream runs, or is being read."""
        return bool(self.live) or any(reading() for reading in self.occupied)

    def open(self, account: Account) -> None:
        """A stream has begun: show it as in flight."""
        self.live[account.observation.record.id] = account
        for told in self.opened:
            _guarded(partial(told, account))
        self._store.started(account.observation.record)

    def first_content(self, account: Account) -> None:
        """Its first content came: show that."""
        _soon(self._store.progress, account.observation.record)

    def forget(self, account: Account) -> None:
        """It is measured elsewhere: no row."""
        account.forgotten = True
        self.live.pop(account.observation.record.id, None)
        self._store.forgotten(account.observation.record)

    def spill(self, account: Account) -> None:
        """Count what the observation holds so far, so that memory stays flat however long the answer is."""
        attempt, text = account.observation.attempt, account.observation.take_text()
        self._pool.submit(_guarded, lambda: _add(account, attempt, text))

    async def billed(self, account: Account) -> Usage:
        """What the attempts that have ended were billed: to be added to the usage that the client is shown of the last one.

        Counted here where their providers did not say; nothing where no attempt has ended. Never raises.
        """
        over = [attempt for attempt in account.observation.attempts if attempt.ended]
        if any(attempt.uncounted for attempt in over):
            await self._counted(account, over)
        return add_up(attempt.billed() for attempt in over)

    async def _counted(self, account: Account, attempts: list[Attempt]) -> None:
        loop, count = asyncio.get_running_loop(), partial(_count, account, attempts)
        try:
            async with asyncio.timeout(BILLED_SECONDS):
                await loop.run_in_executor(self._pool, _guarded, count)
        except TimeoutError:
            log.info("the tokens of a stream's earlier attempts are not counted yet; its client is shown what is known")
        except RuntimeError:  # the ledger was shut
            log.debug("nobody counts any more")

    def close(self, account: Account) -> None:
        """A stream is settled: count and price it, and write its row and its attempts'."""
        self.live.pop(account.observation.record.id, None)
        if self._waiting >= BACKLOG:
            self._store.finished(account.observation.record, account.observation.attempts)
            self._tell(account)
            return
        self._waiting += 1
        self._ended.append(account)
        if len(self._ended) > 1:
            return
        try:
            asyncio.get_running_loop().call_later(GATHER, self._hand_over)
        except RuntimeError:  # there is none
            self._hand_over()

    def _hand_over(self) -> None:
        ended, self._ended = self._ended, []
        if ended:
            self._pool.submit(self._finish_all, ended)

    def _finish_all(self, accounts: list[Account]) -> None:
        for account in accounts:
            _guarded(partial(self._finish, account))

    def shut(self) -> None:
        """Finish what waits and flush the store, once nobody uses it any more. Blocks; for the very end."""
        self._users -= 1
        if self._users > 0:
            return
        if self._path is not None:
            _OPEN.pop(self._path, None)
        self._hand_over()
        self._pool.shutdown(wait=True)
        self._store.close()

    def _finish(self, account: Account) -> None:
        self._waiting -= 1
        observation = account.observation
        try:
            _count(account, observation.attempts)
        finally:
            for attempt in observation.attempts:
                attempt.cost_usd = _cost(account, attempt)
            observation.total()
            self._store.finished(observation.record, observation.attempts)
            self._tell(account)

    def _tell(self, account: Account) -> None:
        for watcher in list(self.watchers):
            _guarded(partial(watcher, account))


def _soon(show: Callable[[StreamRecord], None], record: StreamRecord) -> None:
    """Show it once the event loop has done what the stream itself waits for: to wake the store's thread holds that up."""
    try:
        asyncio.get_running_loop().call_soon(show, record)
    except RuntimeError:  # there is none
        show(record)


def _count(account: Account, attempts: Sequence[Attempt]) -> None:
    """Fill in what the providers did not report: output from the whole text, input from the request."""
    uncounted = [attempt for attempt in attempts if attempt.uncounted]
    for attempt in uncounted:
        _count_output(account, attempt)
    for attempt in uncounted:
        _count_input(account, attempt)


def _add(account: Account, attempt: Attempt, text: str) -> tokens.OutputCounter:
    counter = account.counters.get(attempt.n)
    if counter is None:
        counter = account.counters[attempt.n] = tokens.OutputCounter(attempt.answered_by)
    counter.add(text)
    if counter.pending:
        counter.count()
    return counter


def _count_output(account: Account, attempt: Attempt) -> None:
    if attempt.output_tokens is None and attempt.chunks:
        counter = _add(account, attempt, attempt.take_text())
        attempt.counted_output(counter.count(), exact=attempt.plain_text and counter.exact)


def _count_input(account: Account, attempt: Attempt) -> None:
    """An attempt that comes after a break was most likely asked more than the client's words: what was said already."""
    texts, template = account.prompt() if attempt.input_tokens is None else ([], None)
    if texts:
        count, exact = tokens.count_prompt(attempt.answered_by, texts)
        after_break = any(one.chunks for one in account.observation.attempts[: attempt.n - 1])
        attempt.counted_input(count + (template or 0), exact=exact and template is not None and not after_break)


def _cost(account: Account, attempt: Attempt) -> float | None:
    """By the prices of the provider that was asked; those of the account are the first one's."""
    same = attempt.provider == account.observation.record.provider
    return prices.cost_usd(attempt.prices or (account.prices if same else ""), attempt.answered_by, attempt.billed())


def _guarded(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception:
        log.exception("counting a stream's tokens failed; its row goes without")
