"""The catalogue: sixteen ways in which one primary may fail that has one fallback, asked for by the official SDK.

The tests run it with short time-outs, `tests/bench/catalogue.py` with those that users have. All scenarios run at once: each asks
for a model of its own, by which both providers know what to do, and whose circuit breakers are its own.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
import openai
from aiohttp import web

from end_to_end.harness import Authority, Handler, Provider, Proxy, chunks, running
from end_to_end.healing import WHOLE, WORDS, answer, fails, healing_proxy, resets

type Verdict = Literal["rescued", "honest error", "wrong"]


@dataclass(frozen=True)
class Pace:
    """How long things take, in seconds. The defaults are what users have: 10 for the first token, 30 for all else."""

    first_token: float = 10
    idle: float = 30
    late: float = 20
    down: float = 60
    retry_after: int = 2
    cool_down: float = 15


@dataclass
class Asked:
    """What one of the providers was asked in one scenario, and when."""

    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


@dataclass
class Case:
    """One scenario as it runs. primary, fallback: what they do, request by request, the last for all that follow. asking:
    more of the request. persists: asked again and again until the primary has answered, for so many seconds at most."""

    name: str
    primary: Iterator[Handler]
    fallback: Iterator[Handler]
    prefill: bool = False
    whole: str = WHOLE
    asking: dict[str, Any] = field(default_factory=dict)
    persists: float = 0.0
    asked: dict[str, Asked] = field(default_factory=lambda: {"primary": Asked(), "fallback": Asked()})
    chunks: list[Any] = field(default_factory=list)
    error: Exception | None = None
    seconds: float = 0.0
    served: list[str] = field(default_factory=list)
    lasted: float = 0.0

    @property
    def model(self) -> str:
        return f"gpt-4o {self.name}".replace(" ", "-")

    @property
    def text(self) -> str:
        return "".join(c.choices[0].delta.content or "" for c in self.chunks if c.choices)

    @property
    def counts(self) -> tuple[int, int]:
        """How often each was asked."""
        return len(self.asked["primary"].times), len(self.asked["fallback"].times)

    @property
    def verdict(self) -> Verdict:
        """rescued: all of it, once, in one lifecycle. honest error: raised behind nothing but the answer's beginning."""
        if self.error is not None:
            honest = isinstance(self.error, openai.APIError | httpx2.TransportError) and self.whole.startswith(
                self.text
            )
            return "honest error" if honest else "wrong"
        finishes = [c.choices[0].finish_reason for c in self.chunks if c.choices and c.choices[0].finish_reason]
        one = len({(c.id, c.model) for c in self.chunks}) == 1
        counted = bool(self.chunks) and self.chunks[-1].usage is not None
        return "rescued" if self.text == self.whole and finishes == ["stop"] and one and counted else "wrong"


def then(*handlers: Handler) -> Iterator[Handler]:
    """One after the other, and the last for ever."""
    return itertools.chain(handlers, itertools.repeat(handlers[-1]))


HEALTHY = chunks(*answer())
SPARE = {"id": "chatcmpl-backup", "model": "gpt-backup"}


async def goes_on(request: web.Request) -> web.StreamResponse:
    """The whole answer, or, told how it began, the rest of it."""
    turns = (await request.json())["messages"][1:]
    begun = turns[0]["content"] if turns else ""
    assert WHOLE.startswith(begun)
    said = len(begun.split())
    return await chunks(*answer(WORDS[said:], **SPARE))(request)


def until(after: int, end: Callable[[web.Request], Any], *, ping: bool = False) -> Handler:
    """So many frames of the answer (the first is its head), and then this."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in answer()[:after]:
            await response.write(piece)
        await asyncio.sleep(0.2)  # an aborted connection loses what has not left yet
        while ping:
            await response.write(b": ping\n\n")
            await asyncio.sleep(0.1)
        await end(request)
        return response

    return handler


async def hangs(request: web.Request) -> web.StreamResponse:
    """For ever: until who asked has left."""
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits for so long")


async def _cut(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


async def _ends(request: web.Request) -> None: ...


def late(seconds: float) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await HEALTHY(request)

    return handler


def down_for(seconds: float) -> Handler:
    """Down from the first request on."""
    began: list[float] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        began.append(time.monotonic())
        return await (fails(503) if began[-1] - began[0] < seconds else HEALTHY)(request)

    return handler


TOO_LONG = {
    "message": "This model's maximum context length is 8192 tokens.",
    "type": "invalid_request_error",
    "code": "context_length_exceeded",
}
FILTERED = {"message": "filtered: violence", "type": None, "code": "content_filter", "status": 400}
NO_PREFILL = {"message": "Last message must have role `user`", "type": "invalid_request_error"}
MALFORMED = b'data: {"choices": [{"delta": {"cont\n\n'


def cases(pace: Pace) -> list[Case]:
    """The sixteen."""
    spare, broken, wait = goes_on, fails(500), str(pace.retry_after)
    return [
        Case("429 with Retry-After", then(fails(429, retry_after=wait), HEALTHY), then(broken)),
        Case("429 for ever", then(fails(429)), then(spare)),
        Case("500 once", then(broken, HEALTHY), then(broken)),
        Case("503 for ever", then(fails(503)), then(spare)),
        Case("reset before headers", then(resets, HEALTHY), then(broken)),
        Case("silence", then(hangs), then(spare)),
        Case("first token late", then(late(pace.late)), then(spare)),
        Case("cut after 40", then(until(41, _cut), goes_on), then(broken)),
        Case("stall after 20", then(until(21, hangs)), then(spare)),
        Case("malformed tenth frame", then(chunks(*answer()[:9], MALFORMED, *answer()[9:])), then(broken)),
        Case("no DONE", then(until(len(answer()) - 1, _ends)), then(broken)),
        Case("context too long", then(fails(400, {"error": TOO_LONG})), then(spare)),
        Case("content filter", then(fails(400, {"error": FILTERED})), then(spare)),
        Case(
            "cut and no prefill",
            then(until(41, _cut), fails(503)),
            then(fails(400, {"error": NO_PREFILL}), spare),
            prefill=True,
        ),
        Case("down for a while", then(down_for(pace.down)), then(spare), persists=pace.down + 30),
        Case("fallback accounting", then(fails(503)), then(spare)),
    ]


EXPECTED: Mapping[str, Verdict] = {"content filter": "honest error"}
"""All others must be rescued."""


def toml(cases: list[Case], pace: Pace, port: int) -> str:
    """attempts = 3: two retries."""
    tables = [
        f'[providers.prefilled]\ndialect = "openai_chat"\nbase_url = "https://localhost:{port}/v1"\n'
        f'api_key = "sk-backup"\nprefill = true\n[healing]\nfailures = 3\ncool_down = {pace.cool_down}\n'
    ]
    for case in cases:
        fallback = "prefilled" if case.prefill else "backup"
        tables.append(
            f'[[routes]]\nmodel = "{case.model}"\ntargets = ["openai", "{fallback}/spare-{case.model}"]\nattempts = 3\n'
            f"timeouts = {{ connect = {pace.idle}, first_token = {pace.first_token}, idle = {pace.idle} }}\n"
            'on_break = "continue"\n'
        )
    return "\n".join(tables)


def serve(cases: list[Case], provider: Provider, role: str) -> None:
    """Let a provider play the primary or the fallback of all of them, by the model that it is asked for."""
    by_model = {f"{'spare-' if role == 'fallback' else ''}{case.model}": case for case in cases}

    async def handler(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        case = by_model.get(body["model"])
        if case is None:
            return await HEALTHY(request)
        asked = case.asked[role]
        asked.times.append(time.monotonic())
        asked.bodies.append(body)
        asked.headers.append({k.lower(): v for k, v in request.headers.items()})
        return await next(case.primary if role == "primary" else case.fallback)(request)

    provider.handler = handler


def ask(case: Case, client: openai.OpenAI) -> None:
    """As a user would, once."""
    case.chunks, case.error, began = [], None, time.monotonic()
    try:
        stream = client.chat.completions.create(
            model=case.model,
            messages=[{"role": "user", "content": "Count."}],
            stream=True,
            stream_options={"include_usage": True},
            **case.asking,
        )
        case.chunks.extend(stream)
    except Exception as error:  # whatever its user gets
        case.error = error
    case.served.append(case.chunks[0].model if case.chunks else "")
    case.seconds = max(case.seconds, time.monotonic() - began)


def play(case: Case, client: openai.OpenAI) -> None:
    """One scenario, to its end or to the first answer that is wrong."""
    began = time.monotonic()
    ask(case, client)
    while case.verdict == "rescued" and case.served[-1] == SPARE["model"] and time.monotonic() - began < case.persists:
        time.sleep(0.1)  # a user's own pause
        ask(case, client)
    case.lasted = time.monotonic() - began


def run(cases: list[Case], client: openai.OpenAI) -> None:
    """All at once."""
    with ThreadPoolExecutor(len(cases)) as pool:
        list(pool.map(lambda case: play(case, client), cases))


@contextmanager
def played(cases: list[Case], pace: Pace, authority: Authority, folder: Path) -> Iterator[tuple[Proxy, openai.OpenAI]]:
    """A mitmdump before the two providers, and a client that has it as its proxy; its own retries are off."""
    primary, fallback = Provider(authority), Provider(authority)
    serve(cases, primary, "primary")
    serve(cases, fallback, "fallback")
    try:
        config = toml(cases, pace, fallback.port)
        with running(healing_proxy(folder, authority, primary, fallback, config)) as proxy:
            http = httpx2.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=120)
            with openai.OpenAI(api_key="sk-test", max_retries=0, http_client=http) as client:
                yield proxy, client
    finally:
        primary.stop()
        fallback.stop()
