"""What the LLM answer in a mitmproxy flow said, live or saved. Knows its objects by their shape only, as flows.py does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from midstream import flows
from midstream.dialects import registry
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import RequestFacts
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.registry import Match, Whose
from midstream.dialects.unknown import UNKNOWN
from midstream.relay.access import GATEWAY_HOST
from midstream.watch import wording
from midstream.watch.kept_body import cut_of, timed
from midstream.watch.sessions import SessionReading
from midstream.watch.transcript import Transcript
from midstream.watch.wording import Known
from midstream.wire.json_text import as_dict

NOTES = "midstream.body"
"""Key of flow.metadata: the notes that go with a kept body (kept_body.py)."""

REMARK = "midstream.remark"
"""Key of flow.metadata: how the stream broke or was healed."""

CHATS = ("/v1/chat/stream", "/v1/streams/")
"""Paths of the gateway whose answers are chunks of OpenAI's chat API, whatever provider answers."""


@dataclass(slots=True)
class _Answer:
    """One HTTP answer, read up to `consumed` bytes."""

    decoder: AnswerDecoder
    said: Transcript = field(default_factory=Transcript)
    consumed: int = 0
    closed: bool = False


class Readings:
    """Of all flows that somebody looks at. Each byte of a growing answer is read once."""

    def __init__(self, whose: Whose) -> None:
        self._whose = whose
        self._matches: WeakKeyDictionary[Any, Match] = WeakKeyDictionary()
        self._answers: WeakKeyDictionary[Any, _Answer] = WeakKeyDictionary()
        self._sessions: WeakKeyDictionary[Any, SessionReading] = WeakKeyDictionary()

    def match(self, flow: Any) -> Match | None:
        """What the flow's request means to an LLM provider; None: it is none's."""
        match = self._matches.get(flow)
        if match is None and flow.response is not None:
            match = _chat(flow) or flows.recognise(flow, self._whose) or flows.recognise_late(flow, self._whose)
            if match is not None:
                self._matches[flow] = match
        return match

    def shows_answer(self, flow: Any) -> bool:
        """Whether the flow's response is an LLM's answer. An HTTP error is none: it is short, and best seen as it is."""
        response = flow.response
        if response is None or response.status_code >= 400 or response.status_code == 101:
            return False
        if response.headers.get("content-type", "").startswith("text/plain"):
            return False  # the gateway's text is what was said
        return self.match(flow) is not None

    def shows_message(self, flow: Any) -> bool:
        """Whether the flow's WebSocket is an LLM provider's."""
        if flow.websocket is None:
            return False
        match = self.match(flow)
        return match is not None and match.dialect.session is not None

    def answer(self, flow: Any, data: bytes, notes: Mapping[str, Any] | None = None) -> str:
        """The whole answer. data: its body without content encoding; notes: of a live one, else those saved with the flow."""
        match, response = self.match(flow), flow.response
        if match is None or response is None:
            raise ValueError("this is no answer of an LLM provider that midstream knows")
        found = as_dict(flow.metadata.get(NOTES)) if notes is None else notes
        encoding = response.headers.get("content-encoding", "")
        if encoding and response.raw_content is not None:  # read here: a body that is not whole is no trouble
            data = response.raw_content
        else:
            encoding = ""
        live = flow.live and flow.error is None and response.timestamp_end is None
        cut = cut_of(found, len(data))
        answer = self._read(flow, match, data, found, encoding)
        if not live and not cut and not answer.closed:
            answer.closed = True
            answer.said.feed(answer.decoder.close())
        return wording.write(answer.said, _known(flow, match, live=live, cut=_cut(len(data), cut)))

    def _read(self, flow: Any, match: Match, data: bytes, notes: Mapping[str, Any], encoding: str) -> _Answer:
        answer = self._answers.get(flow)
        if answer is None or answer.closed or answer.consumed > len(data):
            answer = self._answers[flow] = _Answer(
                AnswerDecoder(
                    match.dialect,
                    status=flow.response.status_code,
                    content_type=flow.response.headers.get("content-type", ""),
                    content_encoding=encoding,
                )
            )
        for piece, ms in timed(data, notes, answer.consumed):
            answer.said.feed(answer.decoder.feed(piece), ms)
            answer.consumed += len(piece)
        return answer

    def message(self, flow: Any, message: Any) -> str:
        """What one WebSocket message means; the one that ends an answer shows the whole of it."""
        match = self.match(flow)
        if match is None or match.dialect.session is None or flow.websocket is None:
            raise ValueError("this is no WebSocket of an LLM provider that midstream knows")
        reading = self._sessions.get(flow)
        if reading is None or not reading.goes_on(flow.websocket.messages):
            reading = self._sessions[flow] = SessionReading(match.dialect.session(), _known(flow, match))
        return reading.told(flow.websocket.messages, message)


def _chat(flow: Any) -> Match | None:
    """An answer of the gateway's own, in OpenAI's chunks; also where a provider's own API was asked to be delivered otherwise."""
    path, stream = flow.request.path.partition("?")[0], flow.response.headers.get("x-stream-id", "")
    ours = path.startswith(CHATS) if flow.request.host == GATEWAY_HOST else stream == flow.metadata.get(flows.STREAM)
    if not stream or not ours or flows.is_handshake(flow.request):
        return None
    model = registry.fields(flows.body_of(flow.request)).get("model")
    asked = model if isinstance(model, str) else flow.request.query.get("model", "")
    return Match(OPENAI_CHAT, "", "", RequestFacts(model=asked, stream=True))


def _known(flow: Any, match: Match, *, live: bool = False, cut: str = "") -> Known:
    request, response = flow.request, flow.response
    began = request.timestamp_end or request.timestamp_start
    return Known(
        api=match.dialect.name,
        provider=match.provider,
        asked=match.facts.model,
        guessed=match.dialect is UNKNOWN,
        stream=_text(flow.metadata.get(flows.STREAM)),
        live=live,
        broke=flow.error.msg if flow.error else "",
        cut=cut,
        remark=_text(flow.metadata.get(REMARK)),
        head_ms=_since(began, response.timestamp_start),
        duration_ms=_since(began, response.timestamp_end),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _since(began: float | None, ended: float | None) -> float | None:
    return (ended - began) * 1000 if began and ended and ended >= began else None


def _cut(here: int, whole: int) -> str:
    return f"the first {here} of {whole} bytes (midstream_body_limit)" if whole else ""
