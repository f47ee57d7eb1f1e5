"""OpenAI's Realtime API over WebSocket, also Azure's, its voice live, and xAI's.

https://platform.openai.com/docs/api-reference/realtime-server-events
https://learn.microsoft.com/azure/ai-services/speech-service/voice-live-api-reference
"""

from __future__ import annotations

import re

from midstream.dialects.base import Dialect, RequestFacts
from midstream.dialects.openai.items import ID_LIMIT, Items, read_failure, read_usage
from midstream.events import END, OPAQUE, Asked, Event, Finish, Malformed, Start
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_str, parse_json


class RealtimeSession:
    """One session: one answer at a time is told, from Start to End or Failure.

    An answer is asked for by the client's `response.create`, or, where the server listens for the end of speech and answers of
    itself (turn detection), by `input_audio_buffer.speech_stopped`: from there the user waits. (`committed` comes right after
    it and adds nothing; after a client's own commit a `response.create` follows.) Asked again before the answer starts, the
    later one counts. While an answer is open nothing is asked: the server would refuse it.

    An answer running beside the open one (out of band) is told from where the open one ends.
    """

    def __init__(self) -> None:
        self._model = ""
        self._answers_speech = True
        self._asked_by: str | None = None
        self._items: Items | None = None
        self._id = ""
        self._ended = ""

    def feed(self, frame: Frame, *, from_client: bool) -> list[Event]:
        """Return what this message means."""
        if from_client and b'"response.create"' not in frame.data:  # mostly audio, which is not worth parsing
            return [OPAQUE]
        try:
            event = parse_json(frame.data)
        except ValueError:
            return [Malformed("not JSON")]
        if not isinstance(event, dict):
            return [Malformed("not a JSON object")]
        kind = as_str(event.get("type"))
        return (self._from_client(kind, event) if from_client else self._from_server(kind, event)) or [OPAQUE]

    def _from_client(self, kind: str, event: Json) -> list[Event]:
        return self._asked(as_str(event.get("event_id"))) if kind == "response.create" else []

    def _from_server(self, kind: str, event: Json) -> list[Event]:
        if kind.startswith("response."):
            return self._answer(kind, event)
        if kind in ("session.created", "session.updated"):
            self._configure(as_dict(event.get("session")))
        elif kind == "input_audio_buffer.speech_stopped" and self._answers_speech:
            return self._asked("")
        elif kind == "error":
            return self._error(event)
        return []

    def _asked(self, by: str) -> list[Event]:
        if self._items is not None:
            return []
        self._asked_by = by[:ID_LIMIT]
        return [Asked(self._model)]

    def _configure(self, session: Json) -> None:
        self._model = as_str(session.get("model"))[:ID_LIMIT] or self._model
        of_input = as_dict(as_dict(session.get("audio")).get("input"))
        turns = as_dict(of_input.get("turn_detection") or session.get("turn_detection"))
        listens = bool(turns.get("type")) and turns.get("create_response") is not False
        self._answers_speech = listens and session.get("type") != "transcription"

    def _answer(self, kind: str, event: Json) -> list[Event]:
        response = as_dict(event.get("response"))
        id_ = (as_str(event.get("response_id")) or as_str(response.get("id")))[:ID_LIMIT]
        items = self._items
        events: list[Event] = []
        if items is None:
            if kind != "response.created" and (not id_ or id_ == self._ended):
                return []
            items = Items()
            events.append(self._start(items, id_))
        elif id_ and id_ != self._id:
            return []
        if kind == "response.done":
            return events + self._done(items, response)
        return events + items.read(kind, event)

    def _start(self, items: Items, id_: str) -> Event:
        self._items, self._id, self._asked_by = items, id_, None
        return Start(id_, self._model)

    def _done(self, items: Items, response: Json) -> list[Event]:
        self._items, self._ended = None, self._id
        said = items.rest(response.get("output")) + read_usage(response.get("usage"))
        status = as_str(response.get("status")) or "completed"
        details = as_dict(response.get("status_details"))
        if status == "failed":
            return [*said, read_failure(details, as_str(details.get("reason")) or "the response failed")]
        return [*said, Finish(status, 0, as_str(details.get("reason"))), END]

    def _error(self, event: Json) -> list[Event]:
        """Most errors leave the session, and an answer under way, as they were: an answer that breaks has its own
        `response.done`. But an answer asked for and refused has none, and nothing follows the end of a session."""
        failure = read_failure(event, "the provider sent an error event")
        about = as_str(as_dict(event.get("error")).get("event_id"))[:ID_LIMIT]
        refused = about == self._asked_by  # None while nothing is asked for
        if not refused and failure.code != "session_expired":
            return []
        if self._items is None and self._asked_by is None:
            return []
        self._items, self._ended, self._asked_by = None, self._id, None
        return [failure]


def read_request(path: str, body: Json) -> RequestFacts:
    """The handshake's path says nothing (the model is in its query); the session names its model."""
    return RequestFacts(stream=True)


OPENAI_REALTIME = Dialect(
    name="openai_realtime",
    websocket_paths=(re.compile(r"/realtime/?$"),),
    read_request=read_request,
    session=RealtimeSession,
    read_answer=lambda answer: [Malformed("Realtime answers over WebSocket only")],
    prompt=lambda body: [],
    finish_reasons={
        "completed": "stop",
        "incomplete": "length",
        "max_output_tokens": "length",
        "content_filter": "content_filter",
    },
)
