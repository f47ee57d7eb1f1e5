"""What a dialect is: data first, then a few small functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from midstream.conversation import Conversation, Written
from midstream.events import Event, Failure
from midstream.wire import Frame
from midstream.wire.framing import FramingName
from midstream.wire.json_text import Json, as_dict, as_str


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What a request says of the answer to come.

    model: as asked for; from the URL where the dialect has it there.
    stream: whether a streamed answer was asked for.
    """

    model: str = ""
    stream: bool = False


class Decoder(Protocol):
    """Frames of one streamed answer → events. Never raises, whatever the frames hold."""

    def feed(self, frame: Frame) -> list[Event]:
        """Return what this frame means, at least one event ([OPAQUE] or [Malformed] if nothing else)."""
        ...

    def close(self) -> list[Event]:
        """The body has ended: return what that means. [] after a whole answer; [END] where an end of the body is a
        rightful end (all choices finished, only the terminal event is missing); else [Failure(type="truncated")]."""
        ...


class SessionDecoder(Protocol):
    """Messages of one WebSocket session → events. One session carries many answers: each begins at Asked or Start and
    ends at End or Failure."""

    def feed(self, frame: Frame, *, from_client: bool) -> list[Event]:
        """Return what this message means, at least one event."""
        ...


def read_error(status: int, body: Any) -> Failure:
    """The shapes that nearly all providers share: {"error": {message, type, code}}, {"error": "text"}, {"message": …}."""
    if isinstance(body, list) and body:  # Gemini without alt=sse wraps its error in an array
        body = body[0]
    error = as_dict(body).get("error", body)
    if isinstance(error, str):  # xAI has a code beside it
        return Failure(error or f"HTTP {status}", code=as_str(as_dict(body).get("code")), status=status, raw=body)
    fields = as_dict(error)
    message = as_str(fields.get("message")) or as_str(fields.get("detail")) or as_str(fields.get("Message"))
    code = fields.get("code")
    return Failure(
        message or f"HTTP {status}",
        type=as_str(fields.get("type")) or as_str(fields.get("status")),
        code=str(code) if isinstance(code, str | int) else "",
        status=status,
        raw=error,
    )


def _unknown_template(body: Json) -> int | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """What an encoder writes where the events do not say it.

    id, model: used until (and unless) a Start event names the provider's own; an id of another dialect's shape is replaced by
    one of this dialect's. created: Unix seconds. include_usage: whether usage was asked for (OpenAI chat alone cares).
    path: of the client's request, for a dialect whose APIs answer in different shapes (Ollama's /api/chat and /api/generate).
    functions: whether the client uses OpenAI chat's legacy `functions`.
    """

    id: str
    model: str
    created: int
    include_usage: bool = True
    path: str = ""
    functions: bool = False


class Unwritable(ValueError):
    """These events are no whole answer that the dialect could say; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Encoder(Protocol):
    """Events of one answer → frames that a client of this dialect expects: one valid lifecycle, from first frame to last,
    whatever dialect the events came from."""

    @property
    def failure(self) -> Failure | None:
        """What it has written as an error: one that it was fed, or that it cannot say the answer; None if it has not."""
        ...

    def feed(self, event: Event) -> list[Frame]:
        """Return the frames that say this event; none where it needs none. END closes what is open and writes the terminal
        frames; a Failure writes the frame that makes the dialect's SDK raise, and nothing may follow it."""
        ...


def _sse(path: str, body: Json) -> FramingName:
    return "sse"


SSE_COMMENT = b": keepalive\n\n"
"""Every SSE client ignores a line that begins with a colon (WHATWG HTML, 9.2.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One provider API.

    name: the `dialect` column.
    paths: matched (re.search) against the request path without its query; the first dialect in DIALECTS to match wins.
    body_keys: keys that the JSON body must have, every one, to be this dialect's on a host nobody here knows.
    read_request: (path, JSON body) → facts. The body is {} when it is no JSON object.
    decoder: a new decoder for one streamed answer. None: WebSocket only.
    session: a new decoder for one WebSocket session. None: HTTP only. WebSocket paths are `websocket_paths`.
    read_answer: a whole, not streamed, answer (parsed JSON) → events, END included.
    prompt: the JSON body → the texts that a tokenizer should count as input: one string a message or part, in order.
    template_tokens: the JSON body → the tokens that the provider's chat template adds around those texts; None where nobody
        knows (tools, images, most providers): the count is then an estimate.
    read_error: (HTTP status, parsed JSON or text) → Failure.
    finish_reasons: the provider's word → OpenAI's (`stop`, `length`, `tool_calls`, `content_filter`).
    read_conversation: (path, JSON body) → the request in no provider's words. Raises ValueError naming the field that is wrong.
    write_request: the reverse, for a target of this dialect. Raises Inexpressible.
    adapt: (JSON body, model that has answered so far, model to ask) → the body less what that model is known to refuse, and the
        names of what is left out; all else stays as it is. Raises Inexpressible. None: no model's likes are known.
    encoder: a new encoder for one streamed answer to a client of this dialect.
    write_answer: the events of a whole answer → its JSON. Raises Unwritable: half an answer is none.
    resume: (options, events, decoder) → an encoder that goes on behind frames that the provider itself wrote, and that meant
        these events: adjacent texts may be joined, and what is opaque be left out. decoder: the one of this dialect that read
        those frames and nothing else; it knows what events leave out (open blocks, item ids). None: the events alone must do.
    write_error: a failure → the JSON body of an HTTP error, as this dialect's SDK reads it.
    write_failure: a failure → the frame that says it inside a stream, where that needs no encoder. None: there is no form of
        which this dialect's SDK would make an error.
    framing: (path with its query, JSON body) → the framing in which a client that asks so expects a stream.
    read_on: (path, JSON body, events so far, last whole frames) → the path of a GET that reads on exactly where the stream broke;
        None where this one has no such.
    keepalive: what a client gets between two frames of an SSE body in a long silence; b"" where there is no form for it.
    object_lines: a body that begins with `{` is JSON lines, each for the decoder (Ollama), not one whole answer.
    """

    name: str
    paths: tuple[re.Pattern[str], ...] = ()
    websocket_paths: tuple[re.Pattern[str], ...] = ()
    body_keys: frozenset[str] = frozenset()
    read_request: Callable[[str, Json], RequestFacts]
    decoder: Callable[[], Decoder] | None = None
    session: Callable[[], SessionDecoder] | None = None
    read_answer: Callable[[Any], list[Event]]
    prompt: Callable[[Json], list[str]]
    template_tokens: Callable[[Json], int | None] = _unknown_template
    read_error: Callable[[int, Any], Failure] = read_error
    finish_reasons: Mapping[str, str] = field(default_factory=dict)
    keepalive: bytes = SSE_COMMENT
    object_lines: bool = False
    read_conversation: Callable[[str, Json], Conversation] | None = None
    write_request: Callable[[Conversation], Written] | None = None
    adapt: Callable[[Json, str, str], tuple[Json, tuple[str, ...]]] | None = None
    encoder: Callable[[AnswerOptions], Encoder] | None = None
    write_answer: Callable[[Sequence[Event], AnswerOptions], Json] | None = None
    resume: Callable[[AnswerOptions, Sequence[Event], Decoder | None], Encoder] | None = None
    write_error: Callable[[Failure], Json] | None = None
    write_failure: Callable[[Failure], Frame] | None = None
    framing: Callable[[str, Json], FramingName] = _sse
    read_on: Callable[[str, Json, Sequence[Event], bytes], str | None] | None = None


TRUNCATED = Failure("the stream ended before its terminal event", type="truncated")
