"""Events of any dialect → the events of Anthropic's Messages API, or one whole message.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Sequence
from json import JSONEncoder
from typing import Any, assert_never

from pydantic_core import from_json

from midstream.dialects.anthropic.models import claude
from midstream.dialects.anthropic.output import Blocks, OpenBlock
from midstream.dialects.anthropic.words import stop_of, usage_of, write_error
from midstream.dialects.base import AnswerOptions, Unwritable
from midstream.dialects.identity import Identity
from midstream.events import (
    CONTENT,
    END,
    Asked,
    End,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json, dump_json, parse_json

__all__ = ["MessagesEncoder", "write_answer", "write_error"]

_ID, _CALL_ID = "msg_", "toolu_"
_DELTA = "content_block_delta"
_TAIL = b"}}"
_quote = JSONEncoder(ensure_ascii=False).encode  # of a str alone: a third of the cost of json.dumps


class MessagesEncoder:
    """One choice alone: the API has no more. The first frame comes with the first content, not with Start, so that a later Start
    can still name the answer, and usage that comes early is in message_start.

    Signatures pass only while the model that answers is a Claude: clients send thinking back, and no other's would verify.
    """

    def __init__(self, options: AnswerOptions) -> None:
        self._identity = Identity(options, _ID)
        self._answers = options.model
        self._blocks = Blocks(self._call_id)
        self._finish = Finish("")
        self._usage: Usage | None = None
        self._refused = self._over = False
        self.failure: Failure | None = None
        self._open: OpenBlock | None = None
        self._lead = b""

    def feed(self, event: Event) -> list[Frame]:
        """Return the frames that say this event; [] after END or a Failure."""
        open_ = self._blocks.open
        if open_ is not None and not self._over and (piece := _going_on(event, open_)):
            try:
                return [Frame(self._lead_of(open_) + _quote(piece).encode() + _TAIL, event=_DELTA)]
            except UnicodeEncodeError:  # a lone surrogate: half an emoji
                pass
        return [Frame(dump_json(said).encode(), event=said["type"]) for said in self.events(event)]

    def _lead_of(self, open_: OpenBlock) -> bytes:
        """What stands before a piece of the open text or thought."""
        if self._open is not open_:
            self._open = open_
            delta = f'"delta":{{"type":"{open_.kind}_delta","{open_.kind}":'
            self._lead = f'{{"type":"{_DELTA}","index":{open_.index},{delta}'.encode()
        return self._lead

    def events(self, event: Event) -> list[Json]:
        """Return what `feed` does, before it is text."""
        if self._over:
            return []
        if isinstance(event, CONTENT):
            return [] if event.choice else self._content(event)
        match event:
            case Start():
                self._identity.read(event)
                self._answers = event.model or self._answers
            case Usage():
                self._usage = event
            case Finish():
                self._finish = self._finish if event.choice else event
            case End():
                return self._end()
            case Failure():
                return self._fail(event)
            case Asked() | Malformed() | Opaque():
                pass
            case _:
                assert_never(event)
        return []

    def _content(self, event: Text | Reasoning | ToolCall | ServerTool | Refusal | Media) -> list[Json]:
        said = self._said(event)
        if self._blocks.failure:
            return self._fail(Failure(self._blocks.failure, type="unwritable"))
        return self._begin() + said if said else []

    def _said(self, event: Text | Reasoning | ToolCall | ServerTool | Refusal | Media) -> list[Json]:
        match event:
            case Text(text=text) | Media(transcript=text) if text:
                return self._blocks.text(text)
            case Refusal(text=text):
                self._refused = True
                return self._blocks.text(text)
            case Reasoning():
                return self._reason(event)
            case ToolCall():
                return self._blocks.call(event)
            case ServerTool():
                return self._blocks.part()  # what another's own tool did has no place in a message
            case Text() | Media():
                return []  # nor has a picture
            case _:
                assert_never(event)

    def _reason(self, event: Reasoning) -> list[Json]:
        signs = "claude" in self._answers.lower()
        if not event.text and not (signs and event.signature):
            return []
        if not signs:
            event = Reasoning(event.text, block=event.block)
        return self._blocks.reasoning(event, redacted=not claude(self._answers).omits_thoughts)

    def _call_id(self, call: ToolCall) -> str:
        return call.id if call.id.startswith(_CALL_ID) else self._identity.item_id("toolu", call.index)

    def _begin(self) -> list[Json]:
        if self._identity.used:
            return []
        self._identity.used = True
        return [{"type": "message_start", "message": self._message()}]

    def _message(self) -> Json:
        return {
            "id": self._identity.id,
            "type": "message",
            "role": "assistant",
            "model": self._identity.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(self._usage),
        }

    def _end(self) -> list[Json]:
        self._over = True
        events = self._begin() + self._blocks.close()
        if self._blocks.failure:
            return self._fail(Failure(self._blocks.failure, type="unwritable"))
        delta = stop_of(self._finish, called=self._blocks.called, refused=self._refused)
        events.append({"type": "message_delta", "delta": delta, "usage": usage_of(self._usage)})
        return [*events, {"type": "message_stop"}]

    def _fail(self, failure: Failure) -> list[Json]:
        self._over, self.failure = True, failure
        return [write_error(failure)]


def _going_on(event: Event, open_: OpenBlock) -> str:
    """The piece, if an event goes on with an open text or thought, and says nothing else."""
    if type(event) is Text:
        return event.text if open_.kind == "text" and not event.choice else ""
    if type(event) is Reasoning and open_.kind == "thinking" and open_.block == event.block:
        return "" if event.choice or event.signature else event.text
    return ""


def write_answer(events: Sequence[Event], options: AnswerOptions) -> Json:
    """Return the message that these events say. Raises Unwritable where an error is among them, or arguments are no object."""
    encoder = MessagesEncoder(options)
    message: Json = {}
    pieces: list[str] = []
    told = [said for event in (*events, END) for said in encoder.events(event)]
    if encoder.failure is not None:
        raise Unwritable(encoder.failure)
    for said in told:
        match said["type"]:
            case "message_start":
                message = said["message"]
            case "content_block_start":
                message["content"].append(dict(said["content_block"]))
            case "content_block_delta":
                _add(message["content"][-1], said["delta"], pieces)
            case "content_block_stop":
                _close(message["content"][-1], pieces)
            case "message_delta":
                message |= {**said["delta"], "usage": said["usage"]}
    return _with_inputs(message)


def _add(block: Json, delta: Json, pieces: list[str]) -> None:
    if delta["type"] == "signature_delta":
        block["signature"] = delta["signature"]
    else:
        pieces.append(delta.get("text") or delta.get("thinking") or delta.get("partial_json") or "")


def _close(block: Json, pieces: list[str]) -> None:
    """Put the pieces together."""
    key = {"text": "text", "thinking": "thinking", "tool_use": "input"}.get(block["type"])
    if key:
        block[key] = "".join(pieces)
    pieces.clear()


def _with_inputs(message: Json) -> Json:
    """Parse the arguments. Those that max_tokens cut off are read as far as they go, as the SDK reads them in a stream."""
    cut = message["stop_reason"] == "max_tokens"
    for block in message["content"]:
        if block["type"] == "tool_use":
            value = _parsed(block["input"], cut=cut)
            if not isinstance(value, dict):
                raise Unwritable(Failure("a tool call's arguments are no JSON object", type="unwritable"))
            block["input"] = value
    return message


def _parsed(text: str, *, cut: bool) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        if not cut:
            return None
    try:
        return from_json(text, allow_partial=True)
    except (ValueError, TypeError):  # a lone surrogate: half an emoji
        return None
