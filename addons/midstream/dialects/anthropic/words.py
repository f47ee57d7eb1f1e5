"""Anthropic's words for how an answer ended, for usage, and for an error.

https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.events import Failure, Finish, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json, dump_json

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_OWN_REASONS = frozenset(
    ("max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded", "compaction")
)
_CATEGORIES = frozenset(("cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"))
_INVALID, _SERVER = "invalid_request_error", "api_error"
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OWN_TYPES = frozenset((*_ERROR_TYPES.values(), _INVALID, _SERVER))


def stop_of(finish: Finish, *, called: bool, refused: bool) -> Json:
    """Return the `delta` of a message_delta. called, refused: whether the answer has tool calls, or a refusal (OpenAI's)."""
    reason = finish.reason
    if reason not in _OWN_REASONS:
        reason = _REASONS[openai_finish_reason(reason, finish.detail, called=called)]
    if refused and reason == "end_turn":
        reason = "refusal"
    said: Json = {"stop_reason": reason, "stop_sequence": None}
    if reason == "stop_sequence":
        said["stop_sequence"] = finish.detail or None
    if reason == "refusal":
        category = finish.detail if finish.detail in _CATEGORIES else None
        said["stop_details"] = {"type": "refusal", "category": category, "explanation": None}
    return said


def usage_of(usage: Usage | None) -> Json:
    """Return Anthropic's usage object; its clients want both sums, so what nobody reported is 0.

    Anthropic's input_tokens leave out what was read from or written to the cache. The three together are what the provider
    counted as input, also where it says that more than that was cached (Azure, of Grok).
    """
    known = usage or Usage()
    written, read, whole = known.cache_write_tokens or 0, known.cached_tokens or 0, known.input_tokens
    if whole is not None:
        written = min(written, whole)
        read = min(read, whole - written)
    said: Json = {
        "input_tokens": (whole or written + read) - written - read,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": known.output_tokens or 0,
    }
    if known.reasoning_tokens is not None:
        said["output_tokens_details"] = {"thinking_tokens": known.reasoning_tokens}
    return said


def write_error(failure: Failure) -> Json:
    """Return the body of an HTTP error, which is also what an `error` event holds. OpenAI has `invalid_request_error` for a key
    and a model that there are not, too."""
    own = failure.type in _OWN_TYPES and not (failure.type == _INVALID and failure.status in _ERROR_TYPES)
    kind = failure.type if own else _error_type(failure.status)
    return {"type": "error", "error": {"type": kind, "message": failure.message}}


def write_failure(failure: Failure) -> Frame:
    """Return the `error` event of a stream."""
    return Frame(dump_json(write_error(failure)).encode(), event="error")


def _error_type(status: int | None) -> str:
    return _ERROR_TYPES.get(status or 500, _INVALID if 400 <= (status or 500) < 500 else _SERVER)
