"""Native delivery: the provider's own bytes as long as they are to be had, then our encoder's in the client's own dialect."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from midstream.dialects import registry
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import AnswerOptions, Encoder, Unwritable
from midstream.dialects.endings import failure_bytes
from midstream.dialects.openai.chat_functions import uses_functions
from midstream.events import Event, Failure
from midstream.relay.ask import Ask
from midstream.relay.job import Head
from midstream.relay.prepare import Prepared
from midstream.relay.refusal import error_body, status_of
from midstream.relay.sink import Refused, Said
from midstream.wire.framing import Framing, FramingName
from midstream.wire.json_text import dump_json

_FRAME_ENDS: Mapping[FramingName | None, tuple[bytes, ...]] = {
    "sse": (b"\n\n", b"\r\n\r\n", b"\r\r"),
    "ndjson": (b"\n",),
}
"""By the framing: what a piece of a body ends in that ends with a frame. Of the others only who cuts frames out knows."""


_HOST_ONLY = frozenset(
    (
        b"set-cookie",
        b"strict-transport-security",
        b"alt-svc",
        b"clear-site-data",
        b"nel",
        b"report-to",
        b"www-authenticate",
    )
)
"""What a response tells its client of the host that it comes from: not of the one that was asked, if another has answered."""


class Out(Protocol):
    """Where the bytes go: a client's connection, or the log of a stream that outlives it."""

    async def begin(self, head: Head, keepalive: bytes) -> None:
        """Send a head. keepalive: what may be sent between two frames in a long silence; b"": nothing."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def end(self) -> None:
        """The body is whole."""
        ...

    async def break_off(self) -> None:
        """The connection ends behind what was written, without a clean end."""
        ...

    async def answer(self, head: Head, body: bytes) -> None:
        """A response of a known body, instead of all else."""
        ...


class NativeSink:
    """One answer in the client's own dialect and form."""

    takes_bytes = True

    def __init__(self, ask: Ask, stream_id: str, out: Out) -> None:
        self._ask = ask
        self._id = stream_id
        self._out = out
        self._decoder: AnswerDecoder | None = None
        self._model = ask.model
        self._dropped: tuple[str, ...] = ()
        self._served = ""
        self._encoder: Encoder | None = None
        self._framing: Framing | None = None
        self._collected: list[Event] = []
        self._between_frames = True
        self._encoded = False

    async def begin(self, prepared: Prepared, head: Head, decoder: AnswerDecoder) -> None:
        self._model = prepared.model or self._model
        self._dropped = prepared.dropped
        if prepared.own:
            self._decoder = decoder
            named = {k.lower(): v for k, v in head.headers}
            self._encoded = named.get(b"content-encoding", b"") not in (b"", b"identity")
            await self._out.begin(self._rerouted(prepared, head), keepalive_of(self._ask, head))
            return
        self._served = prepared.target
        if self._ask.stream:
            self._encoder = self._new_encoder()
            self._framing = framing = Framing(self._ask.dialect.framing(self._ask.path, self._fields()))
            await self._out.begin(self._head(framing.content_type), self._ask.dialect.keepalive)

    async def pass_on(self, data: bytes, *, whole: bool = False) -> None:
        framing = self._decoder.framing if self._decoder is not None else None
        self._between_frames = whole or data.endswith(_FRAME_ENDS.get(framing, ()))
        await self._out.write(data)

    async def say(self, events: Sequence[Event], said: Said) -> None:
        if self._decoder is None and self._encoder is None:
            self._collected += events  # a whole answer, asked for as a stream
            return
        if self._encoder is None and not self._can_end():
            return  # only where the answer is whole but for its terminal event, and broke off in the midst of that
        encoder = self._encoder or self._resume(said)
        assert self._framing is not None  # noqa: S101 - made with the encoder
        frames = [frame for event in events for frame in encoder.feed(event)]
        if frames:
            await self._out.write(self._framing.write(frames))

    async def finish(self) -> Failure | None:
        if self._decoder is None and self._encoder is None:
            return await self._answer_whole()
        rest = self._framing.close() if self._framing is not None else b""
        if rest:
            await self._out.write(rest)
        failure = self._encoder.failure if self._encoder is not None else None
        await (self._out.end() if failure is None else self._out.break_off())
        return failure

    async def refuse(self, refused: Refused) -> None:
        if refused.head is not None:
            return await self._out.answer(_measured(refused.head, refused.body), refused.body)
        await self._refuse(refused.failure, refused.retry_after)

    async def break_off(self, failure: Failure, said: Said) -> None:
        if self._decoder is None and self._encoder is None:
            return await self._refuse(failure)
        if self._encoder is not None or self._can_end():
            data = self._failure(failure, said)
            if data:
                await self._out.write(data)
        await self._out.break_off()

    async def _refuse(self, failure: Failure, retry_after: float | None = None) -> None:
        status = status_of(failure)
        body = error_body(replace(failure, status=status), self._ask.dialect)
        extra = [(b"retry-after", str(int(retry_after + 0.999)).encode())] if retry_after is not None else []
        head = Head(status, "", [*_json(body), *extra])
        await self._out.answer(head, body)

    async def _answer_whole(self) -> Failure | None:
        """An answer that the client's dialect has no words for is an HTTP error: in a 200 no SDK looks for one."""
        write, failure = self._ask.dialect.write_answer, None
        try:
            if write is None:
                raise Unwritable(Failure("this answer cannot be translated", type="internal_error", status=500))
            body = dump_json(write(self._collected, self._options())).encode()
        except Unwritable as error:
            failure = error.failure
            await self._refuse(failure)
        else:
            await self._out.answer(Head(200, "", [*_json(body), *self._named()]), body)
        return failure

    def _resume(self, said: Said) -> Encoder:
        """Go on behind the provider's own frames."""
        decoder, dialect = self._decoder, self._ask.dialect
        assert decoder is not None  # noqa: S101 - what `say` has seen to
        assert dialect.resume is not None  # noqa: S101 - what `resumable` has told
        self._encoder = dialect.resume(self._options(), said(), decoder.decoder)
        self._framing = Framing(decoder.framing or dialect.framing(self._ask.path, self._fields()), begun=True)
        return self._encoder

    def _can_end(self) -> bool:
        """Whether an error can be written behind the provider's own bytes: not into the midst of a frame, nor a whole answer."""
        decoder = self._decoder
        if decoder is None or decoder.framing in (None, "whole") or self._encoded:
            return False
        return decoder.between_frames or (decoder.framing == "sse" and self._between_frames)

    def _failure(self, failure: Failure, said: Said) -> bytes:
        if self._framing is None and self._decoder is not None:
            framing = self._decoder.framing or "sse"
            encoder = None
            if self._ask.dialect.resume is not None:
                encoder = self._ask.dialect.resume(self._options(), said(), self._decoder.decoder)
            return failure_bytes(self._ask.dialect, framing, failure, encoder)
        assert self._framing is not None  # noqa: S101 - either it or the decoder is there
        assert self._encoder is not None  # noqa: S101 - made together
        return self._framing.write(self._encoder.feed(failure)) + self._framing.close()

    def _new_encoder(self) -> Encoder:
        assert self._ask.dialect.encoder is not None  # noqa: S101 - who can be translated has one
        return self._ask.dialect.encoder(self._options())

    def _options(self) -> AnswerOptions:
        try:
            include_usage = self._ask.read().include_usage
        except ValueError:
            include_usage = True
        return AnswerOptions(
            id=self._id,
            model=self._model,
            created=int(time.time()),
            include_usage=include_usage,
            path=self._ask.path,
            functions=uses_functions(self._fields()),
        )

    def _head(self, content_type: str) -> Head:
        return Head(
            200, "OK", [(b"content-type", content_type.encode()), (b"cache-control", b"no-store"), *self._named()]
        )

    def _rerouted(self, prepared: Prepared, head: Head) -> Head:
        """A provider's own head, which says so where it is another provider's, or another model's, than was asked for."""
        if (prepared.provider, prepared.model) == (self._ask.provider, self._ask.model):
            return head
        self._served = prepared.target
        kept = [(k, v) for k, v in head.headers if k.lower() not in _HOST_ONLY]
        return Head(head.status, head.reason, [*kept, *self._named()])

    def _named(self) -> list[tuple[bytes, bytes]]:
        """Who answered in the place of whom was asked, and what they could not be told."""
        named = [(b"x-midstream-target", self._served.encode("ascii", "replace"))]
        if self._dropped:
            named.append((b"x-midstream-dropped", ", ".join(self._dropped).encode("ascii", "replace")))
        return named

    def _fields(self) -> dict[str, object]:
        return registry.fields(self._ask.body)


def keepalive_of(ask: Ask, head: Head) -> bytes:
    """What may be sent between two frames of this response: nothing into an encoded body, nor one of a known length."""
    named = {k.lower(): v for k, v in head.headers}
    fixed = named.get(b"content-encoding") or named.get(b"content-length")
    return ask.dialect.keepalive if b"text/event-stream" in named.get(b"content-type", b"") and not fixed else b""


def _json(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]


def _measured(head: Head, body: bytes) -> Head:
    """A provider's head with the length of the body that is known by now."""
    kept = [(k, v) for k, v in head.headers if k.lower() != b"content-length"]
    return Head(head.status, head.reason, [*kept, (b"content-length", str(len(body)).encode())])
