"""What Bedrock's APIs share: exceptions, errors, token counts."""

from __future__ import annotations

from typing import Any

from midstream.dialects import base
from midstream.dialects.anthropic.messages import REASON_LIMIT
from midstream.dialects.token_counts import count, total
from midstream.events import Event, Failure, Finish, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_int, as_str, dump_json

STATUSES = {
    "validationException": 400,
    "modelTimeoutException": 408,
    "modelStreamErrorException": 424,
    "throttlingException": 429,
    "internalServerException": 500,
    "serviceUnavailableException": 503,
}
"""The HTTP status that each exception stands for, from the service's own model."""


def read_finish(fields: Json) -> list[Event]:
    """Return the Finish that `stopReason` names."""
    reason = as_str(fields.get("stopReason"))[:REASON_LIMIT]
    sequence = as_str(as_dict(fields.get("additionalModelResponseFields")).get("stop_sequence"))
    return [Finish(reason, 0, sequence[:REASON_LIMIT])] if reason else []


def read_usage(usage: Any) -> list[Event]:
    """Return a TokenUsage, or invocation metrics, as a Usage: both count the cache beside inputTokens."""
    if not isinstance(usage, dict) or not usage:
        return []
    read = count(usage.get("cacheReadInputTokens"), usage.get("cacheReadInputTokenCount"))
    written = count(usage.get("cacheWriteInputTokens"), usage.get("cacheWriteInputTokenCount"))
    input_ = count(usage.get("inputTokens"), usage.get("inputTokenCount"))
    output = count(usage.get("outputTokens"), usage.get("outputTokenCount"))
    return [Usage(total(input_, read, written), output, read, written, None, usage)]


def read_exception(name: str, payload: Json) -> Failure | None:
    """Return the failure that an exception, or an error (whose code may be any word), is; None for an event yet unknown."""
    message = as_str(payload.get("message")) or as_str(payload.get("Message"))
    if not name.endswith("Exception") and not message:
        return None
    original = as_int(payload.get("originalStatusCode"))
    return Failure(
        message or name,
        type=name,
        code="" if original is None else str(original),
        status=STATUSES.get(name),
        raw=payload,
    )


_WRITTEN = {status: name for name, status in STATUSES.items() if name != "modelTimeoutException"}
"""The exceptions that both ConverseStream and InvokeModelWithResponseStream have, by the HTTP status that they stand for."""


def write_failure(failure: Failure) -> Frame:
    """Return the exception of an event stream: a provider's own word for it, else the one that stands for its status."""
    own = failure.type if failure.type in _WRITTEN.values() else ""
    name = own or _WRITTEN.get(failure.status or 500, "internalServerException")
    return Frame(dump_json({"message": failure.message}).encode(), event=name)


def read_error(status: int, body: Any) -> Failure:
    """{"message": …}; the type is in the header x-amzn-errortype, and only sometimes in the body too, as `__type`."""
    failure = base.read_error(status, body)
    kind = as_str(as_dict(body).get("__type")).rpartition("#")[2]
    return Failure(failure.message, failure.type or kind, failure.code, status, failure.raw)
