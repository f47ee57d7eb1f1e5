"""Gemini's Live API over WebSocket: JSON messages, in text or binary frames, of the Gemini API and of Vertex AI.

https://ai.google.dev/api/live
"""

from __future__ import annotations

import re
from typing import Any

from midstream.dialects.base import Dialect, RequestFacts
from midstream.dialects.gemini.parts import ID_LIMIT, Parts, read_usage
from midstream.events import END, OPAQUE, Asked, Event, Failure, Finish, Malformed, Media, Start
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_int, as_list, as_str, parse_json


class LiveSession:
    """One session: one turn of the model at a time is told, from Start to End.

    The client asks by a clientContent with turnComplete, by realtimeInput's text or activityEnd; or, where the server
    listens for the end of speech itself, the server says so (voiceActivity, where it was asked to) or just begins: such an
    answer is Asked with its first message. Asked again before the answer starts, the later one counts; asked while a turn
    is open, it stands after that turn's End, since the server first ends (or interrupts) that one.

    A tool call, its response and what follows are one turn, as the server's turnComplete has it. Interrupted turns finish
    with `interrupted` and end, as others, at turnComplete.
    """

    def __init__(self) -> None:
        self._model = ""
        self._turn: Parts | None = None
        self._asked = False
        self._interrupted = False

    def feed(self, frame: Frame, *, from_client: bool) -> list[Event]:
        """Return what this message means."""
        try:
            message = parse_json(frame.data)
        except ValueError:
            return [Malformed("not JSON")]
        if not isinstance(message, dict):
            return [Malformed("not a JSON object")]
        return (self._from_client(message) if from_client else self._from_server(message)) or [OPAQUE]

    def _from_client(self, message: Json) -> list[Event]:
        if isinstance(setup := message.get("setup"), dict):
            self._model = as_str(setup.get("model")).rpartition("/")[2][:ID_LIMIT]
            return []
        content = as_dict(_either(message, "clientContent", "client_content"))
        if _either(content, "turnComplete", "turn_complete") is True:
            return self._ask()
        spoken = as_dict(_either(message, "realtimeInput", "realtime_input"))
        if _either(spoken, "activityEnd", "activity_end") is not None or as_str(spoken.get("text")):
            return self._ask()
        return []

    def _ask(self) -> list[Event]:
        self._asked = True
        return [Asked(self._model)] if self._turn is None else []

    def _from_server(self, message: Json) -> list[Event]:
        if message.get("error"):
            return self._fail(message["error"])
        if as_dict(message.get("voiceActivity")).get("voiceActivityType") == "ACTIVITY_END":
            return self._ask()
        content = as_dict(message.get("serverContent"))
        turn, over = self._turn or Parts(), content.get("turnComplete") is True
        said, usage = _said(turn, message, content), read_usage(message.get("usageMetadata"))
        if self._turn is None:
            if not said and not (over and (usage or self._asked)):
                return []  # an answer neither asked for nor billed: the phantom turns of google's python-genai issue 2333
            said = [*self._begin(turn), *said]
        said += usage
        if content.get("interrupted") is True and not self._interrupted:
            self._interrupted = True
            said.append(Finish("interrupted"))
        return said + self._end(turn, as_str(content.get("turnCompleteReason"))) if over else said

    def _begin(self, turn: Parts) -> list[Event]:
        asked: list[Event] = [] if self._asked else [Asked(self._model)]
        self._turn, self._asked, self._interrupted = turn, False, False
        return [*asked, Start()]

    def _end(self, turn: Parts, reason: str) -> list[Event]:
        finish: list[Event] = [] if self._interrupted else [Finish("turnComplete", 0, reason)]
        self._turn = None
        return [*turn.flush(), *finish, END, *([Asked(self._model)] if self._asked else [])]

    def _fail(self, error: Any) -> list[Event]:
        fields = as_dict(error)
        code = as_int(fields.get("code"))
        message = as_str(fields.get("message")) or "the provider sent an error"
        self._turn, self._asked = None, False
        return [Failure(message, as_str(fields.get("status")), "" if code is None else str(code), raw=error)]


def _said(turn: Parts, message: Json, content: Json) -> list[Event]:
    events: list[Event] = []
    for part in as_list(as_dict(content.get("modelTurn")).get("parts")):
        events += turn.read(as_dict(part))
    if transcript := as_str(as_dict(content.get("outputTranscription")).get("text")):
        events.append(Media("audio", 0, transcript))
    for call in as_list(as_dict(message.get("toolCall")).get("functionCalls")):
        events += turn.call(as_dict(call))
    return events


def _either(message: Json, camel: str, snake: str) -> Any:
    """Proto's JSON takes both spellings; the Python SDK sends one, the JavaScript SDK the other."""
    value = message.get(camel)
    return message.get(snake) if value is None else value


def read_request(path: str, body: Json) -> RequestFacts:
    """The handshake says nothing; the session's first message names the model."""
    return RequestFacts(stream=True)


GEMINI_LIVE = Dialect(
    name="gemini_live",
    websocket_paths=(re.compile(r"[./]BidiGenerateContent(?:Constrained)?/?$"),),
    read_request=read_request,
    session=LiveSession,
    read_answer=lambda answer: [Malformed("Live answers over WebSocket only")],
    prompt=lambda body: [],
    finish_reasons={"turnComplete": "stop", "interrupted": "stop"},
)
