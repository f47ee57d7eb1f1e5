"""A native stream on its client's own connection, with nobody able to resume it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Iterator

from midstream.ledger import Account, Ledger
from midstream.observation import Outcome
from midstream.relay.catching_up import HELD_LIMIT, catch_up
from midstream.relay.client import Client
from midstream.relay.healing import Healing, Means
from midstream.relay.job import Head, Job
from midstream.relay.native_sink import NativeSink
from midstream.relay.refusal import RETRY_AFTER, shutting_down
from midstream.relay.shown import Shown
from midstream.relay.sink import Refused

KEEPALIVE = 15.0
"""Seconds of silence after which a client gets a sign of life, so that nothing on the way takes its connection for dead."""

READ_TIMEOUT = 300.0
"""Seconds after which a client that reads nothing, while there is something to read, is dropped."""


class ClientStalled(Exception):
    """The client does not read."""


async def deliver(job: Job, client: Client, means: Means) -> None:
    """Fetch the provider's answer and pass it on; settle the stream's row whatever happens."""
    account, ledger = job.account, means.ledger
    ledger.open(account)
    out = ClientOut(job, client)
    shown = Shown(job.ask, account, ledger, NativeSink(job.ask, job.stream, out))
    healing = Healing(shown, means)
    try:
        with cancelled_at_the_end(means):
            await healing.run()
        settle_as(account, ledger, healing)
    except ClientStalled:
        settle(account, ledger, "client_gone", "client_stalled", f"the client read nothing for {READ_TIMEOUT:.0f} s")
        client.abort()
    except (asyncio.CancelledError, ConnectionResetError):
        settle_left(account, ledger, "the client left" if shown.begun else "the client left before the answer began")
        if not ledger.stopping or client.gone:
            raise
        await healing.stop()
    except Exception:
        settle(account, ledger, "truncated" if shown.begun else "failed", "internal_error", "midstream failed")
        raise
    finally:
        out.close()


@contextlib.contextmanager
def cancelled_at_the_end(means: Means) -> Iterator[None]:
    """What this task does is cancelled when midstream stops; then it has a moment to say so."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    means.delivering.add(task)
    try:
        yield
    finally:
        means.delivering.discard(task)


async def refuse(job: Job, client: Client, ledger: Ledger) -> None:
    """Midstream is being stopped: the client is told so in its own dialect, and the row says it."""
    out, refusal = ClientOut(job, client), shutting_down()
    ledger.open(job.account)
    await NativeSink(job.ask, job.stream, out).refuse(Refused(refusal.failure, retry_after=RETRY_AFTER))
    job.account.observation.record.http_status = refusal.status
    settle(job.account, ledger, "failed", refusal.failure.type, str(refusal))


class ClientOut:
    """What an answer is written to: one client's connection, kept alive, and waited for, but not for ever."""

    def __init__(self, job: Job, client: Client) -> None:
        self._job = job
        self._client = client
        self._record = job.account.observation.record
        self._between_frames = True
        self._written = self._seen = 0
        self._keepalive = b""
        self._timer: asyncio.TimerHandle | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def begin(self, head: Head, keepalive: bytes) -> None:
        await self._client.begin(head)
        if keepalive:
            self._keepalive = keepalive
            self._timer = asyncio.get_running_loop().call_later(KEEPALIVE, self._look)

    async def write(self, data: bytes) -> None:
        self._between_frames = data.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))  # first: the write may wait for long
        self._written += 1
        if not self._client.send(data):
            await self._in_time(self._client.write(data))
        if self._job.held() > HELD_LIMIT:
            await self._in_time(catch_up(self._job.held))

    async def _in_time(self, waiting: Awaitable[None]) -> None:
        """Wait for the client to take what was written for it, but not for ever."""
        now = time.monotonic()
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                await waiting
        except TimeoutError:
            raise ClientStalled from None
        finally:
            waited = time.monotonic() - now
            if waited > 0.001:
                self._record.paused_ms += waited * 1000

    async def end(self) -> None:
        self._between_frames = False
        await self._client.end()

    async def break_off(self) -> None:
        self._between_frames = False
        self._client.break_off()

    async def answer(self, head: Head, body: bytes) -> None:
        await self._client.answer(head, body)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._keeper is not None:
            self._keeper.cancel()

    def _look(self) -> None:
        """After each KEEPALIVE of silence between two frames, send what the client's SDK takes for nothing. A timer, not a task:
        every stream has one, and few are ever silent for so long."""
        if self._between_frames and self._written == self._seen and (self._keeper is None or self._keeper.done()):
            self._keeper = asyncio.create_task(self._keep_alive())
        self._seen = self._written
        self._timer = asyncio.get_running_loop().call_later(KEEPALIVE, self._look)

    async def _keep_alive(self) -> None:
        if not self._between_frames:  # something has come since
            return
        with contextlib.suppress(ConnectionResetError):  # the delivery itself learns that the client has left
            await self._client.write(self._keepalive)


def settle_as(account: Account, ledger: Ledger, healing: Healing) -> None:
    """The row says how it ended."""
    failure = healing.failure
    if failure is None:
        settle(account, ledger, "complete")
    else:
        kind = failure.type or failure.code or str(failure.status or "error")
        settle(account, ledger, "truncated" if healing.shown.begun else "failed", kind, failure.message)


def settle(account: Account, ledger: Ledger, outcome: Outcome, error_type: str = "", error: str = "") -> None:
    account.observation.settle(outcome, time.monotonic(), error_type=error_type, error=error)
    ledger.close(account)


def settle_left(account: Account, ledger: Ledger, error: str) -> None:
    if ledger.stopping:
        settle(account, ledger, "interrupted", "interrupted", "mitmdump was told to stop")
    else:
        settle(account, ledger, "client_gone", "client_disconnected", error)
