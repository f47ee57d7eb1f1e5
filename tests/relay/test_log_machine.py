"""The stream log under any order of appends, readers that come, read, hesitate, break off and go, and its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from midstream.relay.log import Expired, Reader, StreamLog
from midstream.relay.spool import SEGMENTS, Entry
from relay.fake_loop import FakeLoop

PREFIX = 4
"""Bytes of a frame's length in the spool."""


@dataclass(eq=False)
class Follower:
    """taking: a `take` that waits."""

    reader: Reader
    began: int
    taking: asyncio.Task[list[Entry]] | None = None
    got: list[bytes] = field(default_factory=list)


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = FakeLoop()
        self.frames: list[bytes] = []
        self.followers: list[Follower] = []
        self.writer: asyncio.Task[int] | None = None

    @initialize(window=st.integers(1, 60), spool=st.integers(0, 60))
    def begin(self, window: int, spool: int) -> None:
        self.window, self.spool = window, spool
        self.log = self.loop.do(lambda: StreamLog(window=window, spool=spool))

    @property
    def writing(self) -> bool:
        return self.writer is not None and not self.writer.done()

    @precondition(lambda self: not self.writing and not self.log.closed)
    @rule(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6))
    def append(self, sizes: list[int]) -> None:
        """Each number follows the last, until one waits."""
        for size in sizes:
            data = bytes([len(self.frames) % 251]) * size
            self.frames.append(data)
            self.writer = self.loop.do(partial(self._write, data))
            if self.writing:
                return
            assert self.writer.result() == self.log.last == len(self.frames)

    def _write(self, data: bytes) -> asyncio.Task[int]:
        return self.loop.create_task(self.log.append(data))

    @precondition(lambda self: self.writing)
    @rule()
    def give_up_writing(self) -> None:
        """As when the provider is cancelled: the frame is not there, and nothing else is lost."""
        assert self.writer is not None
        self.writer.cancel()
        self.loop.settle()
        self.frames = self.frames[: self.log.last]

    @precondition(lambda self: len(self.followers) < 4)
    @rule(behind=st.integers(-1, 30))
    def attach(self, behind: int) -> None:
        after = max(0, self.log.last - behind)
        if after > self.log.last:
            with pytest.raises(ValueError, match="has not been written"):
                self.log.reader(after)
        elif after + 1 < self.log.first:
            with pytest.raises(Expired):
                self.log.reader(after)
        else:
            self.followers.append(Follower(self.loop.do(lambda: self.log.reader(after)), after))

    @precondition(lambda self: self.followers)
    @rule(which=st.integers(0, 3))
    def take(self, which: int) -> None:
        follower = self.followers[which % len(self.followers)]
        if follower.taking is None:
            follower.taking = self.loop.do(lambda: self.loop.create_task(follower.reader.take()))
        self._look()

    @precondition(lambda self: self.followers)
    @rule(which=st.integers(0, 3))
    def hesitate(self, which: int) -> None:
        """A `take` that is cancelled has taken nothing."""
        follower = self.followers[which % len(self.followers)]
        if follower.taking is not None:
            follower.taking.cancel()
            self.loop.settle()
            follower.taking = None

    @precondition(lambda self: self.followers)
    @rule(which=st.integers(0, 3))
    def leave(self, which: int) -> None:
        self.hesitate(which)
        self.loop.do(self.followers.pop(which % len(self.followers)).reader.close)

    @precondition(lambda self: not self.writing)
    @rule()
    def close(self) -> None:
        self.loop.do(self.log.close)

    def _look(self) -> None:
        """Whoever waits may have been served by what another did."""
        for follower in self.followers:
            if follower.taking is not None and follower.taking.done():
                entries, follower.taking = follower.taking.result(), None
                first = follower.began + len(follower.got) + 1
                assert [entry.n for entry in entries] == list(range(first, first + len(entries)))
                assert entries or (self.log.closed and first > self.log.last), "an end before the end"
                follower.got += [entry.data for entry in entries]

    @invariant()
    def every_frame_once_in_order(self) -> None:
        self.loop.settle()
        self._look()
        for follower in self.followers:
            assert follower.got == self.frames[follower.began : follower.began + len(follower.got)]

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        for follower in self.followers:
            if follower.taking is not None:
                assert follower.began + len(follower.got) == self.log.last
                assert not self.log.closed

    @invariant()
    def nobody_has_lost_what_it_needs(self) -> None:
        assert all(follower.reader.position + 1 >= self.log.first for follower in self.followers)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.log.memory <= max([self.window, *map(len, self.frames)])

    @invariant()
    def disk_is_bounded(self) -> None:
        """Each file is begun below its share, and takes one batch beyond it: half a window, or a frame."""
        batch = self.window // 2 + PREFIX * (self.window + 2) + 2 * max([0, *map(len, self.frames)])
        files = self.log._spool._segments
        assert len(files) <= SEGMENTS
        assert all(one.size <= max(self.spool // SEGMENTS, 1) + batch for one in files)

    @invariant()
    def the_writer_waits_only_for_a_full_log(self) -> None:
        if self.writing:
            files = self.log._spool._segments
            assert len(files) == SEGMENTS, "there is room on disk"
            assert all(one.size >= max(self.spool // SEGMENTS, 1) for one in files)
            behind = [f for f in self.followers if f.reader.position < files[0].last]
            assert behind or not self.followers, "nobody needs the oldest"

    def teardown(self) -> None:
        tasks = [task for task in (self.writer, *(f.taking for f in self.followers)) if task is not None]
        for task in tasks:
            task.cancel()
        self.loop.settle()
        if hasattr(self, "log"):
            self.loop.do(self.log.discard)
            assert (self.log.memory, len(self.log._spool._segments)) == (0, 0)
        self.loop.close()


LogMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
test_log = LogMachine.TestCase
