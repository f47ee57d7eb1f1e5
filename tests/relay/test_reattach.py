"""What counts as another try of a request, and that what waits for one is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.config import Config
from midstream.dialects import registry
from midstream.ledger import Account, Ledger
from midstream.observation import Observation, StreamRecord
from midstream.relay import reattach
from midstream.relay.ask import intercepted
from midstream.relay.healing import Means
from midstream.relay.job import Job
from midstream.relay.reattach import Reattach
from midstream.relay.same_request import VARYING, has_idempotency_key, identity, is_retry
from midstream.relay.upstream import Upstream, UpstreamRequest
from relay.fake_client import FakeClient
from relay.fake_pieces import FakePieces

URL = "https://api.openai.com/v1/chat/completions"
HEADERS = ((b"authorization", b"Bearer sk-1"), (b"content-type", b"application/json"))
BODY = b'{"model":"gpt-4o","stream":true,"messages":[]}'


def ask(*more: tuple[bytes, bytes], url: str = URL, body: bytes = BODY, method: str = "POST") -> UpstreamRequest:
    return UpstreamRequest(method=method, url=url, headers=[*HEADERS, *more], body=body)


def test_two_tries_of_one_request_are_identical() -> None:
    first = ask((b"x-stainless-retry-count", b"0"), (b"traceparent", b"00-1"))
    again = UpstreamRequest(
        method="POST",
        url=URL,
        headers=[(b"X-Stainless-Retry-Count", b"1"), *((k.title(), v) for k, v in reversed(HEADERS))],
        body=BODY,
    )
    assert identity(first) == identity(again)


@pytest.mark.parametrize(
    "other",
    [
        ask(url=URL + "?key=2"),
        ask(body=BODY + b" "),
        ask(method="PUT"),
        ask((b"accept-encoding", b"gzip")),
        ask((b"idempotency-key", b"1")),
        ask((b"x-api-key", b"1")),
        UpstreamRequest(method="POST", url=URL, headers=[(b"authorization", b"Bearer sk-2"), HEADERS[1]], body=BODY),
        UpstreamRequest(method="POST", url=URL, headers=[HEADERS[1]], body=BODY),
    ],
)
def test_any_other_difference_makes_another_request(other: UpstreamRequest) -> None:
    assert identity(other) != identity(ask())


@given(st.text(max_size=5), st.binary(max_size=5), st.binary(max_size=5), st.integers(0, 4))
def test_what_moves_from_one_field_to_the_next_is_no_longer_the_same(
    url: str, name: bytes, value: bytes, at: int
) -> None:
    if name.lower() in VARYING:
        return
    first = UpstreamRequest(method="POST", url=url, headers=[(name, value + b"x")], body=b"")
    moved = UpstreamRequest(method="POST", url=url, headers=[(name, value)], body=b"x")
    split = UpstreamRequest(method="POST", url=url, headers=[(name + value[:at] + b"y", value[at:] + b"x")], body=b"")
    assert len({identity(first), identity(moved), identity(split)}) == 3


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"x-stainless-retry-count", b"1", True),
        (b"X-Stainless-Retry-Count", b"10", True),
        (b"x-stainless-retry-count", b"0", False),
        (b"x-stainless-retry-count", b"00", False),
        (b"x-stainless-retry-count", b"-1", False),
        (b"x-stainless-retry-count", b"1.5", False),
        (b"x-stainless-retry-count", b"", False),
        (b"x-stainless-retry-count", "\u0661".encode(), False),
        (b"x-stainless-retry-count", b"9" * 10_000, True),
        (b"idempotency-key", b"abc", True),
        (b"idempotency-key", b" ", False),
        (b"x-retry", b"1", False),
    ],
)
def test_what_says_that_it_is_a_retry(name: bytes, value: bytes, *, expected: bool) -> None:
    assert is_retry(ask((name, value))) is expected
    assert has_idempotency_key(ask((name, value))) is (expected and name == b"idempotency-key")


class FakeLedger:
    """Remembers what was settled."""

    def __init__(self) -> None:
        self.stopping = self.draining = False
        self.open_rows: list[StreamRecord] = []
        self.rows: list[StreamRecord] = []

    def open(self, account: Account) -> None:
        self.open_rows.append(account.observation.record)

    def first_content(self, account: Account) -> None: ...
    def spill(self, account: Account) -> None: ...
    def close(self, account: Account) -> None:
        self.rows.append(account.observation.record)


class FakeResponse:
    """A provider's answer that never ends, after the pieces given."""

    status, reason, headers = 200, "OK", ()

    def __init__(self, pieces: list[bytes], taken: list[bytes]) -> None:
        self._left = iter(pieces)
        self._taken = taken

    def header(self, name: str) -> str:
        return "text/event-stream" if name == "content-type" else ""

    def pieces(self) -> AsyncIterator[bytes]:
        return FakePieces(self._next)

    async def _next(self) -> bytes:
        for piece in self._left:
            self._taken.append(piece)
            return piece
        await asyncio.Event().wait()
        raise AssertionError

    def close(self) -> None: ...


class Setting:
    """A Reattach whose provider is made of paper."""

    def __init__(self, *pieces: bytes, **streams: Any) -> None:
        self.ledger = FakeLedger()
        self.opened = asyncio.Semaphore(0)
        self.open_count = 0
        self.taken: list[bytes] = []
        self._pieces = list(pieces)
        config = Config.model_validate({"streams": {"reattach": 1000.0} | streams})
        self.reattach = Reattach(lambda: config, Means(cast(Upstream, self), cast(Ledger, self.ledger)))

    async def open(self, request: UpstreamRequest, *, connect: float, stream: str) -> FakeResponse:
        self.open_count += 1
        self.opened.release()
        return FakeResponse(self._pieces, self.taken)

    def deliver(self, request: UpstreamRequest) -> asyncio.Task[Any]:
        match = registry.recognise("api.openai.com", "/v1/chat/completions", request.body)
        assert match is not None
        record = StreamRecord(id=str(self.open_count), started_at="")
        question = intercepted(Config.default(), request, match, request.body)
        job = Job(ask=question, account=Account(Observation(record, 0.0)))
        assert self.reattach.wants(job)
        return asyncio.create_task(self.reattach.deliver(job, FakeClient()))

    async def leave(self, request: UpstreamRequest) -> None:
        """Ask, and leave once the provider was asked."""
        task = self.deliver(request)
        await self.opened.acquire()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(work: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


RETRY = (b"x-stainless-retry-count", b"1")
FIRST = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'


def test_the_oldest_make_room_when_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reattach, "LIMIT", 2)

    async def work() -> None:
        setting = Setting()
        bodies = [BODY + b" " * n for n in range(3)]
        for body in bodies:
            await setting.leave(ask(body=body))
        assert [row.outcome for row in setting.ledger.rows] == ["client_gone"]
        again = [setting.deliver(ask(RETRY, body=body)) for body in bodies]
        await setting.opened.acquire()  # for the first of them alone
        assert setting.open_count == 4
        await setting.reattach.stop()
        await asyncio.gather(*again, return_exceptions=True)
        assert setting.open_count == 4

    run(work())


def test_a_retry_is_attached_to_one_whose_client_is_gone_not_to_one_that_somebody_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reattach, "NOTICE", 0.0)

    async def work() -> None:
        setting = Setting()
        first = setting.deliver(ask())
        await setting.opened.acquire()
        second = setting.deliver(ask(RETRY))
        await setting.opened.acquire()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        third = setting.deliver(ask(RETRY))
        await asyncio.sleep(0)  # its task begins
        assert setting.open_count == 2
        await setting.reattach.stop()
        await asyncio.gather(first, third, return_exceptions=True)
        assert sorted((row.resumes, row.outcome) for row in setting.ledger.rows) == [
            (0, "client_gone"),
            (1, "client_gone"),
        ]

    run(work())


def test_a_retry_that_overtakes_the_news_of_the_cut_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reattach, "NOTICE", 1000.0)

    async def work() -> None:
        setting = Setting()
        first = setting.deliver(ask())
        await setting.opened.acquire()
        again = setting.deliver(ask(RETRY))
        await asyncio.sleep(0)  # its task begins
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        while not any(row.resumes for row in setting.ledger.open_rows):  # noqa: ASYNC110 - spun, not slept
            await asyncio.sleep(0)
        assert setting.open_count == 1
        await setting.reattach.stop()
        await asyncio.gather(again, return_exceptions=True)

    run(work())


def test_with_nobody_reading_the_provider_is_paused_at_the_limit(tmp_path: Path) -> None:
    """The window and the spool are full: what comes next waits outside, and what came first is still there."""

    async def work() -> None:
        size = 8 * 1024
        setting = Setting(
            FIRST,  # what comes before the first token is held back, whoever reads it
            *[bytes([n % 256]) * size for n in range(100)],
            window=16 * 1024,
            spool=64 * 1024,
            spool_dir=str(tmp_path),
        )
        await setting.leave(ask())
        seen = -1
        while seen != len(setting.taken):
            seen = len(setting.taken)
            for _ in range(20):
                await asyncio.to_thread(int)  # the spool's own threads get their turns
        assert seen * size < 16 * 1024 + 2 * 64 * 1024
        again = setting.deliver(ask(RETRY))
        while len(setting.taken) < 100:  # noqa: ASYNC110 - spun, not slept
            await asyncio.sleep(0)
        assert setting.open_count == 1
        await setting.reattach.stop()
        await asyncio.gather(again, return_exceptions=True)

    run(work())


def test_stopping_interrupts_what_waits() -> None:
    async def work() -> None:
        setting = Setting(b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n')
        await setting.leave(ask())
        setting.ledger.stopping = True
        await setting.reattach.stop()
        assert [row.outcome for row in setting.ledger.rows] == ["interrupted"]

    run(work())


def test_only_streaming_requests_wait_and_only_where_the_configuration_says_so() -> None:
    def wants(body: bytes, wait: float) -> bool:
        match = registry.recognise("api.openai.com", "/v1/chat/completions", body)
        assert match is not None
        config = Config.model_validate({"streams": {"reattach": wait}})
        question = intercepted(config, ask(body=body), match, body)
        job = Job(ask=question, account=cast(Account, None))
        return Reattach(lambda: config, Means(cast(Upstream, None), cast(Ledger, None))).wants(job)

    assert wants(BODY, 1.0)
    assert not wants(BODY, 0.0)
    assert not wants(BODY.replace(b"true", b"false"), 1.0)
