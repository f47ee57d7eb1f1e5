"""What chat and legacy completions share: usage, errors in a stream, its end."""

from __future__ import annotations

from typing import Any

import pytest

from midstream.dialects.base import TRUNCATED
from midstream.dialects.openai.chunks import read_usage
from midstream.events import (
    END,
    OPAQUE,
    Failure,
    Finish,
    Malformed,
    Text,
    Usage,
)
from midstream.wire import Frame
from openai_chat_runs import chunk, decoder, run


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(
            {
                "prompt_tokens": 20,
                "completion_tokens": 9,
                "total_tokens": 29,
                "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            (20, 9, 8, None, 5),
            id="openai",
        ),
        pytest.param(
            {"prompt_tokens": 20, "completion_tokens": 9, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 12},
            (20, 9, 8, None, None),
            id="deepseek",
        ),
        pytest.param(
            {
                "prompt_tokens": 213,
                "completion_tokens": 2,
                "total_tokens": 413,
                "completion_tokens_details": {"reasoning_tokens": 198},
            },
            (213, 200, None, None, 198),
            id="xai: reasoning outside completion_tokens",
        ),
        pytest.param(
            {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
            (20, 603, None, None, None),
            id="gemini's compatible API: thoughts in total_tokens alone",
        ),
        pytest.param(
            {
                "prompt_tokens": 11,
                "completion_tokens": 15,
                "total_tokens": 401,
                "prompt_tokens_details": {"audio_tokens": 375, "cached_tokens": 9},
            },
            (386, 15, 9, None, None),
            id="mistral: audio outside prompt_tokens",
        ),
        pytest.param(
            {
                "prompt_tokens": 6,
                "completion_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 4},
            },
            (6, 3, 2, 4, None),
            id="openrouter: cache writes",
        ),
        pytest.param(
            {"prompt_tokens": None, "completion_tokens": "9", "total_tokens": True, "prompt_tokens_details": [1]},
            (None, None, None, None, None),
            id="wrong types",
        ),
        pytest.param(
            {"prompt_tokens": -1, "completion_tokens": 2**70}, (None, None, None, None, None), id="out of range"
        ),
    ],
)
def test_usage(raw: dict[str, Any], expected: tuple[int | None, ...]) -> None:
    usage = read_usage(raw)
    counts = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
    assert counts == expected
    assert usage.raw == raw


def test_usage_is_found_where_groq_and_moonshot_put_it() -> None:
    raw = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert run(chunk({}, "stop", x_groq={"id": "r", "usage": raw})) == [Finish("stop"), Usage(1, 2, raw=raw)]
    assert run({"choices": [{"index": 0, "delta": {}, "usage": raw}]}) == [Usage(1, 2, raw=raw)]
    assert run(chunk({"content": "a"}, usage=None), {"choices": [], "usage": raw}) == [Text("a"), Usage(1, 2, raw=raw)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"error": {"message": "m", "type": "t", "code": "c"}}, ("m", "t", "c", None)),
        ({"error": {"message": "m", "code": 429}}, ("m", "", "429", 429)),
        ({"error": {"message": "m", "type": "t", "code": "c", "status_code": 400}}, ("m", "t", "c", 400)),
        ({"error": "text"}, ("text", "", "", None)),
        (
            {"object": "error", "message": "m", "type": "invalid_model", "code": "1500"},
            ("m", "invalid_model", "1500", None),
        ),
        ({"code": "Throttling", "message": "slow down", "request_id": "r"}, ("slow down", "", "Throttling", None)),
        ({"choices": [], "x_groq": {"error": "over capacity"}}, ("over capacity", "", "", None)),
    ],
)
def test_an_error_in_the_stream(data: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (failure,) = run(data, close=True)
    assert isinstance(failure, Failure)
    assert (failure.message, failure.type, failure.code, failure.status) == expected


def test_an_error_event_need_not_be_json() -> None:
    assert decoder().feed(Frame(b"upstream went away", event="error")) == [Failure("upstream went away")]
    assert decoder().feed(Frame(b'{"detail":"d"}', event="error")) == [Failure("d", raw={"detail": "d"})]


@pytest.mark.parametrize("nothing", [None, "", {}, False])
def test_an_empty_error_is_none(nothing: Any) -> None:
    assert run(chunk({"content": "a"}, error=nothing)) == [Text("a")]


def test_an_error_beside_choices_that_goes_on_to_done() -> None:
    error = {"code": 400, "message": "Token limit reached"}
    assert run(chunk({"content": "a"}, "error", error=error), b"[DONE]", close=True) == [
        Failure("Token limit reached", code="400", status=400, raw=error),
        Text("a"),
        Finish("error"),
        END,
    ]


def test_after_an_error_the_end_of_the_body_says_nothing_more() -> None:
    events = run(chunk({"content": "a"}), {"error": {"message": "m"}}, close=True)
    assert events == [Text("a"), Failure("m", raw={"message": "m"})]


def test_the_body_may_end_without_done_once_every_choice_is_finished() -> None:
    assert run(chunk({"content": "a"}, "stop"), close=True)[-1] == END
    assert run(chunk({}, "stop"), chunk({"content": "b"}, index=1), close=True)[-1] == TRUNCATED
    assert run(chunk({}, "stop"), chunk({}, "stop", index=1), close=True)[-1] == END


def test_an_end_with_nothing_finished_is_a_truncation() -> None:
    assert run(close=True) == [TRUNCATED]
    assert run(chunk({"content": "a"}), close=True) == [Text("a"), TRUNCATED]
    assert run({"choices": [], "usage": {"prompt_tokens": 1}}, close=True)[-1] == TRUNCATED


def test_done_is_the_end_even_where_nothing_finished() -> None:
    assert run(chunk({"content": "a"}), b" [DONE] ", b"[DONE]", close=True) == [Text("a"), END, OPAQUE]


def test_a_frame_that_is_no_json_object_is_malformed() -> None:
    assert all(isinstance(e, Malformed) for e in run(b"", b"{", b"hello", b"[1]", b"5", b'{"choices": [}', b"\xff"))
