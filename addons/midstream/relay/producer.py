"""One chat in a stream's log: whatever provider answers, as OpenAI chat chunks that any delivery can take from there."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import AnswerOptions, Encoder
from midstream.dialects.openai.chat_answer import ChatEncoder
from midstream.events import End, Event, Failure
from midstream.ledger import Ledger
from midstream.observation import Outcome
from midstream.relay.ask import Ask
from midstream.relay.healing import Healing, Means
from midstream.relay.job import Head
from midstream.relay.prepare import Prepared
from midstream.relay.refusal import error_body, stopped
from midstream.relay.shown import Shown
from midstream.relay.sink import Refused, Said
from midstream.relay.streams import Stream

log = logging.getLogger(__name__)

DONE = b"[DONE]"


class ChatSink:
    """Writes one answer into a stream's log, which ends with `[DONE]` or an error."""

    takes_bytes = False

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._encoder: Encoder | None = None

    async def begin(self, prepared: Prepared, head: Head, decoder: AnswerDecoder) -> None:
        stream = self._stream
        stream.dropped = prepared.dropped
        self._encoder = ChatEncoder(
            AnswerOptions(id=stream.id, model=prepared.model or stream.model, created=int(stream.created))
        )

    async def pass_on(self, data: bytes, *, whole: bool = False) -> None:
        raise NotImplementedError("a log takes no provider's own bytes")

    async def say(self, events: Sequence[Event], said: Said) -> None:
        for event in events:
            await self._write(event)

    async def _write(self, event: Event) -> None:
        stream = self._stream
        if stream.log.closed or self._encoder is None:
            return
        frames = self._encoder.feed(event)
        if isinstance(event, End):
            for frame in frames[:-1]:
                await stream.log.append(frame.data)
            stream.log.finish(DONE)
        else:
            for frame in frames:
                await stream.log.append(frame.data)
        if frames:
            stream.begun.set()

    async def finish(self) -> Failure | None:
        if not self._stream.log.closed:
            self._stream.log.finish(DONE)
        return None

    async def refuse(self, refused: Refused) -> None:
        if refused.retry_after is not None:
            self._stream.retry_after = math.ceil(refused.retry_after)
        self.fail(refused.failure)

    async def break_off(self, failure: Failure, said: Said) -> None:
        self.fail(failure)

    def fail(self, failure: Failure) -> None:
        """The last frame is an error, not a clean end."""
        stream = self._stream
        if not stream.log.closed:
            stream.failure = failure
            stream.log.finish(error_body(failure))


@dataclass(slots=True)
class Producer:
    """Runs as the stream's task. Whatever happens, it ends the log with `[DONE]` or an error, and settles the row."""

    stream: Stream
    ask: Ask
    means: Means

    async def run(self) -> None:
        stream, ledger = self.stream, self.means.ledger
        sink = ChatSink(stream)
        shown = Shown(self.ask, stream.account, ledger, sink)
        ledger.open(stream.account)
        outcome: Outcome = "complete"
        try:
            healing = Healing(shown, self.means)
            await healing.run()
            if healing.failure is not None:
                outcome = "truncated" if shown.begun else "failed"
        except asyncio.CancelledError:
            outcome = "client_gone" if stream.failure is not None else "interrupted"
            sink.fail(stream.failure or stopped())
        except Exception:
            log.exception("a stream of the gateway failed")
            outcome = "failed"
            sink.fail(Failure("midstream failed", type="internal_error", code="internal_error", status=500))
        finally:
            self._settle(outcome, ledger)

    def _settle(self, outcome: Outcome, ledger: Ledger) -> None:
        stream, failure = self.stream, self.stream.failure
        observation = stream.account.observation
        observation.record.paused_ms = stream.log.paused * 1000
        kind, message = (failure.type or failure.code, failure.message) if failure else ("", "")
        observation.settle(outcome, time.monotonic(), error_type=kind, error=message)
        ledger.close(stream.account)
