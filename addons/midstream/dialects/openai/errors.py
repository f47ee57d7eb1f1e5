"""Errors as OpenAI's clients read them, as the body of an HTTP error and inside a stream."""

from __future__ import annotations

from typing import Any

from midstream.events import Failure
from midstream.wire import Frame
from midstream.wire.json_text import Json, dump_json

_INVALID, _SERVER = "invalid_request_error", "server_error"


def write_error(failure: Failure) -> Json:
    """Return the body of an HTTP error, which is also what an in-band error's frame holds."""
    error: dict[str, Any] = {"message": failure.message, "type": failure.type or _error_type(failure.status)}
    return {"error": {**error, "param": None, "code": failure.code or None}}


def write_failure(failure: Failure) -> Frame:
    """Return the frame of an in-band error: openai-python raises APIError for any `error` in a chunk."""
    return Frame(dump_json(write_error(failure)).encode())


def _error_type(status: int | None) -> str:
    if status == 429:
        return "rate_limit_error"
    return _INVALID if status is not None and 400 <= status < 500 else _SERVER
