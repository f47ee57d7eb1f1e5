"""Native delivery's keepalive: in the client's own dialect, between frames only, and nothing to the official SDKs."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import aiohttp
import anthropic
import httpx2
import openai
import pytest
from aiohttp import test_utils, web

from end_to_end.test_redelivery import CHAT, MESSAGES
from midstream.config import Config
from midstream.dialects.base import RequestFacts
from midstream.dialects.registry import Match
from midstream.ledger import Account, Ledger, new_id, utc_now
from midstream.observation import Observation, StreamRecord
from midstream.relay import kept_stream, native
from midstream.relay.ask import intercepted
from midstream.relay.client import Client, HttpClient
from midstream.relay.healing import Means
from midstream.relay.job import Job
from midstream.relay.log import StreamLog
from midstream.relay.prepare import BY_NAME
from midstream.relay.upstream import Upstream, UpstreamRequest
from relay.fake_client import FakeClient
from relay.fake_pieces import FakePieces

COMMENT = b": keepalive\n\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
TURNS = 50
"""Turns of the event loop that the provider is silent for, between any two pieces."""

type Deliver = Callable[[Job, Client, Means], Any]


class Silent:
    """A provider's response with a long silence behind each piece."""

    status, reason = 200, "OK"

    def __init__(self, pieces: tuple[bytes, ...], headers: dict[str, str]) -> None:
        self._left = iter(pieces)
        self._silence = 0
        self._headers = {"content-type": "text/event-stream"} | headers
        self.headers = [(k.encode(), v.encode()) for k, v in self._headers.items()]

    async def open(self, request: UpstreamRequest, *, connect: float, stream: str) -> Silent:
        return self

    def header(self, name: str) -> str:
        return self._headers.get(name, "")

    def pieces(self) -> AsyncIterator[bytes]:
        return FakePieces(self._next)

    async def _next(self) -> bytes:
        for _ in range(self._silence):
            await asyncio.sleep(0)
        self._silence = TURNS
        return next(self._left, b"")

    def close(self) -> None:
        pass


class NoLedger:
    stopping = False

    def open(self, account: Account) -> None: ...
    def close(self, account: Account) -> None: ...
    def first_content(self, account: Account) -> None: ...


async def reattachable(job: Job, client: Client, means: Means) -> None:
    """The same delivery where `reattach` is set: through a log."""
    stream = kept_stream.KeptStream(job, StreamLog(window=1 << 20, spool=0, folder=None), means)
    stream.task = asyncio.create_task(stream.run())
    stream.task.add_done_callback(lambda _: stream.over())
    follower = kept_stream.Follower(stream, job)
    try:
        await follower.run(client)
    finally:
        follower.close()


@pytest.fixture(params=[native.deliver, reattachable], ids=["native", "reattachable"], autouse=True)
def deliver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Deliver:
    # a turn of the event loop is a silence that is long enough; a time-out of 0 would never let anything be read
    monkeypatch.setattr(native, "KEEPALIVE", 0 if request.param is native.deliver else 1e-5)
    param: Deliver = request.param
    return param


def job_of(dialect: str) -> Job:
    record = StreamRecord(id=new_id(), started_at=utc_now())
    sent = UpstreamRequest(method="POST", url="https://x.test/", headers=(), body=b"")
    match = Match(BY_NAME[dialect], "x", "", RequestFacts(stream=True))
    return Job(
        ask=intercepted(Config.default(), sent, match, b""), account=Account(Observation(record, time.monotonic()))
    )


def body_of(deliver: Deliver, dialect: str, *pieces: bytes, **headers: str) -> bytes:
    """What a client gets, as it is on the wire."""
    named = {k.replace("_", "-"): v for k, v in headers.items()}

    async def fetch() -> bytes:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            job = job_of(dialect)
            means = Means(cast(Upstream, Silent(pieces, named)), cast(Ledger, NoLedger()))
            client = HttpClient(request, job)
            await deliver(job, client, means)
            return client.response

        async with (
            test_utils.RawTestServer(answer) as server,
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.post(server.make_url("/")) as response,
        ):
            return await response.read()

    return asyncio.run(fetch())


def of_openai(body: bytes) -> list[Any]:
    """What the official SDK makes of it."""
    client = openai.OpenAI(api_key="x", http_client=_answering(body))
    chunks = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True)
    return [chunk.to_dict() for chunk in chunks]


def of_anthropic(body: bytes) -> list[Any]:
    """What the official SDK makes of it: its events, and the message they add up to."""
    client = anthropic.Anthropic(api_key="x", http_client=_answering(body))
    with client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]) as stream:
        events = [event.to_dict() for event in stream]
        return [*events, stream.get_final_message().to_dict()]


def _answering(body: bytes) -> httpx2.Client:
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))


@pytest.mark.parametrize(
    ("dialect", "pieces", "keepalive", "read"),
    [("openai_chat", CHAT, COMMENT, of_openai), ("anthropic_messages", MESSAGES, PING, of_anthropic)],
    ids=["openai", "anthropic"],
)
def test_a_keepalive_is_nothing_to_the_official_sdk(
    deliver: Deliver, dialect: str, pieces: tuple[bytes, ...], keepalive: bytes, read: Callable[[bytes], list[Any]]
) -> None:
    body = body_of(deliver, dialect, *pieces)
    assert body.count(keepalive) >= len(pieces) - 1
    assert body.replace(keepalive, b"") == b"".join(pieces)
    told = read(body)
    assert told
    assert told == read(b"".join(pieces))


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic_messages"])
@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_only_between_frames(deliver: Deliver, dialect: str, ending: bytes) -> None:
    frame = b'data: {"type": "x"}' + ending
    for cut in range(1, len(frame) - len(ending)):
        body = body_of(deliver, dialect, frame[:cut], frame[cut:])
        assert frame in body


@pytest.mark.parametrize(
    ("dialect", "headers"),
    [
        ("openai_chat", {"content_encoding": "gzip"}),
        ("anthropic_messages", {"content_encoding": "gzip"}),
        ("openai_chat", {"content_type": "application/json"}),
        ("ollama", {"content_type": "application/x-ndjson"}),
        ("ollama", {}),
        ("bedrock_converse", {"content_type": "application/vnd.amazon.eventstream"}),
    ],
)
def test_none_where_there_is_no_form_for_it(deliver: Deliver, dialect: str, headers: dict[str, str]) -> None:
    pieces = (gzip.compress(CHAT[0]), b"\n\n") if "content_encoding" in headers else (CHAT[0], CHAT[1])
    assert body_of(deliver, dialect, *pieces, **headers) == b"".join(pieces)


def test_none_in_a_body_of_a_known_length(deliver: Deliver) -> None:
    pieces = CHAT[:2]
    length = str(sum(map(len, pieces)))
    assert body_of(deliver, "openai_chat", *pieces, content_length=length) == b"".join(pieces)


class Broken:
    """A mistake of ours."""

    async def open(self, *what: Any, **more: Any) -> Any:
        raise ZeroDivisionError


class Closing(NoLedger):
    """closed: the streams that are over."""

    def __init__(self) -> None:
        self.closed: list[Account] = []

    def close(self, account: Account) -> None:
        self.closed.append(account)


def test_a_mistake_of_ours_leaves_a_row_and_nothing_in_flight() -> None:
    job, ledger = job_of("openai_chat"), Closing()
    means = Means(cast(Upstream, Broken()), cast(Ledger, ledger))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(native.deliver(job, FakeClient(), means))
    assert ledger.closed == [job.account]
    record = job.account.observation.record
    assert (record.outcome, record.error_type) == ("failed", "internal_error")
