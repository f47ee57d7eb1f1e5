"""One attempt's way to the client: held back until it is worth showing, then passed on as its provider's own bytes, or said in
the client's form, behind what an earlier attempt has left there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence

from midstream.events import CONTENT, END, Event, Failure, Finish, Text
from midstream.healing.failures import kind_of
from midstream.healing.splice import Seam
from midstream.ledger import SPILL
from midstream.relay.attempt import Attempt, Batch, Broken, broken, drain, failure_in, rest_of
from midstream.relay.shown import Shown
from midstream.relay.sink import Refused
from midstream.relay.upstream import UpstreamError

FINISH_WAIT = 2.0
"""Seconds that the terminal event may come after the last finish reason, before the answer counts as whole without it."""

PRELUDE_WAIT = 15.0
"""Seconds after which what has come before the first token (a head, a role, pings) is passed on: until then nothing is shown of
an attempt that may yet fail, but in the end the client should know that its stream runs."""

PRELUDE_WAIT_UNASKED = 1.0
"""The same where no route asks for healing: a stream passes as its provider sends it, and only what fails at once is retried."""

PRELUDE_LIMIT = 256 * 1024
"""Bytes of it, or of a whole answer, that are held back at most."""


class Passage:
    """Reads one attempt to its end. Raises Broken where it has none."""

    def __init__(self, attempt: Attempt, shown: Shown, seam: Seam | None, *, reads_on: bool = False) -> None:
        self.progressed = False
        """Whether it brought content."""
        self._attempt = attempt
        self._shown = shown
        self._seam = seam
        self.passes_bytes = shown.sink.takes_bytes and attempt.prepared.own and (not shown.begun or reads_on)
        """Whether its own bytes are what the client gets."""
        self._clock = attempt.clock
        self._held: list[Batch] = []
        self._held_size = 0
        self._holding = not shown.begun
        self._since = asyncio.get_running_loop().time()
        self._content_at: float | None = None
        self._over = set[int]()  # choices that had a finish reason
        self._idle = shown.ask.route.timeouts.idle if shown.ask.stream or not attempt.prepared.own else None

    async def run(self) -> None:
        try:
            await self._read(self._attempt.response.pieces())
        except UpstreamError as error:
            await self._unless_finished(broken(error.kind, str(error)))

    async def _read(self, pieces: AsyncIterator[bytes]) -> None:
        while True:
            piece = await (self._first(pieces) if self._holding else anext(pieces, None))
            if piece is None:
                return await self._close()
            self._shown.account.observation.record.bytes += len(piece)
            if self.passes_bytes and not self._holding and not self._attempt.cut:
                await self._pass_unseen(piece)
            else:
                await self._look(self._attempt.take(piece), pieces)
            if self._shown.ended and not self.passes_bytes:
                return await drain(pieces)

    async def _first(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        """The next piece while others are held back, which are shown once it has let them wait for too long."""
        try:
            async with asyncio.timeout(self._patience()):
                return await anext(pieces, None)
        except TimeoutError:
            await self._open()
        return await anext(pieces, None)

    async def finished_early(self) -> bool:
        """Whether only the terminal event was missing when time was up; if so it has been written."""
        if not self._shown.finished:
            return False
        if self._can_say():
            await self._shown.say([END])
        return True

    def _can_say(self) -> bool:
        """Whether anything can be written behind the bytes of this attempt: in a dialect that we write, in a body of frames."""
        resumable = self._shown.ask.dialect.resume is not None and self._attempt.decoder.framing not in (None, "whole")
        return not self.passes_bytes or (resumable and not self._attempt.sealed)

    async def _unless_finished(self, failure: Broken) -> None:
        if self._shown.ended and not self.passes_bytes:
            return
        if not self._shown.strict or not await self.finished_early():
            raise failure

    def _patience(self) -> float | None:
        """Seconds until what is held back shall be passed on; None: not before there is more."""
        if not self._holding:
            return None
        if self._content_at is not None:
            until = self._content_at + self._shown.ask.route.hold
        elif self.passes_bytes and self._shown.ask.stream:
            until = self._since + (PRELUDE_WAIT if self._shown.strict else PRELUDE_WAIT_UNASKED)
        else:
            return None
        return max(0.0, until - asyncio.get_running_loop().time())

    async def _pass_unseen(self, piece: bytes) -> None:
        """Send first, then read: parsing must not delay a token, and nobody would act upon what it tells."""
        now = time.monotonic()
        try:
            await self._wait(self._shown.sink.pass_on(piece))
        finally:  # also when cancelled: the client has it, and what may follow it depends on where it ends
            events = self._attempt.decoder.feed(piece)
        self._observe(events, now)
        if self._shown.strict:
            self._note(events)

    def _note(self, events: list[Event]) -> None:
        self._shown.delivered.note(events)
        self._shown.ended = self._shown.ended or END in events

    async def _look(self, batch: Batch, pieces: AsyncIterator[bytes]) -> None:
        self._observe(batch.events, time.monotonic())
        if batch.bad is None and END in batch.events and self._says_nothing():
            raise broken("truncated", "the answer ended before it began")
        if self._holding:
            self._held.append(batch)
            self._held_size += len(batch.data)
            if batch.bad is not None:
                await self._fail_unseen(batch.bad, pieces)
            elif self._is_time():
                await self._open()
            return
        await self._deliver(batch)
        if batch.bad is not None:
            raise Broken(Refused(batch.bad))

    def _says_nothing(self) -> bool:
        """Whether a stream is over that has brought neither content nor a finish: a bare `[DONE]`, as gateways say of a break."""
        attempt = self._attempt
        told = self.progressed or bool(self._over) or not self._shown.strict
        return (
            not told and attempt.prepared.dialect.resume is not None and attempt.decoder.framing not in (None, "whole")
        )

    def _is_time(self) -> bool:
        if self._content_at is None:
            return self._held_size > PRELUDE_LIMIT
        return asyncio.get_running_loop().time() >= self._content_at + self._shown.ask.route.hold

    async def _fail_unseen(self, failure: Failure, pieces: AsyncIterator[bytes]) -> None:
        """The provider says that it failed, and nothing of it was shown: kept, for a client that in the end gets just this. So it
        does where it is final; else an HTTP error says more to an SDK than an error in a 200, or in a body that is no stream."""
        body = b"".join(batch.data for batch in self._held) + self._attempt.uncut
        head, framing = None, self._attempt.decoder.framing
        final = kind_of(failure) == "final" and framing not in (None, "whole")
        if self.passes_bytes and (final or not self._attempt.cut):
            rest, complete = await rest_of(pieces, PRELUDE_LIMIT - len(body))
            body, head = body + rest, self._attempt.head if complete else None
        raise Broken(Refused(failure, head, body))

    async def _open(self) -> None:
        """Show what was held back."""
        self._holding = False
        shown, attempt = self._shown, self._attempt
        if not shown.begun:
            shown.begun = True
            shown.sealed = self.passes_bytes and attempt.sealed
            await self._wait(shown.sink.begin(attempt.prepared, attempt.head_to_show, attempt.decoder))
        held, self._held = self._held, []
        for batch in held:
            await self._deliver(batch)

    async def _deliver(self, batch: Batch) -> None:
        shown = self._shown
        if self.passes_bytes:
            if shown.strict:
                self._note(batch.events)
            if batch.data and shown.ask.dialect.read_on is not None:
                shown.last = batch.data
            if batch.data:
                await self._wait(shown.sink.pass_on(batch.data, whole=self._attempt.cut))
        elif said := batch.before_failure:
            await self._say(self._seam.feed(said) if self._seam is not None else said)

    async def _say(self, events: Sequence[Event]) -> None:
        if self._seam is not None and self._seam.failed:
            raise broken("seam_mismatch", self._seam.failed)
        if events:
            await self._wait(self._shown.say(events))

    async def _wait(self, sent: Awaitable[None]) -> None:
        self._clock.pause()
        try:
            await sent
        finally:
            self._clock.go_on()

    def _observe(self, events: list[Event], now: float) -> None:
        account, ledger = self._shown.account, self._shown.ledger
        if account.observation.feed(events, now):
            ledger.first_content(account)
        if account.observation.text_size > SPILL:
            ledger.spill(account)
        content = ended = False
        for event in events:
            if event.__class__ is Text or isinstance(event, CONTENT):  # nearly all are text
                content = True
            elif event is END or isinstance(event, Finish):
                ended = True
        if (content or ended) and self._content_at is None:
            self._content_at = asyncio.get_running_loop().time()
        if content:
            if self._idle is not None or not self.progressed:
                self._clock.allow(self._idle, "idle_timeout")
            self.progressed = True
        if ended:
            self._finish(events)

    def _finish(self, events: list[Event]) -> None:
        """A choice is over, or all of them: where a route wants it, the rest must not take long."""
        self._over.update(event.choice for event in events if isinstance(event, Finish))
        if self._shown.strict and (END in events or len(self._over) >= self._shown.choices):
            self._clock.allow(FINISH_WAIT, "terminal_timeout")

    async def _close(self) -> None:
        """The body has ended as HTTP wants it; whether the answer has is another matter."""
        last, tail = self._attempt.close()
        self._observe(last.events + tail, time.monotonic())
        self._held.append(last) if self._holding else await self._deliver(last)
        failure = last.bad or failure_in(tail)
        if failure is not None and not (self.passes_bytes and not self._shown.strict):
            if self._holding or not self._shown.finished:
                raise Broken(Refused(failure))
            tail = [*(event for event in tail if event is not failure), END]
        if self._holding:
            await self._open()
        if self._seam is not None:
            tail = [*self._seam.feed(tail), *self._seam.flush()]
        if not self.passes_bytes:
            await self._say(tail)
        elif self._shown.strict and not self._shown.ended and self._can_say():
            await self._shown.say([event for event in tail if event is END])
        self._shown.ended = True
