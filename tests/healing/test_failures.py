"""What a failure means for what follows, in the words that providers really use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.events import Failure
from midstream.healing.failures import kind_of, retry_after, status_of


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 520, 529])
def test_statuses_worth_another_try(status: int) -> None:
    assert kind_of(Failure("x", status=status)) == "transient"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 422])
def test_other_statuses_are_the_clients_to_see(status: int) -> None:
    assert kind_of(Failure("no", status=status)) == "final"


@pytest.mark.parametrize(
    "failure",
    [
        Failure("This model's maximum context length is 8192 tokens.", code="context_length_exceeded", status=400),
        Failure("prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error", status=400),
        Failure("The input token count (1200000) exceeds the maximum number of tokens allowed", status=400),
        Failure("Requested token count exceeds the model's maximum context length of 32768 tokens", status=400),
        Failure("request too large for model", code="request_too_large", status=413),
        Failure("Your input exceeds the context window of this model.", code="context_length_exceeded"),
    ],
)
def test_too_long_a_context_may_fit_elsewhere(failure: Failure) -> None:
    assert kind_of(failure) == "elsewhere"


@pytest.mark.parametrize(
    "failure",
    [
        Failure(
            "The model `gpt-9` does not exist or you do not have access to it.", code="model_not_found", status=404
        ),
        Failure("model: claude-9", type="not_found_error", code="model_not_found", status=404),
        Failure('model "llama9" not found, try pulling it first', status=404),
        Failure("models/gemini-9 is not found for API version v1beta", type="NOT_FOUND", status=404),
        Failure("The model `mixtral` has been decommissioned", code="model_decommissioned", status=400),
    ],
)
def test_an_unknown_model_may_be_known_elsewhere(failure: Failure) -> None:
    assert kind_of(failure) == "elsewhere"


def test_a_quota_that_is_used_up_does_not_come_back_with_a_retry() -> None:
    said = Failure("You exceeded your current quota", type="insufficient_quota", code="insufficient_quota", status=429)
    assert kind_of(said) == "elsewhere"


@pytest.mark.parametrize(
    "failure",
    [
        Failure("The response was filtered", code="content_filter", status=400),
        Failure("Your request was rejected as a result of our safety system.", code="moderation_blocked", status=400),
        Failure("filtered", code="content_filter"),
        Failure("Input data may contain inappropriate content", code="data_inspection_failed", status=400),
    ],
)
def test_a_content_filter_is_never_asked_twice(failure: Failure) -> None:
    assert kind_of(failure) == "final"


@pytest.mark.parametrize("kind", ["first_token_timeout", "idle_timeout", "connect_timeout"])
def test_silence_is_told_from_other_failures(kind: str) -> None:
    assert kind_of(Failure("nothing", type=kind)) == "silent"


@pytest.mark.parametrize("kind", ["dns_error", "tls_error", "connection_error", "truncated"])
def test_the_network_may_be_back(kind: str) -> None:
    assert kind_of(Failure("x", type=kind)) == "transient"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure("Overloaded", type="overloaded_error"), "transient"),
        (Failure("Provider returned error", code="502"), "transient"),
        (Failure("bad", type="invalid_request_error"), "final"),
        (Failure("who?", type="authentication_error"), "final"),
        (Failure("went wrong", type="server_error"), "transient"),
        (Failure("went wrong"), "transient"),
    ],
)
def test_an_error_inside_a_200_is_taken_at_its_words(failure: Failure, kind: str) -> None:
    assert kind_of(failure) == kind


def test_a_code_that_is_a_status_counts_as_one() -> None:
    assert status_of(Failure("x", code="503")) == 503
    assert status_of(Failure("x", code="200")) is None
    assert status_of(Failure("x", code="٤٠٤")) is None


NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "failure", "seconds"),
    [
        ({"retry-after": "2"}, Failure("x"), 2.0),
        ({"retry-after": "1.5"}, Failure("x"), 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, Failure("x"), 0.25),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=30), usegmt=True)}, Failure("x"), 30.0),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=30), usegmt=True)}, Failure("x"), 0.0),
        ({}, Failure("x", raw={"details": [{"@type": "…RetryInfo", "retryDelay": "13s"}]}), 13.0),
        ({}, Failure("Rate limit reached. Please try again in 1.5s. Visit"), 1.5),
        ({}, Failure("Rate limit reached. Please try again in 20ms."), 0.02),
        ({}, Failure("Please try again in 2m"), 120.0),
        ({}, Failure("Rate limit reached. Please try again in 6m0s. Visit"), 360.0),
        ({}, Failure("Please try again in 1m30.5s."), 90.5),
        ({}, Failure("Please try again in 1h2m3s."), 3723.0),
        ({}, Failure("Please retry after 1 minute 30 seconds."), 90.0),
        ({}, Failure("Try again in 2 days"), 172_800.0),
        ({}, Failure("Try again in a moment, or retry after 3s"), 3.0),
        ({}, Failure("try again in 6 months"), None),
        ({}, Failure("try again in 9999999999s"), None),
        ({}, Failure("try again in 5s 99 problems"), 5.0),
        ({"retry-after": "soon"}, Failure("x"), None),
        ({"retry-after": "-1"}, Failure("x"), None),
        ({"retry-after": "2\x1f"}, Failure("x"), 2.0),
        ({"retry-after": "9" * 400}, Failure("x"), None),
        ({}, Failure("x"), None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], failure: Failure, seconds: float | None) -> None:
    assert retry_after(headers, failure, NOW.timestamp()) == seconds


def go_duration(milliseconds: int) -> str:
    """As Go's time.Duration prints itself, whose words OpenAI passes on: 6m0s, 1h0m0.5s, 20ms."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if minutes == 0:
        return seconds
    return f"{minutes // 60}h{minutes % 60}m{seconds}" if minutes >= 60 else f"{minutes}m{seconds}"


@given(st.integers(1, 100 * 3_600_000), st.sampled_from(["", ".", ". Visit 7s.example.", " (limit 5m)"]))
def test_durations_in_gos_notation(milliseconds: int, behind: str) -> None:
    failure = Failure(f"Please try again in {go_duration(milliseconds)}{behind}", status=429)
    assert retry_after({}, failure, 0.0) == pytest.approx(milliseconds / 1000)


@given(st.text(max_size=300), st.text(max_size=40), st.text(max_size=300), st.integers(100, 999))
def test_no_words_raise(message: str, code: str, header: str, status: int) -> None:
    failure = Failure(message, type=code, code=code, status=status, raw={"details": [{"retryDelay": message}]})
    assert kind_of(failure) in ("transient", "silent", "elsewhere", "final")
    waited = retry_after({"retry-after": header, "retry-after-ms": code}, failure, 0.0)
    assert waited is None or waited >= 0
