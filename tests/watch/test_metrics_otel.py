"""What OpenTelemetry is told: whether, by which names, and nothing that was said."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource

from midstream.config import Config
from midstream.watch import names, otel, otlp
from midstream.watch.otel_settings import Settings, settings_of
from midstream.watch.spans import span_of
from midstream.watch.tallies import SERIES, Tallies
from watch.test_metrics import Ledger, account, healed, whole

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def test_nothing_is_sent_unless_asked_for() -> None:
    assert settings_of({}) is None
    assert settings_of({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}) is None
    assert settings_of({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}) is None


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, (True, True)),
        ({"OTEL_METRICS_EXPORTER": "none"}, (False, True)),
        ({"OTEL_TRACES_EXPORTER": "none"}, (True, False)),
        ({"OTEL_TRACES_EXPORTER": "console,otlp"}, (True, True)),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, (True, True)),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, (True, False)),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf"},
            (True, False),
        ),
    ],
)
def test_which_signals_are_sent(env: dict[str, str], expected: tuple[bool, bool]) -> None:
    settings = settings_of(ENDPOINT | env)
    assert settings is not None
    assert (settings.metrics, settings.traces) == expected


def test_an_endpoint_of_one_signal_asks_for_that_one() -> None:
    settings = settings_of({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"})
    assert settings == Settings(False, True, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def test_another_protocol_is_said_to_be_none_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    assert settings_of(ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) is None
    assert "http/protobuf" in caplog.text
    assert "'grpc'" in caplog.text


@pytest.mark.parametrize(
    ("said", "seconds"), [("500", 0.5), ("", 60.0), ("0", 60.0), ("-1", 60.0), ("soon", 60.0), ("²", 60.0)]
)
def test_the_interval_is_in_milliseconds(said: str, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_of(ENDPOINT | {"OTEL_METRIC_EXPORT_INTERVAL": said})
    assert settings is not None
    assert settings.interval == seconds
    assert bool(caplog.records) == (seconds == 60.0 and said != "")


def test_a_missing_extra_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delitem(sys.modules, "midstream.watch.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    nothing: Any = None
    assert otel.start(ENDPOINT, nothing, nothing, Config.default) is None
    assert [r.levelno for r in caplog.records] == [logging.WARNING]  # an error would make mitmdump exit
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set" in caplog.text
    assert "pip install 'midstream[otel]'" in caplog.text


def test_what_the_sdk_cannot_do_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nonsense")
    ledger: Any = Ledger()
    nothing: Any = None
    env = ENDPOINT | {"OTEL_METRICS_EXPORTER": "none"}
    assert otel.start(env, ledger, nothing, Config.default) is None
    assert ledger.watchers == []
    assert "could not be started" in caplog.text


def encoded(encoder: otlp.Encoder, tallies: Tallies, now: int = 2_000) -> dict[str, Any]:
    """By name, as they go over the wire."""
    request = encode_metrics(encoder.encode(tallies.families(), now))
    return {metric.name: metric for scope in request.resource_metrics[0].scope_metrics for metric in scope.metrics}


CALL = ((names.OPERATION, "chat"), (names.PROVIDER, "openai"), (names.PORT, 443))


def test_metrics_on_the_wire() -> None:
    tallies = Tallies()
    tallies.observe(names.DURATION, CALL, 0.02)
    tallies.observe(names.DURATION, CALL, 100.0)
    tallies.add(names.COST, CALL[:2], 0.5)
    found = encoded(otlp.Encoder(Resource({})), tallies)
    metric = found["gen_ai.client.operation.duration"]
    assert metric.unit == "s"
    point = metric.histogram.data_points[0]
    assert (point.count, point.sum) == (2, 100.02)
    assert list(point.explicit_bounds) == list(names.SECONDS)
    assert list(point.bucket_counts) == [0, 1, *[0] * 12, 1]
    assert not point.HasField("min")
    assert metric.histogram.aggregation_temporality == 2  # cumulative
    assert {a.key: a.value.WhichOneof("value") for a in point.attributes} == {
        "gen_ai.operation.name": "string_value",
        "gen_ai.provider.name": "string_value",
        "server.port": "int_value",
    }
    cost = found["midstream.cost"]
    assert (cost.unit, cost.sum.is_monotonic, cost.sum.data_points[0].as_double) == ("USD", True, 0.5)


def test_cumulative_sums_grow() -> None:
    tallies, encoder = Tallies(), otlp.Encoder(Resource({}))
    for count in (1, 2):
        tallies.add(names.COST, ())
        found = encoded(encoder, tallies)
        encoder.arrived(tallies.families(), 2_000)
        assert found["midstream.cost"].sum.data_points[0].as_double == count


def test_deltas_are_what_came_since_the_last_that_arrived() -> None:
    tallies, encoder = Tallies(), otlp.Encoder(Resource({}), delta=True)
    tallies.add(names.COST, ())
    tallies.observe(names.DURATION, (), 1.0)
    encoded(encoder, tallies, 1_000)  # nobody took it
    tallies.add(names.COST, ())
    first = encoded(encoder, tallies, 2_000)
    encoder.arrived(tallies.families(), 2_000)
    assert first["midstream.cost"].sum.data_points[0].as_double == 2
    assert first["midstream.cost"].sum.aggregation_temporality == 1  # delta
    tallies.observe(names.DURATION, (), 3.0)
    second = encoded(encoder, tallies, 3_000)
    assert second["midstream.cost"].sum.data_points[0].as_double == 0
    point = second["gen_ai.client.operation.duration"].histogram.data_points[0]
    assert (point.count, point.sum, point.start_time_unix_nano, point.time_unix_nano) == (1, 3.0, 2_000, 3_000)


def test_the_bound_on_label_sets_holds_here_too() -> None:
    tallies = Tallies()
    for n in range(SERIES * 2):
        tallies.add(names.COST, ((names.ASKED, f"m{n}"),))
    points = encoded(otlp.Encoder(Resource({})), tallies)["midstream.cost"].sum.data_points
    assert len(points) == SERIES + 1
    assert sum(point.as_double for point in points) == SERIES * 2


def test_a_span_by_the_conventions_names() -> None:
    span = span_of(whole(gaps=(0.1,), cost=0.25, key="k"), Config.default())
    assert span.name == "chat gpt-4o"
    assert span.ended - span.began == 700_000_000
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "gpt-4o-2024",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 60,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "server.address": "api.openai.com",
        "server.port": 443,
        "midstream.outcome": "complete",
        "midstream.cost": 0.25,
        "midstream.key": "k",
    }
    assert expected.items() <= span.attributes.items()
    assert "error.type" not in span.attributes
    assert (span.error, span.children) == ("", [])


def test_a_span_without_a_model_is_named_by_its_operation() -> None:
    assert span_of(whole(model_requested=""), Config.default()).name == "chat"


def test_attempts_are_children_that_count_for_no_call_of_their_own() -> None:
    span = span_of(healed(), Config.default())
    first, second = span.children
    assert first.name == "midstream.attempt"
    assert first.error == first.attributes["error.type"] == "connection_error"
    assert first.attributes["midstream.attempt.next"] == "asks backup/small"
    assert second.attributes["gen_ai.provider.name"] == "backup"
    assert second.began - first.began == 400_000_000
    assert not [name for child in span.children for name in child.attributes if name.startswith("gen_ai.usage")]
    assert (span.error, span.attributes["midstream.breaks"], span.attributes["midstream.reroutes"]) == ("", 1, 1)


def test_a_failed_stream_is_a_failed_span_without_the_providers_words() -> None:
    from midstream.events import Failure

    span = span_of(account(Failure("your prompt 'xyzzy' is bad", type="server_error")), Config.default())
    assert span.error == span.attributes["error.type"] == "server_error"
    assert "xyzzy" not in str(span)


def test_nothing_that_was_said_is_told() -> None:
    from midstream.events import END, Text

    said = account(Text("a secret answer"), END, error="about a secret prompt")
    assert "secret" not in str(span_of(said, Config.default()))
