"""A provider's error in the words of each of five clients: its official SDK raises what its own provider's would have raised."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import ollama
import openai
import pytest
from google.genai import errors as google

from encoded import OPTIONS
from midstream.dialects.base import Dialect, Unwritable
from midstream.events import END, Event, Failure, Finish, Text
from sdk_answers import STREAMS, WHOLES
from translated import DIALECTS

ERRORS: dict[str, dict[int, Any]] = {
    "openai_chat": {
        400: {"error": {"message": "sorry", "type": "invalid_request_error", "param": "x", "code": "bad"}},
        429: {"error": {"message": "sorry", "type": "rate_limit_error", "code": "rate_limit_exceeded"}},
        500: {"error": {"message": "sorry", "type": "server_error"}},
    },
    "openai_responses": {
        404: {"error": {"message": "sorry", "type": "invalid_request_error", "code": "model_not_found"}},
        429: {"error": {"message": "sorry", "type": "insufficient_quota", "code": "insufficient_quota"}},
    },
    "anthropic_messages": {
        400: {"type": "error", "error": {"type": "invalid_request_error", "message": "sorry"}},
        401: {"type": "error", "error": {"type": "authentication_error", "message": "sorry"}},
        413: {"type": "error", "error": {"type": "request_too_large", "message": "sorry"}},
        429: {"type": "error", "error": {"type": "rate_limit_error", "message": "sorry"}},
        529: {"type": "error", "error": {"type": "overloaded_error", "message": "sorry"}},
    },
    "gemini": {
        400: {"error": {"code": 400, "message": "sorry", "status": "INVALID_ARGUMENT"}},
        403: {"error": {"code": 403, "message": "sorry", "status": "PERMISSION_DENIED"}},
        404: [{"error": {"code": 404, "message": "sorry", "status": "NOT_FOUND"}}],
        429: {"error": {"code": 429, "message": "sorry", "status": "RESOURCE_EXHAUSTED"}},
        503: {"error": {"code": 503, "message": "sorry", "status": "UNAVAILABLE"}},
    },
    "ollama": {404: {"error": "sorry"}, 500: {"error": "sorry"}},
}
"""Each provider's own errors, by status."""

CASES = [(provider, status) for provider, bodies in ERRORS.items() for status in bodies]
OPENAIS: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
}
ANTHROPICS: dict[int, type[anthropic.APIStatusError]] = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    413: anthropic.RequestTooLargeError,
    429: anthropic.RateLimitError,
    503: anthropic.ServiceUnavailableError,
    529: anthropic.OverloadedError,
}
ANTHROPICS_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def raised_by(client: str, status: int) -> type[Exception]:
    """The class that the client's SDK has for a status."""
    match client:
        case "openai_chat" | "openai_responses":
            return OPENAIS.get(status, openai.InternalServerError if status >= 500 else openai.APIStatusError)
        case "anthropic_messages":
            return ANTHROPICS.get(status, anthropic.InternalServerError)
        case "gemini":
            return google.ServerError if status >= 500 else google.ClientError
        case _:
            return ollama.ResponseError


def message_of(error: Any) -> str:
    """What the SDK says that the provider said."""
    match error:
        case openai.APIStatusError() | anthropic.APIStatusError():
            body: Any = error.body
            return str((body.get("error") or body)["message"])
        case openai.APIError() | google.APIError():
            return str(error.message)
        case ollama.ResponseError():
            return error.error
    raise AssertionError(f"another error: {error!r}")


def failure_of(provider: str, status: int) -> Failure:
    return DIALECTS[provider].read_error(status, ERRORS[provider][status])


def body_for(dialect: Dialect, failure: Failure) -> Any:
    assert dialect.write_error is not None
    return json.loads(json.dumps(dialect.write_error(failure)))


@pytest.mark.parametrize(("provider", "status"), CASES)
@pytest.mark.parametrize("client", DIALECTS)
def test_an_http_error(client: str, provider: str, status: int) -> None:
    failure = failure_of(provider, status)
    assert (failure.message, failure.status) == ("sorry", status)
    with pytest.raises(raised_by(client, status)) as caught:
        WHOLES[client](body_for(DIALECTS[client], failure), status)
    assert message_of(caught.value) == "sorry"
    assert getattr(caught.value, "status_code", getattr(caught.value, "code", None)) == status


@pytest.mark.parametrize(("provider", "status"), CASES)
def test_anthropics_clients_read_the_type_in_its_own_words(provider: str, status: int) -> None:
    body = body_for(DIALECTS["anthropic_messages"], failure_of(provider, status))
    assert body["error"]["type"] == ANTHROPICS_TYPES[status]


@pytest.mark.parametrize(("provider", "status"), CASES)
def test_googles_clients_read_a_status_in_its_own_words(provider: str, status: int) -> None:
    body = body_for(DIALECTS["gemini"], failure_of(provider, status))
    assert body["error"]["code"] == status
    assert body["error"]["status"] in google_codes()


def google_codes() -> set[str]:
    return {
        *("INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "RESOURCE_EXHAUSTED"),
        *("INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED"),
    }


SOME: list[Event] = [Text("half an ans")]
BREAKS = [Failure("sorry", "overloaded_error", status=529), Failure("sorry", type="truncated"), Failure("sorry")]


@pytest.mark.parametrize("failure", BREAKS, ids=["529", "truncated", "plain"])
@pytest.mark.parametrize("before", [[], SOME], ids=["first", "midway"])
@pytest.mark.parametrize("client", DIALECTS)
def test_an_error_inside_a_stream_raises(client: str, before: list[Event], failure: Failure) -> None:
    encoder = DIALECTS[client].encoder
    assert encoder is not None
    encode = encoder(OPTIONS).feed
    frames = [frame for event in [*before, failure, Finish("stop"), END] for frame in encode(event)]
    with pytest.raises((openai.APIError, anthropic.APIStatusError, google.APIError, ollama.ResponseError)) as caught:
        STREAMS[client](frames)
    assert message_of(caught.value) == "sorry"


@pytest.mark.parametrize("client", DIALECTS)
def test_a_broken_answer_is_no_whole_one(client: str) -> None:
    """`stream: false`: whatever came before the error."""
    write_answer = DIALECTS[client].write_answer
    assert write_answer is not None
    with pytest.raises(Unwritable) as caught:
        write_answer([*SOME, Failure("sorry", status=500)], OPTIONS)
    assert caught.value.failure == Failure("sorry", status=500)
