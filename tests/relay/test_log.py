"""The stream log: every reader gets every frame once, in order, whatever the window, the spool and its pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream.relay.log import Expired, Reader, StreamLog
from midstream.relay.spool import BLOCK, SEGMENTS
from midstream.relay.turns import QUANTUM
from relay.fake_loop import FakeLoop


def run[T](work: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 30))


async def rest(reader: Reader) -> list[bytes]:
    got: list[bytes] = []
    while entries := await reader.take():
        got += [entry.data for entry in entries]
    return got


@given(st.lists(st.binary(max_size=60), max_size=60), st.integers(1, 300), st.integers(0, 60))
@settings(max_examples=60)
def test_a_reader_from_anywhere_gets_exactly_the_rest(frames: list[bytes], window: int, after: int) -> None:
    async def work() -> list[bytes]:
        log = StreamLog(window=window, spool=1 << 20)
        for frame in frames:
            await log.append(frame)
        log.close()
        with log.reader(min(after, len(frames))) as reader:
            return await rest(reader)

    assert run(work()) == frames[after:]


def test_readers_follow_a_stream_as_it_is_written() -> None:
    frames = [f"{n}".encode() * 20 for n in range(200)]

    async def work() -> list[list[bytes]]:
        log = StreamLog(window=500, spool=1 << 20)

        async def write() -> None:
            for frame in frames:
                await log.append(frame)
                await asyncio.sleep(0)
            log.close()

        readers = [asyncio.create_task(rest(log.reader())) for _ in range(3)]
        await write()
        return await asyncio.gather(*readers)

    assert run(work()) == [frames] * 3


def test_memory_stays_within_the_window() -> None:
    async def work() -> int:
        log = StreamLog(window=10_000, spool=1 << 24)
        most = 0
        for _ in range(3_000):
            await log.append(b"x" * 400)
            most = max(most, log.memory)
        return most

    assert run(work()) <= 10_000


def test_a_frame_larger_than_window_and_block_passes() -> None:
    frames = [b"a", b"b" * (2 * BLOCK), b"c", b"d" * (3 * BLOCK)]

    async def work() -> list[bytes]:
        log = StreamLog(window=100, spool=1 << 24)
        for frame in frames:
            await log.append(frame)
        log.close()
        return await rest(log.reader())

    assert run(work()) == frames


def test_a_full_log_waits_for_its_slowest_reader_and_says_how_long() -> None:
    async def work() -> tuple[bool, float, list[bytes]]:
        log = StreamLog(window=100, spool=400)
        reader = log.reader()

        async def write() -> None:
            for n in range(100):
                await log.append(bytes([n]) * 50)
            log.close()

        writer = asyncio.create_task(write())
        await asyncio.wait([writer], timeout=0.1)
        stuck = not writer.done()
        got = await rest(reader)
        await writer
        return stuck, log.paused, got

    stuck, paused, got = run(work())
    assert stuck
    assert paused > 0
    assert got == [bytes([n]) * 50 for n in range(100)]


def test_disk_use_is_bounded_and_what_everybody_has_read_is_forgotten(tmp_path: Path) -> None:
    async def work() -> int:
        log = StreamLog(window=100, spool=4_000, folder=tmp_path)
        reader = log.reader()
        most = 0
        for n in range(2_000):
            await log.append(b"%05d" % n * 10)
            while reader.position < log.last:
                await reader.take()
            most = max(most, len(log._spool._segments))
        with pytest.raises(Expired):
            log.reader(after=0)
        return most

    assert run(work()) <= SEGMENTS


def test_with_nobody_reading_a_full_log_waits_rather_than_forget() -> None:
    async def work() -> list[bytes]:
        log = StreamLog(window=100, spool=400)

        async def write() -> None:
            for n in range(40):
                await log.append(bytes([n]) * 50)
            log.close()

        writer = asyncio.create_task(write())
        await asyncio.wait([writer], timeout=0.1)
        assert not writer.done()
        got = await rest(log.reader())
        await writer
        return got

    assert run(work()) == [bytes([n]) * 50 for n in range(40)]


def test_a_reader_that_leaves_frees_the_writer() -> None:
    async def work() -> int:
        log = StreamLog(window=100, spool=400)
        stays, leaves = log.reader(), log.reader()

        async def write() -> None:
            for _ in range(60):
                await log.append(b"x" * 50)
            log.close()

        writer = asyncio.create_task(write())
        reading = asyncio.create_task(rest(stays))
        await asyncio.wait([writer], timeout=0.1)
        assert not writer.done()
        leaves.close()
        await writer
        return len(await reading)

    assert run(work()) == 60


def test_a_frame_not_yet_written_cannot_be_asked_for() -> None:
    async def work() -> None:
        with pytest.raises(ValueError, match="the newest is 0"):
            StreamLog().reader(after=1)

    run(work())


def test_discard_ends_readers() -> None:
    async def work() -> list[bytes]:
        log = StreamLog()
        await log.append(b"a")
        reader = log.reader()
        await reader.take()
        reading = asyncio.create_task(rest(reader))
        await asyncio.sleep(0)
        log.discard()
        return await reading

    assert run(work()) == []


def test_a_reader_that_is_cancelled_before_its_turn_has_taken_nothing() -> None:
    frames = [bytes([n]) * 1000 for n in range(64)]

    async def work() -> list[bytes]:
        log = StreamLog(window=1 << 20)
        for frame in frames:
            await log.append(frame)
        log.close()
        others = [asyncio.create_task(rest(log.reader())) for _ in range(5)]
        await asyncio.sleep(0)
        with log.reader() as reader:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await reader.take()
            assert reader.position == 0
            await asyncio.gather(*others)
            return await rest(reader)

    assert run(work()) == frames


def test_what_is_read_of_the_spool_at_once_is_taken_a_quantum_at_a_time() -> None:
    frames = [bytes([n % 256]) * 1000 for n in range(200)]

    async def work() -> list[list[bytes]]:
        log = StreamLog(window=4000, spool=1 << 20)
        for frame in frames:
            await log.append(frame)
        log.close()
        with log.reader() as reader:
            takes = list[list[bytes]]()
            while entries := await reader.take():
                takes.append([entry.data for entry in entries])
            return takes

    takes = run(work())
    assert [frame for taken in takes for frame in taken] == frames
    assert max(sum(map(len, taken)) for taken in takes) <= QUANTUM + 1000


def test_a_reader_of_what_was_discarded_is_told_so() -> None:
    async def work() -> None:
        log = StreamLog()
        await log.append(b"one")
        await log.append(b"two")
        reader = log.reader()
        log.discard()
        with pytest.raises(Expired):
            await reader.take()

    run(work())


def test_a_pause_counts_also_when_the_writer_is_cancelled_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the slow reader leaves a stream that nobody waits for."""

    async def work() -> float:
        log, full = StreamLog(window=10), asyncio.Event()

        def no_room(*, before: int) -> bool:
            full.set()
            return False

        monkeypatch.setattr(log._spool, "make_room", no_room)
        await log.append(b"x" * 10)
        writer = asyncio.create_task(log.append(b"x" * 10))
        await full.wait()
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        return log.paused

    assert run(work()) > 0


def test_a_reader_that_has_all_lets_a_paused_writer_go_on() -> None:
    """While nobody read, all was kept, and the log filled up; whoever comes back with the newest frame needs none of it."""
    loop = FakeLoop()
    log = loop.do(lambda: StreamLog(window=1, spool=SEGMENTS))
    while (writing := loop.do(lambda: loop.create_task(log.append(b"xx")))).done():
        pass
    last = log.last
    with loop.do(lambda: log.reader(last)) as reader:
        loop.settle()
        assert writing.done()
        assert writing.result() == last + 1
        taking = loop.do(lambda: loop.create_task(reader.take()))
        assert [entry.data for entry in taking.result()] == [b"xx"]
    loop.do(log.discard)
    loop.close()


class SlowDisk(FakeLoop):
    """Its threads have done nothing before a test says so; a job is done also when nobody waits for it any more."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[tuple[asyncio.Future[Any], Callable[[], Any]]] = []

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        self.jobs.append((future, partial(func, *args)))
        return future

    def work(self, which: int = -1) -> None:
        """Do one job: the last that was given, unless it is another."""
        future, job = self.jobs.pop(which)
        done = FakeLoop.run_in_executor(self, None, job)
        error = done.exception()
        if not future.done():
            future.set_result(done.result()) if error is None else future.set_exception(error)
        self.settle()


@given(
    st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.integers(0, 2)), min_size=1, max_size=40),
    st.integers(1, 200),
    st.integers(100, 4_000),
)
def test_what_was_given_up_while_it_was_written_is_there_once(
    steps: list[tuple[int, bool, int]], window: int, spool: int
) -> None:
    """A thread that writes cannot be stopped: it does so before the next write, or behind it."""
    loop, frames = SlowDisk(), list[bytes]()
    log = loop.do(lambda: StreamLog(window=window, spool=spool))
    for size, gives_up, late in steps:
        data = bytes([len(frames) % 251]) * size
        writing = loop.do(partial(_appending, loop, log, data))
        while not writing.done() and loop.jobs:
            if gives_up:
                writing.cancel()
                loop.settle()
            else:
                loop.work()
        for _ in range(min(late, len(loop.jobs))):
            loop.work(0)
        if not writing.done():  # the log is full
            writing.cancel()
            loop.settle()
        frames += [] if writing.cancelled() else [data]
    loop.do(log.close)
    with loop.do(log.reader) as reader:
        reading = loop.do(lambda: loop.create_task(rest(reader)))
        while not reading.done():
            loop.work()
    assert reading.result() == frames
    while loop.jobs:
        loop.work()
    loop.do(log.discard)
    loop.close()


def _appending(loop: SlowDisk, log: StreamLog, data: bytes) -> asyncio.Task[int]:
    return loop.create_task(log.append(data))
