"""What nobody waits for goes to disk at a bounded rate, and never keeps a reader waiting that has come so far."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from midstream.relay.log import StreamLog
from midstream.relay.spool_rate import SpoolRate


def run[T](work: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 30))


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    rate = SpoolRate(rate=10, burst=100)
    assert [rate.book(50, 0.0) for _ in range(4)] == [-5.0, 0.0, 5.0, 10.0]


def test_who_pauses_has_a_burst_again_and_no_more() -> None:
    rate = SpoolRate(rate=10, burst=100)
    rate.book(1000, 0.0)
    assert [rate.book(100, 1e6) - 1e6 for _ in range(2)] == [0.0, 10.0]


def test_what_was_given_back_counts_for_others() -> None:
    rate = SpoolRate(rate=10, burst=0)
    rate.book(100, 0.0)
    rate.give_back(100)
    assert rate.book(10, 0.0) == 1.0


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> SpoolRate:
    """A rate at which nothing goes to disk in the time of a test."""
    rate = SpoolRate(rate=1e-6, burst=0)
    monkeypatch.setattr(SpoolRate, "here", lambda: rate)
    return rate


@pytest.mark.usefixtures("never")
def test_a_stream_whose_reader_is_behind_waits_until_it_has_come() -> None:
    async def work() -> None:
        log = StreamLog(window=10, spool=1000)
        reader = log.reader()
        await log.append(b"12345")
        await log.append(b"67890")
        third = asyncio.create_task(log.append(b"abc"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not third.done()
        assert [entry.data for entry in await reader.take()] == [b"12345", b"67890"]
        assert await third == 3
        assert log.paused > 0

    run(work())


@pytest.mark.usefixtures("never")
def test_a_stream_that_is_read_as_it_comes_is_kept_without_waiting() -> None:
    async def work() -> None:
        log = StreamLog(window=10, spool=1000)
        reader = log.reader()
        for number in range(20):
            await log.append(f"frame {number:02}".encode())
            await reader.take()
        log.close()
        with log.reader() as again:
            got = []
            while entries := await again.take():
                got += [entry.data for entry in entries]
        assert got == [f"frame {number:02}".encode() for number in range(20)]

    run(work())


@pytest.mark.usefixtures("never")
def test_a_writer_that_is_cancelled_while_it_waits_has_lost_nothing() -> None:
    async def work() -> None:
        log = StreamLog(window=10, spool=1000)
        reader = log.reader()
        await log.append(b"1234567890")
        second = asyncio.create_task(log.append(b"abc"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        log.finish(b"end")
        assert [entry.data for entry in await reader.take()] == [b"1234567890", b"end"]

    run(work())
