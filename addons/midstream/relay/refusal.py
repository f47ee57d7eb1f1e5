"""A request that the gateway refuses: an HTTP status and an error in the form that the client's SDK reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from midstream.dialects.base import Dialect
from midstream.dialects.openai.chat_answer import write_error
from midstream.events import Failure
from midstream.healing import failures
from midstream.wire.json_text import dump_json

CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    410: "stream_expired",
    413: "request_too_large",
    414: "uri_too_long",
    415: "unsupported_content_encoding",
    416: "range_not_satisfiable",
    426: "upgrade_required",
    429: "rate_limit_exceeded",
    501: "not_implemented",
    503: "shutting_down",
}

RETRY_AFTER = 5
"""Seconds after which whoever is refused because midstream stops may ask again: another may run by then."""


class Refusal(Exception):
    """Raised wherever a request turns out to be wrong; str() is for the client."""

    def __init__(
        self, status: int, message: str, *, code: str = "", type: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.failure = Failure(message, type=type, code=code or CODES.get(status, ""), status=status)
        self.headers = dict(headers or {})


def shutting_down() -> Refusal:
    """No stream is begun any more."""
    words = "midstream is being stopped and takes no new requests: ask again"
    return Refusal(503, words, type="shutting_down", headers={"Retry-After": str(RETRY_AFTER)})


def stopped() -> Failure:
    """What becomes of a stream that did not finish before midstream had to stop."""
    return Failure("midstream was stopped before the answer was whole", "interrupted", "shutting_down", status=503)


def error_body(failure: Failure, dialect: Dialect | None = None) -> bytes:
    """The error as JSON: in the dialect's form, or OpenAI's."""
    write = dialect.write_error if dialect is not None and dialect.write_error is not None else write_error
    return dump_json(write(failure)).encode()


def status_of(failure: Failure) -> int:
    """The HTTP status that tells of a provider's failure: its own where it is an error's, else 502; 504 for a time-out, 400 for
    what is the client's to mend, lest its SDK ask again."""
    told = failures.status_of(failure)
    if told is not None:
        return told
    if "timeout" in failure.type:
        return 504
    redirected = failure.status is not None and failure.status < 400  # a redirect, which is followed nowhere
    return 400 if failures.kind_of(failure) == "final" and not redirected else 502
