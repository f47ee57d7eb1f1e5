"""The provider of the fault matrix: one server that speaks seven dialects, gives one answer in each, and goes on with it where
it is told to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from bedrock_sdk import EVENTSTREAM, message
from end_to_end.dialect_answers import ALL as ALL_OF_IT
from end_to_end.dialect_answers import FINISHES, TEXT, WORDS, Answer, begun_with, start
from midstream.dialects.base import AnswerOptions
from midstream.dialects.registry import fields
from midstream.events import Event
from midstream.wire import Frame
from midstream.wire.framing import Framing
from midstream.wire.json_text import dump_json
from translated import ANTHROPIC, CHAT, DIALECTS, GOOGLE, OLLAMAS, RESPONSES

BEDROCK, COHERE = "bedrock_converse", "cohere"
ALL = (CHAT, RESPONSES, ANTHROPIC, GOOGLE, OLLAMAS, BEDROCK, COHERE)
SPARE = 6
"""Number of the frame that carries nothing, in the midst of the text: what a fault makes of it, no word is lost."""

WHOLE = "".join(WORDS)
ENDS = {**FINISHES, BEDROCK: "end_turn", COHERE: "COMPLETE"}
"""How each dialect says that the answer is finished."""

_PATHS = {
    "/chat/completions": CHAT,
    "/responses": RESPONSES,
    "/messages": ANTHROPIC,
    "generateContent": GOOGLE,
    "GenerateContent": GOOGLE,
    "/api/chat": OLLAMAS,
    "/converse": BEDROCK,
    "/converse-stream": BEDROCK,
    "/v2/chat": COHERE,
}
"""By how a path ends."""

_EMPTY: dict[str, Any] = {
    CHAT: {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "its-model", "choices": []},
    RESPONSES: {"type": "keepalive", "sequence_number": 0},
    ANTHROPIC: {"type": "ping"},
    GOOGLE: {"modelVersion": "its-model"},
    OLLAMAS: {"model": "its-model", "message": {"role": "assistant", "content": ""}, "done": False},
}
"""A frame of each dialect that carries nothing."""


def dialect_of(path: str) -> str:
    return next(dialect for end, dialect in _PATHS.items() if path.endswith(end))


def answer_for(model: str) -> Answer:
    """What a model of this name says: some break in their reasoning, or in a call."""
    return ALL_OF_IT if ".in." in model else TEXT


class Everyone:
    """Answers whoever asks, in the dialect of the path. A request whose model's name says `malformed` gets the spare frame."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body, dialect = fields(await request.read()), dialect_of(request.path)
        streams = bool(body.get("stream")) or "stream" in request.path.rpartition("/")[2]
        malformed = ".malformed." in str(body.get("model")) + request.path
        streams = streams if dialect != OLLAMAS else body.get("stream", True) is not False
        if dialect == BEDROCK:
            if not streams:
                return web.json_response(_CONVERSED)
            return await _send(request, EVENTSTREAM, _with_spare(_converse(), _NOTHING, spare=malformed))
        if dialect == COHERE:
            if not streams:
                return web.json_response(_SAID)
            return await _send(request, "text/event-stream", _with_spare(_cohere(), _DEBUG, spare=malformed))
        events = self._events(request, dialect, body)
        options = AnswerOptions(id="none", model="its-model", created=1, path=request.path)
        if not streams:
            write = DIALECTS[dialect].write_answer
            assert write is not None
            return web.Response(text=dump_json(write(events, options)), content_type="application/json")
        framing = Framing(DIALECTS[dialect].framing(request.path_qs, body))
        pieces = _with_spare(_encoded(dialect, events, options, framing), _empty(dialect, framing), spare=malformed)
        return await _send(request, framing.content_type, pieces)

    def _events(self, request: web.Request, dialect: str, body: dict[str, Any]) -> list[Event]:
        reader = DIALECTS[dialect].read_conversation
        assert reader is not None
        begun, answer = begun_with(reader(request.path, body)), answer_for(str(body.get("model")) + request.path)
        answer = answer.rest(begun) if begun else answer
        return answer.events(dialect, start(dialect, f"n{next(self._numbers)}", "its-model"))


async def _send(request: web.Request, content_type: str, pieces: Iterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": content_type})
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    return response


def _encoded(dialect: str, events: list[Event], options: AnswerOptions, framing: Framing) -> Iterator[bytes]:
    """The answer's frames, one by one."""
    new = DIALECTS[dialect].encoder
    assert new is not None
    encoder = new(options)
    for frame in (frame for event in events for frame in encoder.feed(event)):
        yield framing.write([frame])
    if rest := framing.close():
        yield rest


def _empty(dialect: str, framing: Framing) -> bytes:
    return framing.write([Frame(json.dumps(_EMPTY[dialect]).encode(), event=_EMPTY[dialect].get("type", ""))])


def _with_spare(pieces: Iterator[bytes], empty: bytes, *, spare: bool) -> Iterator[bytes]:
    for number, piece in enumerate(pieces, 1):
        if number == SPARE and spare:
            yield empty
        yield piece


_COUNTS = {"inputTokens": TEXT.input, "outputTokens": TEXT.output, "totalTokens": TEXT.input + TEXT.output}
_CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": WHOLE}]}},
    "stopReason": "end_turn",
    "usage": _COUNTS,
    "metrics": {"latencyMs": 1},
}


_NOTHING = message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": ""}})


def _converse() -> Iterator[bytes]:
    yield message("messageStart", {"role": "assistant"})
    for word in WORDS:
        yield message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})
    yield message("contentBlockStop", {"contentBlockIndex": 0})
    yield message("messageStop", {"stopReason": "end_turn"})
    yield message("metadata", {"usage": _COUNTS, "metrics": {"latencyMs": 1}})


_BILLED = {"tokens": {"input_tokens": TEXT.input, "output_tokens": TEXT.output}}
_SAID = {
    "id": "c",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": WHOLE}]},
    "usage": _BILLED,
}


def _cohere() -> Iterator[bytes]:
    yield _named("message-start", id="c", delta={"message": {"role": "assistant"}})
    yield _named("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}})
    for word in WORDS:
        yield _named("content-delta", index=0, delta={"message": {"content": {"text": word}}})
    yield _named("content-end", index=0)
    yield _named("message-end", delta={"finish_reason": "COMPLETE", "usage": _BILLED})


def _named(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


_DEBUG = _named("debug", prompt="")
