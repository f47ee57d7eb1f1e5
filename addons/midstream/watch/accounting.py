"""What a stream that is over adds to the tallies, and what can be counted of those that run. Knows no text of any stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from urllib.parse import urlsplit

from midstream import attempts as tries
from midstream.attempts import Attempt
from midstream.config import Config
from midstream.ledger import Account
from midstream.observation import Observation
from midstream.records import StreamRecord, clean
from midstream.relay import server
from midstream.watch import names
from midstream.watch.tallies import Family, Labels, Point, Tallies, bounded

LENGTH = 100
"""Characters of a name that a label keeps."""

FAILED = frozenset(("failed", "truncated", "interrupted"))
"""Outcomes that are errors. A client that leaves has broken nothing."""


def labels(*pairs: tuple[str, str | int | None]) -> Labels:
    """Without what is not known; a stranger's words are made fit to be shown."""
    cleaned = ((name, clean(value, LENGTH) if isinstance(value, str) else value) for name, value in pairs)
    return tuple((name, value) for name, value in cleaned if value is not None and value != "")


def provider_name(name: str) -> str:
    """As the conventions call it."""
    return names.PROVIDERS.get(name, name)


def operation(record: StreamRecord) -> str:
    return names.OPERATIONS.get(record.dialect, "chat")


def address(config: Config, name: str) -> tuple[str, int | None]:
    """Where a provider's API is: host and port, as far as the configuration says; else the name, if it is a host's."""
    provider = config.provider(name)
    if provider is None or not provider.base_url:
        return (name if "." in name and provider is None else ""), None
    url = urlsplit(provider.base_url)
    return url.hostname or "", url.port or (80 if url.scheme == "http" else 443)


def error_of(record: StreamRecord) -> str:
    """Its error.type; "" where nothing failed."""
    return (record.error_type or record.outcome or "") if record.outcome in FAILED else ""


def streamed(account: Account) -> bool:
    """Whether the answer came as a stream: it was asked for so, or came in pieces."""
    return account.streamed or len(account.observation.gaps) > 0


def call_labels(record: StreamRecord, config: Config) -> Labels:
    host, port = address(config, record.provider)
    return labels(
        (names.OPERATION, operation(record)),
        (names.PROVIDER, provider_name(record.provider)),
        (names.ASKED, record.model_requested),
        (names.SERVED, record.model_served),
        (names.ADDRESS, host),
        (names.PORT, port),
    )


class Accounting:
    """`close` is a watcher of the ledger. `config` gives the configuration in force."""

    def __init__(self, tallies: Tallies, config: Callable[[], Config]) -> None:
        self._tallies = tallies
        self._config = config

    def close(self, account: Account) -> None:
        """A stream is over, and counted."""
        observation, config = account.observation, self._config()
        self._operation(account, config)
        self._stream(observation)
        for attempt in observation.attempts:
            self._attempt(attempt)
            self._billed(attempt, observation.record, config)
        for before, after in pairwise(observation.attempts):
            if (before.provider, before.model) != (after.provider, after.model):
                self._tallies.add(names.REROUTES, (*_asked(before), *labels((names.ERROR, before.ended))))

    def _operation(self, account: Account, config: Config) -> None:
        observation, record = account.observation, account.observation.record
        common = call_labels(record, config)
        failed = labels((names.ERROR, error_of(record)))
        self._tallies.observe(names.DURATION, (*common, *failed), (record.duration_ms or 0) / 1000)
        if not streamed(account) or record.ttft_ms is None:
            return
        self._tallies.observe(names.FIRST_CHUNK, common, record.ttft_ms / 1000)
        gaps = observation.gaps
        if gaps:
            counts = gaps.counts([bound * 1000 for bound in names.PER_CHUNK.buckets])
            self._tallies.merge(names.PER_CHUNK, common, counts, gaps.total / 1000)

    def _stream(self, observation: Observation) -> None:
        record, tallies = observation.record, self._tallies
        asked = labels((names.PROVIDER, provider_name(record.provider)), (names.ASKED, record.model_requested))
        how = ((names.OUTCOME, record.outcome), (names.DELIVERY, record.delivery))
        tallies.add(names.STREAMS, (*asked, *labels(*how, (names.APP, record.app), (names.KEY, record.key))))
        tallies.add(names.RESUMES, asked, record.resumes)
        tallies.add(names.PAUSED, asked, record.paused_ms / 1000)
        tallies.add(names.MALFORMED, asked, observation.malformed)

    def _attempt(self, attempt: Attempt) -> None:
        asked = _asked(attempt)
        failed = attempt.ended not in tries.NOT_BROKEN
        error = labels((names.ERROR, attempt.ended)) if failed else ()
        outcome = (names.OUTCOME, "failed" if failed else attempt.ended)
        self._tallies.add(names.ATTEMPTS, (*asked, outcome, *error))
        if failed and attempt.chunks:
            self._tallies.add(names.BREAKS, (*asked, *error))
        if attempt.ttft_ms is not None:
            self._tallies.observe(names.ATTEMPT_FIRST_CHUNK, asked, attempt.ttft_ms / 1000)

    def _billed(self, attempt: Attempt, record: StreamRecord, config: Config) -> None:
        """Whoever billed it, whomever the client believes to have asked."""
        host, port = address(config, attempt.provider)
        served = labels((names.SERVED, attempt.served))
        common = (*labels((names.OPERATION, operation(record))), *_asked(attempt), *served)
        common += labels((names.ADDRESS, host), (names.PORT, port))
        for kind, count in (("input", attempt.input_tokens), ("output", attempt.output_tokens)):
            if count:
                self._tallies.observe(names.TOKEN_USAGE, (*common, (names.TOKEN_TYPE, kind)), count)
        who = labels((names.APP, record.app), (names.KEY, record.key))
        self._tallies.add(names.COST, (*_asked(attempt), *served, *who), attempt.cost_usd or 0)


def _asked(attempt: Attempt) -> Labels:
    return labels((names.PROVIDER, provider_name(attempt.provider)), (names.ASKED, attempt.model))


def now_families(live: Iterable[Account], config: Config) -> Iterator[Family]:
    """What is so at this moment: the streams that run, and the breakers of the targets that were asked lately."""
    active: dict[Labels, Point] = {}
    for account in live:
        record = account.observation.record
        what = ((names.OPERATION, operation(record)), (names.PROVIDER, provider_name(record.provider)))
        bounded(active, labels(*what, (names.ASKED, record.model_requested))).value += 1
    yield Family(names.ACTIVE, active)
    yield Family(names.BREAKER, _breakers(config))


def _breakers(config: Config) -> dict[Labels, Point]:
    """The targets that were asked last first; of those beyond the limit the worst."""
    now, found = time.monotonic(), dict[Labels, Point]()
    for provider, model, breaker in reversed(list(server.breakers())):
        point = bounded(found, labels((names.TARGET, f"{provider}/{model}" if model else provider)))
        point.value = max(point.value, names.BREAKER_STATES[breaker.state(config.healing.limits, now)])
    return found
