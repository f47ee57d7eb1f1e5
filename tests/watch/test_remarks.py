"""What is said of a stream that broke or was healed, and that nothing is said of any other."""

from __future__ import annotations

from midstream.events import END, Failure, Text
from midstream.observation import Observation, StreamRecord
from midstream.watch.remarks import LIMIT, remark_on


def observed() -> Observation:
    record = StreamRecord(id="0199", started_at="", provider="openai", model_requested="gpt-4o")
    observation = Observation(record, 0.0)
    observation.begin_attempt("openai", "gpt-4o", "", 0.0)
    return observation


def test_of_a_stream_that_went_well_or_whose_client_left_nothing_is_said() -> None:
    well, left, running = observed(), observed(), observed()
    well.feed([Text("a"), END], 1.0)
    well.settle("complete", 2.0)
    left.feed([Text("a")], 1.0)
    left.settle("client_gone", 2.0)
    running.feed([Text("a")], 1.0)
    assert [remark_on(one) for one in (well, left, running)] == [None, None, None]


def test_a_healed_stream_tells_where_it_broke_and_who_went_on() -> None:
    observation = observed()
    observation.feed([Text("a"), Text("b")], 1.0)
    observation.end_attempt("connection_error", 2.0, error="the connection was reset")
    observation.begin_attempt("anthropic", "claude-haiku-4-5", "", 2.0)
    observation.feed([Text("c"), END], 3.0)
    remark = remark_on(observation)  # not settled yet: mitmproxy may be done with the flow before
    assert remark is not None
    assert remark.kind == "healed"
    assert remark.text == (
        "midstream: healed: went on at anthropic/claude-haiku-4-5; "
        "openai/gpt-4o broke off after 2 pieces (connection_error, the connection was reset)"
    )
    observation.settle("complete", 3.0)
    assert remark_on(observation) == remark


def test_one_that_failed_before_its_first_token_says_who_answered() -> None:
    observation = observed()
    observation.end_attempt("server_error", 1.0, http_status=503, error="overloaded")
    observation.begin_attempt("openai", "gpt-4o-mini", "", 1.0)
    observation.feed([Text("c"), END], 3.0)
    observation.settle("complete", 3.0)
    remark = remark_on(observation)
    assert remark is not None
    assert remark.text == (
        "midstream: healed: answered by openai/gpt-4o-mini; openai/gpt-4o failed (HTTP 503 server_error, overloaded)"
    )


def test_a_broken_stream_says_how_far_it_came() -> None:
    observation = observed()
    observation.feed([Text("a"), Failure("the stream ended before its terminal event", type="truncated")], 1.0)
    observation.settle("complete", 2.0)
    remark = remark_on(observation)
    assert remark is not None
    assert remark.kind == "broken"
    assert remark.text == (
        "midstream: truncated: openai/gpt-4o after 1 piece: truncated, the stream ended before its terminal event"
    )


def test_a_remark_is_short() -> None:
    observation = observed()
    for n in range(20):
        observation.end_attempt("server_error", n, http_status=500, error="x" * 200)
        observation.begin_attempt("openai", "gpt-4o", "", n)
    observation.settle("failed", 30.0, error_type="server_error", error="y" * 250)
    remark = remark_on(observation)
    assert remark is not None
    assert len(remark.text) == LIMIT
