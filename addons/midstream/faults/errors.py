"""The errors of faults, in the form that the client's SDK reads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from midstream.dialects.anthropic.words import write_error as write_anthropic_error
from midstream.dialects.base import Dialect
from midstream.dialects.bedrock.fields import STATUSES
from midstream.dialects.gemini.words import write_error as write_gemini_error
from midstream.dialects.openai.chat_answer import write_error as write_openai_error
from midstream.events import Failure
from midstream.faults.rules import Fault
from midstream.wire import Frame
from midstream.wire.framing import FramingName
from midstream.wire.json_text import Json, dump_json

WORDS = "midstream broke this on purpose"

_EXCEPTIONS = {status: name for name, status in STATUSES.items()} | {
    403: "accessDeniedException",
    404: "resourceNotFoundException",
}


def _message_alone(failure: Failure) -> Json:
    return {"message": failure.message}


_WRITERS: Mapping[str, Callable[[Failure], Json]] = {
    "anthropic_complete": write_anthropic_error,
    "bedrock_converse": _message_alone,
    "bedrock_invoke": _message_alone,
    "cohere": _message_alone,
    "gemini_interactions": write_gemini_error,
}
"""Of the dialects that write no answers here; for any other, OpenAI's form."""


def failure_of(fault: Fault) -> Failure:
    return Failure(WORDS, status=fault.status)


def http_error(fault: Fault, dialect: Dialect) -> tuple[list[tuple[str, str]], bytes]:
    """The headers and the body of a made-up answer with the fault's status."""
    write = dialect.write_error or _WRITERS.get(dialect.name, write_openai_error)
    headers = [("content-type", "application/json"), *fault.headers]
    if dialect.name.startswith("bedrock"):
        name = _exception(fault.status)
        headers.append(("x-amzn-errortype", name[0].upper() + name[1:]))
    return headers, dump_json(write(failure_of(fault))).encode()


def error_frame(fault: Fault, dialect: Dialect, framing: FramingName) -> Frame:
    """The frame that says the error inside a stream, where the dialect needs no encoder for it."""
    failure = failure_of(fault)
    if dialect.write_failure is not None:
        return dialect.write_failure(failure)
    if framing == "eventstream":
        return Frame(dump_json(_message_alone(failure)).encode(), event=_exception(fault.status))
    if dialect.name == "cohere":  # https://docs.cohere.com/reference/chat-stream: message-end tells errors too
        delta = {"finish_reason": "ERROR", "error": failure.message}
        return Frame(dump_json({"type": "message-end", "delta": delta}).encode(), event="message-end")
    write = _WRITERS.get(dialect.name, write_openai_error)
    return Frame(dump_json(write(failure)).encode(), event="error" if dialect.name == "anthropic_complete" else "")


def _exception(status: int) -> str:
    """AWS's name for it: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html#API_runtime_ConverseStream_Errors"""
    return _EXCEPTIONS.get(status, "validationException" if 400 <= status < 500 else "internalServerException")
