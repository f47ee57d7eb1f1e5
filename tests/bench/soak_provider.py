"""The provider of the soak: every dialect, any length, and faults. `python soak_provider.py CERTIFICATE KEY` prints its port.

The model's name says it all, POLICY-FAULT-WORDS, but for the question's number, ask-NUMBER, which is in the prompt. A fault
strikes the first time that a question is asked; `dead` always. Below /spare all is well.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import sys
from collections import OrderedDict

from aiohttp import web

from end_to_end.dialect_answers import ERRORS, Answer, begun_with, start
from end_to_end.fault_providers import dialect_of
from midstream.dialects.base import AnswerOptions
from midstream.dialects.registry import fields
from midstream.events import Failure
from midstream.wire.framing import Framing
from translated import DIALECTS

NAME = re.compile(rb"(cont|rest|err|move)-([a-z]+)-([0-9]+)")
QUESTION = re.compile(rb"ask-[0-9]+")
FAULTS = ("none", "status", "limit", "reset", "silent", "cut", "end", "error", "stall", "dead")
SPARE = "/spare/"
LONG_AGO = 30.0
"""Seconds until a silent provider gives up; the routes' time-outs are far below."""

PAUSE, BURST = 0.004, 8
"""Seconds between so many frames; of a long answer twenty times as many come at once."""

IDLE = 3.0
"""Seconds that an idle connection is kept: so that a pool is empty soon after the load has ended."""


def words(count: int) -> tuple[str, ...]:
    return tuple(f"w{n:04d} " for n in range(count))


class Struck:
    """Which questions have had their fault."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def now(self, body: bytes, fault: str) -> bool:
        found = QUESTION.search(body)
        question = found[0] if found else b""
        new = question not in self._known
        self._known[question] = None
        if len(self._known) > 100_000:
            self._known.popitem(last=False)
        return fault == "dead" or (new and fault != "none")


struck = Struck()


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    try:
        return await _answer(request)
    except Exception as error:
        if not isinstance(error, ConnectionResetError):
            print("the provider itself failed:", repr(error), file=sys.stderr, flush=True)
        raise


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    body, dialect = await request.read(), dialect_of(request.path)
    found = NAME.search(request.path.encode()) or NAME.search(body)
    fault, count = (found[2].decode(), int(found[3])) if found else ("none", 40)
    if not found or request.path.startswith(SPARE) or not struck.now(body, fault):
        return await stream(request, dialect, body, count, "none")
    if fault in ("status", "dead", "limit"):
        headers = {"retry-after-ms": "50"} if fault == "limit" else {}
        return web.json_response(ERRORS[dialect], status=429 if fault == "limit" else 503, headers=headers)
    if fault == "silent":
        await asyncio.sleep(LONG_AGO)
    if fault in ("silent", "reset"):
        reset(request)
    return await stream(request, dialect, body, count, fault)


def reset(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError


async def stream(request: web.BaseRequest, dialect: str, body: bytes, count: int, fault: str) -> web.StreamResponse:
    asked, known = fields(body), DIALECTS[dialect]
    assert known.read_conversation is not None
    assert known.encoder is not None
    begun = begun_with(known.read_conversation(request.path, asked))
    said = Answer(words=words(count)).rest(begun) if begun else Answer(words=words(count))
    encoder = known.encoder(AnswerOptions(id="none", model="its-model", created=1, path=request.path))
    framing = Framing(known.framing(request.path_qs, asked))
    response = web.StreamResponse(headers={"content-type": framing.content_type})
    await response.prepare(request)
    events = said.events(dialect, start(dialect, "soak", "its-model"))
    burst = BURST * (20 if count > 500 else 1)
    for number, event in enumerate(events):
        if fault != "none" and number == len(events) // 2:
            return await broken(
                request, response, fault, framing.write(encoder.feed(Failure("fell over", "server_error")))
            )
        if frames := encoder.feed(event):
            await response.write(framing.write(frames))
        if number % burst == 0:
            await asyncio.sleep(PAUSE)
    if rest := framing.close():
        await response.write(rest)
    return response


async def broken(
    request: web.BaseRequest, response: web.StreamResponse, fault: str, error: bytes
) -> web.StreamResponse:
    if fault == "error":
        await response.write(error)
    if fault == "stall":
        await asyncio.sleep(LONG_AGO)
    if fault in ("stall", "cut"):
        reset(request)
    return response


async def main(certificate: str, key: str) -> None:
    logging.getLogger("aiohttp.server").disabled = True  # it complains of each connection that is reset
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    runner = web.ServerRunner(web.Server(answer, handler_cancellation=True, access_log=None, keepalive_timeout=IDLE))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context, backlog=500).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
