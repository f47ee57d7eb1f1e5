"""What a failure means for what follows: whether asking again, or asking somebody else, may help. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

from midstream.events import Failure
from midstream.wire.json_text import as_dict, as_list, as_str

type Kind = Literal["transient", "silent", "elsewhere", "final"]
"""transient: the same target may answer next time. silent: it said nothing for too long: asked again it would most likely do
the same. elsewhere: this target never will, another may (unknown model, too long a context, a quota used up). final: nobody
would answer otherwise, or it is for the client to decide."""

TRANSIENT_STATUSES = frozenset((408, 409, 425, 429, *range(500, 600)))
"""Design section 7; 529 is Anthropic's overloaded_error. A 501 or 505 is as final as it is rare, and costs one retry."""

SILENT_TYPES = frozenset(("first_token_timeout", "idle_timeout", "connect_timeout"))

NETWORK_TYPES = frozenset(("dns_error", "tls_error", "connection_error", "truncated", "total_timeout"))

_FILTERED = re.compile(
    r"content_?(?:filter|policy|management)|responsibleai|moderation|safety|data_inspection_failed|prohibited_content",
    re.I,
)
_TOO_LONG = re.compile(
    r"context_length_exceeded"
    r"|(?:context|prompt|input|request|messages?)\b[^.]{0,60}\b(?:too long|too large|exceeds?|exceeded|longer than)"
    r"|(?:maximum|max) (?:context|input|prompt)|context (?:window|length|size)"
    r"|token count .{0,40} exceeds|too many (?:input )?tokens",
    re.I,
)
_UNKNOWN_MODEL = re.compile(
    r"model_not_found|unknown[_ ]model|invalid[_ ]model|no such model|not a valid model"
    r"|models?\b.{0,120}?(?:not found|not exist|not available|not supported|unavailable|deprecated|decommissioned|no access)",
    re.I | re.S,
)
_NO_QUOTA = re.compile(r"insufficient_quota|billing|credit balance|payment_required|exceeded your current quota", re.I)
_CLIENTS = re.compile(r"invalid_request|invalid_argument|authentication|permission|unauthori[sz]ed|forbidden", re.I)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")
_PART = re.compile(
    r"(?P<number>\d{1,9}(?:\.\d{1,9})?) ?"
    r"(?P<unit>ms|d(?:ays?)?|h(?:rs?|ours?)?|m(?:ins?|inutes?)?|s(?:ecs?|econds?)?)(?![a-z]) ?",
    re.I | re.A,
)
_TRY_AGAIN = re.compile(r"(?:try again|retry) (?:in|after) ", re.I)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}

QUOTED = 2_000
"""Characters of an error's message that are searched."""


def kind_of(failure: Failure) -> Kind:
    """What a provider's or the network's failure means. An in-band error without a status is taken at its words."""
    status, words = status_of(failure), f"{failure.type} {failure.code} {failure.message[:QUOTED]}"
    if failure.status is not None and 300 <= failure.status < 400:
        return "final"
    if failure.type in SILENT_TYPES:
        return "silent"
    if failure.type in NETWORK_TYPES and status is None:
        return "transient"
    if _FILTERED.search(f"{failure.type} {failure.code}") or (status == 400 and _FILTERED.search(words)):
        return "final"
    if _NO_QUOTA.search(words):
        return "elsewhere"
    if status in (400, 404, 413, 422, None) and (_TOO_LONG.search(words) or _UNKNOWN_MODEL.search(words)):
        return "elsewhere"
    if status is not None:
        return "transient" if status in TRANSIENT_STATUSES else "final"
    return "final" if _CLIENTS.search(f"{failure.type} {failure.code}") else "transient"


def status_of(failure: Failure) -> int | None:
    """The HTTP status, which an error inside a 200 may tell as its code (OpenRouter, Gemini)."""
    if failure.status is not None and failure.status >= 400:
        return failure.status
    code = failure.code
    return int(code) if len(code) == 3 and code.isascii() and code.isdigit() and "400" <= code <= "599" else None


def retry_after(headers: Mapping[str, str], failure: Failure, wall_clock: float) -> float | None:
    """Seconds that the provider asks to wait before the next try; None if it does not say.

    headers: lower-case names. In order: `retry-after-ms` (Azure, OpenAI), `retry-after` as seconds or as a date
    (RFC 9110, 10.2.3; wall_clock is Unix time), google.rpc.RetryInfo in the error, "try again in 1m30s" in its words.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    said = headers.get("retry-after", "").strip()
    seconds = _number(said)
    if seconds is not None:
        return seconds
    if said:
        return _until(said, wall_clock)
    return _retry_info(failure) or _try_again(failure)


def _number(text: str) -> float | None:
    text = text.strip()  # of more than `float` takes for white space
    return float(text) if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", text, re.ASCII) else None


def _until(date: str, wall_clock: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - wall_clock)


def _retry_info(failure: Failure) -> float | None:
    details = as_list(as_dict(failure.raw).get("details"))
    delays = (_DURATION.fullmatch(as_str(as_dict(detail).get("retryDelay"))) for detail in details)
    return next((float(delay[1]) for delay in delays if delay), None)


def _try_again(failure: Failure) -> float | None:
    said = failure.message[:QUOTED]
    waits = (_duration(said, found.end()) for found in _TRY_AGAIN.finditer(said))
    return next((wait for wait in waits if wait is not None), None)


def _duration(said: str, at: int) -> float | None:
    """The sum of what stands there: 6m0s (as Go writes durations) or 1 minute 30 seconds."""
    seconds = None
    while part := _PART.match(said, at):
        unit = part["unit"].lower()
        seconds = (seconds or 0.0) + float(part["number"]) * _UNITS["ms" if unit == "ms" else unit[0]]
        at = part.end()
    return seconds
