"""One chat of the gateway: asks the provider, and writes what it answers into the stream's log, as OpenAI chat chunks."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from midstream.config_tables import Timeouts
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import AnswerOptions, Encoder
from midstream.dialects.openai_chat_answer import ChatEncoder
from midstream.events import CONTENT, End, Event, Failure
from midstream.ledger import SPILL, Ledger
from midstream.observation import Outcome
from midstream.relay.refusal import error_body
from midstream.relay.streams import Stream
from midstream.relay.target import Prepared
from midstream.relay.upstream import Upstream, UpstreamError, UpstreamResponse

log = logging.getLogger(__name__)

DONE = b"[DONE]"


@dataclass(slots=True)
class Producer:
    """Runs as the stream's task. Whatever happens, it ends the log with `[DONE]` or an error, and settles the row."""

    stream: Stream
    prepared: Prepared
    upstream: Upstream
    ledger: Ledger

    async def run(self) -> None:
        stream = self.stream
        self.ledger.open(stream.account)
        outcome: Outcome = "complete"
        try:
            await self._produce()
        except UpstreamError as error:
            outcome = "truncated" if stream.log.last else "failed"
            self._fail(Failure(str(error), type=error.kind, code=error.kind))
        except asyncio.CancelledError:
            outcome = "client_gone" if stream.failure is not None else "interrupted"
            self._fail(
                stream.failure or Failure("midstream stopped", type="interrupted", code="interrupted", status=503)
            )
        except Exception:
            log.exception("a stream of the gateway failed")
            outcome = "failed"
            self._fail(Failure("midstream failed", type="internal_error", code="internal_error", status=500))
        finally:
            self._settle(outcome)

    async def _produce(self) -> None:
        timeouts = self.prepared.route.timeouts
        try:
            async with asyncio.timeout(timeouts.first_token) as clock:
                response = await self.upstream.open(self.prepared.request, connect=timeouts.connect)
                try:
                    await _Answer(self, response, clock, timeouts).read()
                finally:
                    response.close()
        except TimeoutError:
            kind = "idle_timeout" if self.stream.log.last else "first_token_timeout"
            raise UpstreamError(kind, "the provider sent nothing for too long") from None

    def _fail(self, failure: Failure) -> None:
        """The last frame is an error, not a clean end."""
        stream = self.stream
        if not stream.log.closed:
            stream.failure = failure
            stream.log.finish(error_body(failure))

    def _settle(self, outcome: Outcome) -> None:
        stream, failure = self.stream, self.stream.failure
        observation = stream.account.observation
        observation.record.paused_ms = stream.log.paused * 1000
        kind, message = (failure.type or failure.code, failure.message) if failure else ("", "")
        observation.settle(outcome, time.monotonic(), error_type=kind, error=message)
        self.ledger.close(stream.account)


class _Answer:
    """One provider's response, on its way into the log."""

    def __init__(
        self, producer: Producer, response: UpstreamResponse, clock: asyncio.Timeout, timeouts: Timeouts
    ) -> None:
        self._producer = producer
        self._stream = producer.stream
        self._response = response
        self._clock = clock
        self._timeouts = timeouts
        self._account = producer.stream.account
        self._account.observation.record.http_status = response.status
        self._decoder = AnswerDecoder(
            producer.prepared.dialect,
            status=response.status,
            content_type=response.header("content-type"),
            content_encoding=response.header("content-encoding"),
        )
        self._encoder: Encoder = ChatEncoder(
            AnswerOptions(id=self._stream.id, model=producer.prepared.model, created=int(self._stream.created))
        )

    async def read(self) -> None:
        """Read to the end. Raises UpstreamError if the body breaks off, TimeoutError if nothing comes for too long."""
        record = self._account.observation.record
        async for piece in self._response.pieces():
            record.bytes += len(piece)
            await self._take(self._decoder.feed(piece))
            if self._stream.log.closed:
                return
        await self._take(self._decoder.close())
        if not self._stream.log.closed:
            await self._take([Failure("the provider's answer has no end", type="truncated", code="truncated")])

    async def _take(self, events: list[Event]) -> None:
        account, ledger = self._account, self._producer.ledger
        if account.observation.feed(events, time.monotonic()):
            ledger.first_content(account)
        if account.observation.text_size > SPILL:
            ledger.spill(account)
        progress = any(isinstance(event, CONTENT) for event in events)
        deadline = self._clock.when()
        self._clock.reschedule(None)  # a slow reader is not the provider's fault
        waited = time.monotonic()
        for event in events:
            await self._write(event)
        now = asyncio.get_running_loop().time()
        if progress:
            self._clock.reschedule(now + self._timeouts.idle)
        elif deadline is not None:
            self._clock.reschedule(deadline + time.monotonic() - waited)

    async def _write(self, event: Event) -> None:
        stream = self._stream
        if stream.log.closed:
            return
        frames = self._encoder.feed(event)
        if isinstance(event, Failure):
            stream.failure = event
            stream.log.finish(error_body(event))
        elif isinstance(event, End):
            for frame in frames[:-1]:
                await stream.log.append(frame.data)
            stream.log.finish(DONE)
        else:
            for frame in frames:
                await stream.log.append(frame.data)
        if frames:
            stream.begun.set()
