"""The gateway's streams under any order of starts, reads, cuts, ends, cancellations and passing time: what lives, what is kept,
what is gone, and never from under a reader."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from midstream import config
from midstream.events import Failure
from midstream.ledger import Account
from midstream.observation import Observation, StreamRecord
from midstream.relay.log import Reader, StreamLog
from midstream.relay.refusal import Refusal
from midstream.relay.streams import ABANDONED, CANCELLED, Stream, Streams
from relay.fake_loop import FakeLoop

GRACE, KEEP = 10.0, 20.0
OWNERS = ("anna", "ben")
DONE, BROKEN = b"[DONE]", b"broken"


@dataclass(eq=False)
class Known:
    """What must be true of one stream. idle: since when nobody reads it, in its present state. readers: with what each has."""

    stream: Stream
    idle: float | None
    steps: asyncio.Queue[bytes]
    frames: list[bytes] = field(default_factory=list)
    readers: list[tuple[contextlib.ExitStack, Reader, list[bytes]]] = field(default_factory=list)
    ended: bool = False
    abandoned: bool = False
    gone: bool = False


class StreamsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = FakeLoop()
        self.streams = self.loop.do(lambda: Streams(lambda: config.Streams(grace=GRACE, keep=KEEP)))
        self.known: list[Known] = []

    @precondition(lambda self: len(self.known) < 6)
    @rule(owner=st.sampled_from(OWNERS))
    def start(self, owner: str) -> None:
        account = Account(Observation(StreamRecord(id=f"s{len(self.known)}", started_at=""), 0.0))
        stream = self.loop.do(
            lambda: Stream(id=f"s{len(self.known)}", owner=owner, model="m", account=account, log=StreamLog())
        )
        known = Known(stream, self.loop.now, asyncio.Queue())
        self.known.append(known)
        self.loop.do(lambda: self.streams.start(stream, _work(stream, known.steps)))

    @precondition(lambda self: self._some(ended=False))
    @rule(which=st.integers(0, 5), size=st.integers(1, 5))
    def say(self, which: int, size: int) -> None:
        known = self._one(which, ended=False)
        frame = b"%d" % len(known.frames) * size
        known.frames.append(frame)
        self.loop.do(lambda: known.steps.put_nowait(frame))

    @precondition(lambda self: self._some(ended=False))
    @rule(which=st.integers(0, 5))
    def end(self, which: int) -> None:
        known = self._one(which, ended=False)
        self.loop.do(lambda: known.steps.put_nowait(DONE))
        self._over(known, DONE)

    @precondition(lambda self: self._some(ended=False))
    @rule(which=st.integers(0, 5))
    def cancel(self, which: int) -> None:
        known = self._one(which, ended=False)
        self.loop.do(lambda: self.streams.cancel(known.stream))
        self._over(known, BROKEN)
        assert known.stream.failure is not None
        assert known.stream.failure.type == CANCELLED

    @precondition(lambda self: self._some(gone=False))
    @rule(which=st.integers(0, 5), after=st.integers(0, 9))
    def read(self, which: int, after: int) -> None:
        known = self._one(which, gone=False)
        stack = contextlib.ExitStack()
        attached = self.streams.attach(known.stream, after, "sse")
        if after > len(known.frames):
            with pytest.raises(Refusal) as refused:
                self.loop.do(lambda: stack.enter_context(attached))
            assert refused.value.status == 400
            return
        reader = self.loop.do(lambda: stack.enter_context(attached))
        known.readers.append((stack, reader, known.frames[:after]))
        known.idle = None

    @precondition(lambda self: any(known.readers for known in self.known))
    @rule(which=st.integers(0, 5), reader=st.integers(0, 3))
    def leave(self, which: int, reader: int) -> None:
        reading = [known for known in self.known if known.readers]
        known = reading[which % len(reading)]
        stack, *_ = known.readers.pop(reader % len(known.readers))
        self.loop.do(stack.close)
        if not known.readers:
            known.idle = self.loop.now

    @rule(seconds=st.sampled_from([0.5, 4.0, 9.5, 11.0, 21.0]))
    def time_passes(self, seconds: float) -> None:
        """In steps, so that what one timer leads to may start the next on time."""
        until = self.loop.now + seconds
        while self.loop.now < until:
            self.loop.advance(0.5)
            for known in self.known:
                self._expire(known)

    def _expire(self, known: Known) -> None:
        if known.idle is None or known.gone:
            return
        if not known.ended and self.loop.now >= known.idle + GRACE:
            known.abandoned = True
            self._over(known, BROKEN)
        elif known.ended and self.loop.now >= known.idle + KEEP:
            known.gone = True

    def _over(self, known: Known, last: bytes) -> None:
        known.ended = True
        known.frames.append(last)
        if not known.readers:
            known.idle = self.loop.now

    def _some(self, *, ended: bool | None = None, gone: bool | None = None) -> list[Known]:
        return [k for k in self.known if ended in (None, k.ended) and gone in (None, k.gone)]

    def _one(self, which: int, *, ended: bool | None = None, gone: bool | None = None) -> Known:
        fitting = self._some(ended=ended, gone=gone)
        return fitting[which % len(fitting)]

    @invariant()
    def each_is_found_by_its_owner_as_long_as_it_is_kept(self) -> None:
        for known in self.known:
            stream = known.stream
            mine, others = stream.owner, next(owner for owner in OWNERS if owner != stream.owner)
            assert self._status(stream.id, mine) == (410 if known.gone else 200)
            assert self._status(stream.id, others) == 404
            assert self.streams.knows(stream.id, mine)
            assert not self.streams.knows(stream.id, others)

    def _status(self, name: str, owner: str) -> int:
        try:
            self.streams.find(name, owner)
        except Refusal as refusal:
            return refusal.status
        return 200

    @invariant()
    def those_that_run_are_listed(self) -> None:
        for owner in OWNERS:
            running = [k.stream for k in self.known if not k.ended and k.stream.owner == owner]
            assert self.streams.live(owner) == running

    @invariant()
    def a_stream_nobody_came_back_to_says_so(self) -> None:
        for known in self.known:
            if known.abandoned:
                assert known.stream.failure is not None
                assert known.stream.failure.type == ABANDONED

    @invariant()
    def readers_have_every_frame_once(self) -> None:
        for known in self.known:
            for _, reader, got in known.readers:
                while reader.position < known.stream.log.last:
                    got += [entry.data for entry in self.loop.run_until_complete(reader.take())]
                assert got == known.frames

    @invariant()
    def what_is_gone_holds_nothing(self) -> None:
        for known in self.known:
            if known.gone:
                assert (known.stream.log.memory, known.stream.timer) == (0, None)

    def teardown(self) -> None:
        for known in self.known:
            for stack, *_ in known.readers:
                self.loop.do(stack.close)
        self.loop.run_until_complete(self.streams.stop())
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()


async def _work(stream: Stream, steps: asyncio.Queue[bytes]) -> None:
    """What a producer does: frames, and an end, come what may."""
    try:
        while (frame := await steps.get()) != DONE:
            await stream.log.append(frame)
        stream.log.finish(DONE)
    except asyncio.CancelledError:
        stream.failure = stream.failure or Failure("stopped")
        stream.log.finish(BROKEN)


StreamsMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
test_streams = StreamsMachine.TestCase
