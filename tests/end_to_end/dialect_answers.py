"""Providers of any dialect, for the tests of healing: a model that gives one answer, whole, from where it is told to go on, or
as far as a break."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from aiohttp import web

from end_to_end.harness import Authority, Gate, Handler, Provider
from midstream.conversation import Conversation, Message, TextPart
from midstream.dialects.base import AnswerOptions
from midstream.dialects.registry import fields
from midstream.events import END, Event, Failure, Finish, Reasoning, Start, Text, ToolCall, Usage
from midstream.healing.continuation import GO_ON
from midstream.wire.framing import Framing
from midstream.wire.json_text import dump_json
from translated import ANTHROPIC, CHAT, DIALECTS, GOOGLE, OLLAMAS, RESPONSES

type How = Literal["reset", "end", "error", "stall"]
"""reset: the connection is. end: the body ends cleanly, and too early. error: in-band. stall: nothing more comes."""

WORDS = tuple(f"w{n:02d} " for n in range(20))
THOUGHTS = ("Let me ", "look at ", "the map.")
ARGUMENTS = ('{"city": ', '"Be', 'rn"}')
FINISHES = {CHAT: "stop", RESPONSES: "completed", ANTHROPIC: "end_turn", GOOGLE: "STOP", OLLAMAS: "stop"}
CALLED = {**FINISHES, CHAT: "tool_calls", ANTHROPIC: "tool_use"}
"""How each dialect says that an answer is finished, and that it is with a call."""


@dataclass(frozen=True)
class Answer:
    """What a model says. input, output: the tokens it reports."""

    thoughts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    input: int = 9
    output: int = 33

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def reasoning(self) -> str:
        return "".join(self.thoughts)

    def events(self, dialect: str, start: Start) -> list[Event]:
        """In order; blocks are numbered as they follow one another."""
        block = 0
        said: list[Event] = [start, *(Reasoning(thought, 0, block) for thought in self.thoughts)]
        block += bool(self.thoughts)
        said += [Text(word, 0, block) for word in self.words]
        block += bool(self.words)
        for at, piece in enumerate(self.arguments):
            named = (f"{_CALL_IDS[dialect]}{start.id[-5:]}", "weather") if at == 0 else ("", "")
            said.append(ToolCall(0, *named, piece, 0, block))
        finish = (CALLED if self.arguments else FINISHES)[dialect]
        return [*said, Usage(self.input, self.output), Finish(finish), END]

    def rest(self, said: str) -> Answer:
        """What follows after so much of its text: word by word, as far as words are left."""
        assert self.text.startswith(said), said
        left, words = self.text[len(said) :], list[str]()
        for word in reversed(self.words):
            words.insert(0, left[max(0, len(left) - len(word)) :])
            left = left[: max(0, len(left) - len(word))]
        return replace(self, thoughts=(), words=tuple(filter(None, words)), output=5)


_CALL_IDS = {CHAT: "call_", RESPONSES: "call_", ANTHROPIC: "toolu_", GOOGLE: "", OLLAMAS: ""}
TEXT = Answer(words=WORDS)
THINKING = Answer(thoughts=THOUGHTS, words=WORDS)
CALLING = Answer(words=WORDS[:4], arguments=ARGUMENTS)
ALL = Answer(thoughts=THOUGHTS, words=WORDS, arguments=ARGUMENTS)
ANSWERS = {"text": TEXT, "thinking": THINKING, "calling": CALLING}

_SHAPES = {CHAT: "chatcmpl-{}", RESPONSES: "resp_{}", ANTHROPIC: "msg_{}", GOOGLE: "{:A>20}", OLLAMAS: ""}


def start(dialect: str, name: str, model: str) -> Start:
    """The head of an answer: an id of the dialect's own shape, with this name in it."""
    return Start(_SHAPES[dialect].format(name), model, 1_700_000_000)


@dataclass(frozen=True)
class Break:
    """Where a streamed answer breaks: behind so many of its events (None: all of its frames but the last), and how. seen: not
    before somebody opens the model's gate, who has seen what came before."""

    after: int | None
    how: How = "reset"
    seen: bool = False


@dataclass
class Model:
    """A provider's model. It takes requests of its dialect alone, and thinks the answer of as many as it is asked.

    name: of its answers' ids. breaks: of its first answers, one by one; None for one that is whole. then: what it says from the
    second time on, if not the same. deaf: it begins anew whatever it is told. encoding: of its bodies; length: that it announces
    for those that break. fails: once it has broken, it answers no more. asked: what it was asked, in which bodies, with which
    headers, under which paths; said: how many tokens it says to have said.
    """

    dialect: str
    answer: Answer
    name: str = "first"
    model: str = "its-model"
    breaks: list[Break | None] = field(default_factory=list)
    then: Answer | None = None
    deaf: bool = False
    encoding: str = ""
    length: int | None = None
    fails: bool = False
    asked: list[Conversation] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    said: list[int] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = fields(await request.read())
        if self.fails and self.asked:
            return await down(self.dialect)(request)
        reader = DIALECTS[self.dialect].read_conversation
        assert reader is not None
        conversation = reader(request.path, body)
        self._note(request, body, conversation)
        broken = self.breaks.pop(0) if self.breaks else None
        answer = self._answer(conversation)
        self.said.append(answer.output)
        events = answer.events(self.dialect, start(self.dialect, f"{self.name}{len(self.asked)}", self.model))
        if not DIALECTS[self.dialect].read_request(request.path, body).stream:
            return await self._whole(request, events, broken)
        return await self._stream(request, body, events, broken)

    def _note(self, request: web.Request, body: dict[str, Any], conversation: Conversation) -> None:
        self.bodies.append(body)
        self.asked.append(conversation)
        self.paths.append(request.path_qs)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})

    def _answer(self, conversation: Conversation) -> Answer:
        begun = begun_with(conversation)
        answer = self.then if self.then is not None and len(self.asked) > 1 else self.answer
        return answer.rest(begun) if begun and not self.deaf else answer

    def _options(self, request: web.Request) -> AnswerOptions:
        return AnswerOptions(id="none", model=self.model, created=1, path=request.path)

    async def _whole(self, request: web.Request, events: Sequence[Event], broken: Break | None) -> web.StreamResponse:
        write = DIALECTS[self.dialect].write_answer
        assert write is not None
        body = dump_json(write(events, self._options(request))).encode()
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(body if broken is None else body[: len(body) // 2])
        if broken is not None and broken.how != "end":
            _reset(request)
        return response

    async def _stream(
        self, request: web.Request, body: dict[str, Any], events: Sequence[Event], broken: Break | None
    ) -> web.StreamResponse:
        dialect = DIALECTS[self.dialect]
        assert dialect.encoder is not None
        encoder, framing = dialect.encoder(self._options(request)), Framing(dialect.framing(request.path_qs, body))
        response = web.StreamResponse(headers={"content-type": framing.content_type})
        if self.encoding:
            response.headers["content-encoding"] = self.encoding
        if broken is not None and self.length is not None:
            response.content_length = self.length
        await response.prepare(request)
        pack = gzip_pieces() if self.encoding == "gzip" else bytes
        upto = len(events) if broken is None or broken.after is None else broken.after
        said = [framing.write(frames) for event in events[:upto] if (frames := encoder.feed(event))]
        if broken is not None and broken.after is None:
            said[-1:] = _less_one(said[-1], framing.name)
        for piece in said:
            await response.write(pack(piece))
        if broken is not None and broken.seen:
            await self.gate.wait()
        if broken is not None and broken.how == "error":
            await response.write(framing.write(encoder.feed(Failure("the first one fell over", "server_error"))))
        if broken is not None and broken.how == "stall":
            await self.gate.wait()
        if broken is not None and broken.how == "reset":
            _reset(request)
        elif broken is None and (rest := framing.close()):
            await response.write(rest)
        return response


def gzip_pieces() -> Callable[[bytes], bytes]:
    """Compress a body piece by piece, each to be read at once."""
    packer = zlib.compressobj(wbits=31)
    return lambda piece: packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)


def _less_one(body: bytes, framing: str) -> list[bytes]:
    """A few frames without the last."""
    edge = b"\n" if framing == "ndjson" else b"\n\n"
    frames = body.removesuffix(edge).split(edge)[:-1]
    return [edge.join(frames) + edge] if frames else []


def _reset(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


def begun_with(conversation: Conversation) -> str:
    """The beginning of its answer that a model is asked to go on from; "" where it is asked afresh."""
    last = conversation.messages[-1]
    if last.role == "user" and text_of(last) == GO_ON:
        return text_of(conversation.messages[-2])
    return text_of(last) if last.role == "assistant" else ""


def text_of(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


ERRORS: dict[str, Any] = {
    CHAT: {"error": {"message": "the first one is down", "type": "server_error", "param": None, "code": "down"}},
    ANTHROPIC: {"type": "error", "error": {"type": "api_error", "message": "the first one is down"}},
    GOOGLE: {"error": {"code": 503, "message": "the first one is down", "status": "UNAVAILABLE"}},
    OLLAMAS: {"error": "the first one is down"},
}
ERRORS[RESPONSES] = ERRORS[CHAT]


def down(dialect: str, status: int = 503, words: str = "the first one is down") -> Handler:
    """A provider that refuses for ever, in its own words."""

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        body = json.dumps(ERRORS[dialect]).replace("the first one is down", words)
        return web.Response(status=status, text=body, content_type="application/json")

    return handler


class Mounted:
    """One server for several providers, by the first part of the path."""

    def __init__(self, authority: Authority, hosts: tuple[str, ...]) -> None:
        self.provider = Provider(authority, hosts=hosts)
        self.handlers: dict[str, Handler] = {}
        self.provider.handler = self._answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        return await self.handlers[request.path.split("/")[1]](request)


BASES = {CHAT: "/v1", RESPONSES: "/v1", ANTHROPIC: "", GOOGLE: "/v1beta", OLLAMAS: ""}
"""What a dialect's base_url has behind its host."""


def configured(dialect: str, port: int) -> str:
    """The table of a provider `spare-DIALECT` that is mounted under the dialect's name."""
    base = f"https://localhost:{port}/{dialect}{BASES[dialect]}"
    return f'[providers.spare-{dialect}]\ndialect = "{dialect}"\nbase_url = "{base}"\napi_key = "sk-spare-{dialect}"\n'
