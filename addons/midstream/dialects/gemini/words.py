"""Gemini's words for how an answer ended, and for an error.

https://ai.google.dev/api/generate-content#FinishReason
https://cloud.google.com/apis/design/errors#handling_errors
"""

from __future__ import annotations

from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.events import Failure
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_list, dump_json

_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
_OWN_REASONS = frozenset(
    (
        "STOP",
        "MAX_TOKENS",
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "OTHER",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MALFORMED_FUNCTION_CALL",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "IMAGE_OTHER",
        "NO_IMAGE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    )
)
_COHERES = frozenset(("COMPLETE", "STOP_SEQUENCE"))
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""google.rpc.Code by HTTP status."""

_OWN_STATUSES = frozenset((*_STATUSES.values(), "FAILED_PRECONDITION", "OUT_OF_RANGE", "ALREADY_EXISTS", "UNKNOWN"))


def gemini_finish_reason(reason: str, detail: str = "") -> str:
    """Return Gemini's word for any provider's. One in capitals that nobody here knows is a newer one of Google's: no `STOP`."""
    if reason in _OWN_REASONS:
        return reason
    known = openai_finish_reason(reason, detail)
    return "OTHER" if known == "stop" and reason.isupper() and reason not in _COHERES else _REASONS[known]


def write_error(failure: Failure) -> Json:
    """Return the body of an HTTP error, a google.rpc.Status, which is also what an in-band error's chunk holds."""
    code = failure.status or (int(failure.code) if failure.code.isdecimal() and len(failure.code) == 3 else 0)
    if not 400 <= code <= 599:
        code = 503 if failure.type == "truncated" else 500
    own = failure.type in _OWN_STATUSES
    status = failure.type if own else _STATUSES.get(code, "INVALID_ARGUMENT" if code < 500 else "UNAVAILABLE")
    error: Json = {"code": code, "message": failure.message, "status": status}
    details = as_list(as_dict(failure.raw).get("details")) if own else []
    return {"error": {**error, "details": details} if details else error}


def write_failure(failure: Failure) -> Frame:
    """Return the chunk of an in-band error."""
    return Frame(dump_json(write_error(failure)).encode())
