"""Reattaching: an intercepted stream outlives its client's connection for a while, and the SDK's own retry of the identical
request is given that stream from its first byte, instead of one more that is billed again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from midstream.config import Config
from midstream.relay import native
from midstream.relay.client import Client
from midstream.relay.healing import Means
from midstream.relay.job import Job
from midstream.relay.kept_stream import Follower, KeptStream
from midstream.relay.log import StreamLog
from midstream.relay.same_request import has_idempotency_key, identity, is_retry
from midstream.relay.upstream import UpstreamRequest

LIMIT = 256
"""Streams at once whose clients are gone; the oldest go first. With the default window they hold 64 MiB of memory at most."""

STOP_WAIT = 1.0
"""Seconds that streams get at mitmdump's end to tell their clients that it is theirs."""

NOTICE = 0.25
"""Seconds that a retry waits for mitmproxy to notice that the first try's client is gone: an HTTP/2 client's reset and its retry
may arrive in one piece, and the news of the reset takes longer. SDKs wait for as long or longer before they retry."""


class Reattach:
    """The streams that can be reattached to. One event loop; `config` gives the configuration in force."""

    def __init__(self, config: Callable[[], Config], means: Means) -> None:
        self._config = config
        self._means = means
        self._ledger = means.ledger
        self._streams: dict[bytes, list[KeptStream]] = {}
        self._detached: dict[KeptStream, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()

    def wants(self, job: Job) -> bool:
        """Whether this request is one whose retry can be attached: a streaming one, where the configuration says so."""
        return self._config().streams.reattach > 0 and job.ask.stream and job.ask.sent is not None

    async def deliver(self, job: Job, client: Client) -> None:
        """Answer from the stream that this request is a retry of, else from a new one."""
        assert job.ask.sent is not None  # noqa: S101 - what `wants` says
        stream = await self._find(job.ask.sent)
        if stream is None and self._ledger.draining:
            return await native.refuse(job, client, self._ledger)
        stream = stream or self._start(job)
        follower = Follower(stream, job)
        job.account = stream.account
        try:
            await follower.run(client)
        finally:
            follower.close()
            self._left(stream, follower.delivered)

    async def stop(self) -> None:
        """Cancel all providers; rows that are not settled say interrupted."""
        streams = [stream for group in self._streams.values() for stream in group]
        for stream in streams:
            if stream.running or not stream.log.readers:  # else its reader has a moment to finish
                stream.failed = True
                self._drop(stream)
        tasks = [stream.task for stream in streams if stream.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_WAIT)

    async def _find(self, request: UpstreamRequest) -> KeptStream | None:
        """The stream that a retry belongs to; None if it is to be asked anew."""
        if not self._streams or not is_retry(request):
            return None
        key, named = identity(request), has_idempotency_key(request)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NOTICE):
                while self._of_use(key) and self._fitting(key, named) is None:
                    await self._changed.wait()
        stream = self._fitting(key, named)
        if stream is not None:
            self._stop_timer(stream)
            stream.account.observation.record.resumes += 1
        return stream

    def _of_use(self, key: bytes) -> list[KeptStream]:
        return [stream for stream in self._streams.get(key, ()) if stream.of_use]

    def _fitting(self, key: bytes, named: bool) -> KeptStream | None:
        """Without an Idempotency-Key only one whose client is gone: who asks the same thing twice at once wants two answers."""
        return next((stream for stream in self._of_use(key) if named or stream in self._detached), None)

    def _start(self, job: Job) -> KeptStream:
        settings = self._config().streams
        frames = StreamLog(window=settings.window, spool=settings.spool, folder=settings.spool_folder)
        stream = KeptStream(job, frames, self._means)
        self._ledger.open(job.account)
        self._streams.setdefault(stream.key, []).append(stream)
        stream.task = asyncio.create_task(stream.run(), name="midstream-reattachable")
        stream.task.add_done_callback(partial(self._over, stream))
        return stream

    def _left(self, stream: KeptStream, delivered: int) -> None:
        """A client's connection is over."""
        if stream.log.readers:
            return
        if stream.whole(delivered):
            stream.settle("complete")
        if stream.settled:
            self._forget(stream)
        elif self._ledger.stopping or not stream.of_use:
            self._drop(stream)
        else:
            self._detach(stream)

    def _detach(self, stream: KeptStream) -> None:
        """Nobody reads it now: wait for the retry, but not for ever."""
        while len(self._detached) >= LIMIT:
            self._drop(next(iter(self._detached)))
        wait = self._config().streams.reattach
        self._detached[stream] = asyncio.get_running_loop().call_later(wait, self._drop, stream)
        self._wake()

    def _over(self, stream: KeptStream, _: asyncio.Task[None]) -> None:
        stream.over()
        if stream.log.readers:
            return
        if stream.settled:
            self._forget(stream)
        elif not stream.of_use:
            self._drop(stream)

    def _drop(self, stream: KeptStream) -> None:
        stream.settle_unread()
        self._forget(stream)

    def _forget(self, stream: KeptStream) -> None:
        """Nobody can find it any more; its provider is cancelled, and its log goes once nobody writes or reads it."""
        self._stop_timer(stream)
        group = self._streams.get(stream.key, [])
        if stream in group:
            group.remove(stream)
        if not group:
            self._streams.pop(stream.key, None)
        self._wake()
        if stream.running and stream.task is not None:
            stream.task.cancel()
        elif not stream.log.readers:
            stream.log.discard()

    def _stop_timer(self, stream: KeptStream) -> None:
        timer = self._detached.pop(stream, None)
        if timer is not None:
            timer.cancel()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
