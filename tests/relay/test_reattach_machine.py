"""Reattaching under any order of requests, retries, pieces, cuts, ends and passing time: whoever is attached has every byte from
the first, whoever is not is forgotten on time, and each stream has one row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from midstream.config import Config
from midstream.dialects import registry
from midstream.ledger import Account, Ledger
from midstream.observation import Observation, StreamRecord
from midstream.relay.ask import intercepted
from midstream.relay.healing import Means
from midstream.relay.job import Job
from midstream.relay.reattach import Reattach
from midstream.relay.upstream import Upstream, UpstreamRequest
from relay.fake_client import FakeClient
from relay.fake_loop import FakeLoop
from relay.fake_pieces import FakePieces

WAIT = 10.0
QUESTIONS = 3
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class FakeLedger:
    """Remembers what was settled."""

    stopping = draining = False

    def __init__(self) -> None:
        self.rows: list[StreamRecord] = []

    def open(self, account: Account) -> None: ...
    def first_content(self, account: Account) -> None: ...
    def spill(self, account: Account) -> None: ...
    def close(self, account: Account) -> None:
        self.rows.append(account.observation.record)


class FakeResponse:
    """A provider's answer, piece by piece as a test says; b"" ends it."""

    status, reason, headers = 200, "OK", ()

    def __init__(self) -> None:
        self.said: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = False

    def header(self, name: str) -> str:
        return "text/event-stream" if name == "content-type" else ""

    def pieces(self) -> AsyncIterator[bytes]:
        return FakePieces(self.said.get)

    def close(self) -> None:
        self.closed = True


@dataclass(eq=False)
class Client:
    job: Job
    out: FakeClient
    task: asyncio.Task[Any]


@dataclass(eq=False)
class Known:
    """What must be true of one stream. alone: since when nobody reads it. over: it can no longer be attached to."""

    question: int
    response: FakeResponse
    name: str
    body: bytes = b""
    clients: list[Client] = field(default_factory=list)
    alone: float | None = None
    ended: bool = False
    over: str = ""


class ReattachMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = FakeLoop()
        self.ledger = FakeLedger()
        self.known: list[Known] = []
        self.responses: list[FakeResponse] = []
        config = Config.model_validate({"streams": {"reattach": WAIT}})
        means = Means(cast(Upstream, self), cast(Ledger, self.ledger))
        self.reattach = self.loop.do(lambda: Reattach(lambda: config, means))

    async def open(self, request: UpstreamRequest, *, connect: float, stream: str) -> FakeResponse:
        self.responses.append(FakeResponse())
        return self.responses[-1]

    def _ask(self, question: int, name: str, *, retry: bool) -> Client:
        body = b'{"model":"gpt-4o","stream":true,"messages":[]}' + b" " * question
        headers = [(b"x-stainless-retry-count", b"1" if retry else b"0")]
        url = "https://api.openai.com/v1/chat/completions"
        sent = UpstreamRequest(method="POST", url=url, headers=headers, body=body)
        match = registry.recognise("api.openai.com", "/v1/chat/completions", body)
        assert match is not None
        job = Job(
            ask=intercepted(Config.default(), sent, match, body),
            account=Account(Observation(StreamRecord(id=name, started_at=""), 0.0)),
        )
        out = FakeClient()
        deliver = self.reattach.deliver(job, out)
        return Client(job, out, self.loop.do(lambda: self.loop.create_task(deliver)))

    def _of(self, question: int) -> list[Known]:
        return [k for k in self.known if k.question == question and not k.over]

    @precondition(lambda self: len(self.known) < 8)
    @rule(question=st.integers(0, QUESTIONS - 1), retry=st.booleans())
    def ask(self, question: int, retry: bool) -> None:
        """A retry gets the oldest that waits for one; anything else is asked of the provider."""
        waiting = [known for known in self._of(question) if known.alone is not None]
        if retry and not waiting and self._of(question):
            return  # it would wait for the news that the other's client is gone
        asked, name = len(self.responses), f"n{len(self.known)}"
        client = self._ask(question, name, retry=retry)
        if retry and waiting:
            known = next(k for k in waiting if client.job.stream == k.name)
            assert len(self.responses) == asked
        else:
            assert len(self.responses) == asked + 1
            known = Known(question, self.responses[-1], name)
            self.known.append(known)
        known.alone = None
        known.clients.append(client)
        known.over = "complete" if known.ended else ""

    @precondition(lambda self: any(not k.ended and not k.over for k in self.known))
    @rule(which=st.integers(0, 7), size=st.integers(1, 3))
    def say(self, which: int, size: int) -> None:
        known = self._one(which)
        piece = b'data: {"choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % len(known.body) * size
        known.body += piece
        self.loop.do(lambda: known.response.said.put_nowait(piece))

    @precondition(lambda self: any(not k.ended and not k.over for k in self.known))
    @rule(which=st.integers(0, 7))
    def end(self, which: int) -> None:
        known = self._one(which)
        known.body += LAST
        known.ended = True
        for piece in (LAST, b""):
            known.response.said.put_nowait(piece)
        self.loop.do(lambda: None)
        if known.clients:
            known.over = "complete"

    def _one(self, which: int) -> Known:
        running = [k for k in self.known if not k.ended and not k.over]
        return running[which % len(running)]

    @precondition(lambda self: any(k.clients and not k.over for k in self.known))
    @rule(which=st.integers(0, 7))
    def cut(self, which: int) -> None:
        read = [k for k in self.known if k.clients and not k.over]
        known = read[which % len(read)]
        known.clients.pop().task.cancel()
        self.loop.settle()
        known.alone = self.loop.now

    @rule(seconds=st.sampled_from([0.5, 4.0, 9.5, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.advance(seconds)
        for known in self.known:
            if not known.over and known.alone is not None and self.loop.now >= known.alone + WAIT:
                known.over = "client_gone"

    @invariant()
    def clients_have_every_byte(self) -> None:
        for known in self.known:
            for client in known.clients:
                assert client.out.got == known.body
                assert client.task.done() == known.ended == client.out.ended

    @invariant()
    def each_has_its_row_when_it_is_over(self) -> None:
        over = {known.name: known.over for known in self.known if known.over}
        assert {row.id: row.outcome for row in self.ledger.rows} == over
        assert len(self.ledger.rows) == len(over)

    @invariant()
    def what_is_over_holds_nothing(self) -> None:
        for known in self.known:
            if known.over:
                assert known.response.closed
        kept = sum(map(len, self.reattach._streams.values()))
        assert kept == sum(not known.over for known in self.known)
        assert len(self.reattach._detached) == sum(k.alone is not None and not k.over for k in self.known)

    def teardown(self) -> None:
        self.ledger.stopping = True
        self.loop.do(lambda: None)
        stopping = self.loop.create_task(self.reattach.stop())
        self.loop.settle()
        assert stopping.done()
        for known in self.known:
            for client in known.clients:
                client.task.cancel()
        self.loop.settle()
        assert len(self.ledger.rows) == len(self.known)
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()


ReattachMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
test_reattach = ReattachMachine.TestCase
