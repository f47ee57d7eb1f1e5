"""What tools are told of real streams: a scrape of /metrics, and OTLP at a collector. The numbers agree, no words are in them."""

from __future__ import annotations

import json
import queue
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from end_to_end import gateway_chats as chats
from end_to_end.gateway_chats import WHOLE, answering
from end_to_end.harness import ADDONS, DEADLINE, Authority, Handler, Provider, Proxy, cut_after

CONFIG = """
[providers.openai]
api_key = "sk-the-providers-own"
[[routes]]
model = "gpt-4o*"
targets = ["openai"]
on_break = "continue"
backoff = { base = 0.01, max = 0.01 }
"""
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALL = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}
CALL |= {"gen_ai.response.model": "gpt-4o-mini-2024", "server.address": "api.openai.com"}

type Numbers = dict[str, float]


class Collector:
    """Takes what is pushed to it."""

    def __init__(self, authority: Authority) -> None:
        self._server = Provider(authority, tls=False)
        self._server.handler = self._take
        self.url = f"http://127.0.0.1:{self._server.port}"
        self.metrics: queue.Queue[ExportMetricsServiceRequest] = queue.Queue()
        self.spans: list[Any] = []
        self.bytes = b""
        self.stop = self._server.stop

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bytes += body
        assert request.headers["content-type"] == "application/x-protobuf"
        if request.path == "/v1/metrics":
            self.metrics.put(ExportMetricsServiceRequest.FromString(body))
        else:
            assert request.path == "/v1/traces"
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.spans += [span for scope in of_resource.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")


@pytest.fixture(scope="module")
def collector(authority: Authority) -> Iterator[Collector]:
    collector = Collector(authority)
    yield collector
    collector.stop()


@pytest.fixture(scope="module")
def told(
    collector: Collector,
    authority: Authority,
    provider: Provider,
    confdir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A scrape after one stream that was healed; the collector has been told all when mitmdump has stopped."""
    folder = tmp_path_factory.mktemp("told")
    watch = ("-s", str(ADDONS / "watch_streams.py"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        proxy = chats.gateway_proxy(folder, authority, provider, confdir, CONFIG, *watch)
    try:
        provider.handler = _breaking_once()
        _ask(proxy)
        proxy.rows(1, "outcome = 'complete' and breaks = 1")
        with _direct().open(f"{chats.url_of(proxy)}/metrics", timeout=DEADLINE) as response:
            assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
            return str(response.read().decode())
    finally:
        proxy.stop()


def _breaking_once() -> Handler:
    first, rest = cut_after(*WHOLE[:4]), answering(WHOLE[0], *WHOLE[4:])
    asked: list[int] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(1)
        return await (first if len(asked) == 1 else rest)(request)

    return handler


def _direct() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _ask(proxy: Proxy) -> None:
    """As an app does that keeps its provider's address, through the proxy, within a trace of its own."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "secret words"}], "stream": True}
    headers = {"content-type": "application/json", "user-agent": "an-app/1.0", "authorization": "Bearer sk-callers"}
    headers["traceparent"] = f"00-{TRACE}-{PARENT}-01"
    url = "https://api.openai.com/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    way = urllib.request.ProxyHandler({"https": proxy.url})
    trust = urllib.request.HTTPSHandler(context=proxy.client_context())
    with urllib.request.build_opener(way, trust).open(request, timeout=DEADLINE) as response:
        assert b"[DONE]" in response.read()


def _scraped(text: str) -> Numbers:
    """Counts by the metric's name; of several label sets the sum."""
    found: Numbers = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith("_bucket"):
                found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def _pushed(collector: Collector) -> tuple[dict[str, str], dict[str, Any]]:
    """The resource, and the metrics by name, of the last push."""
    last = collector.metrics.get(timeout=DEADLINE)
    while not collector.metrics.empty():
        last = collector.metrics.get()
    [of_resource] = last.resource_metrics
    resource = {one.key: one.value.string_value for one in of_resource.resource.attributes}
    return resource, {one.name: one for scope in of_resource.scope_metrics for one in scope.metrics}


def _attributes(point: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in point.attributes}


def test_a_scrape_tells_of_the_call_its_break_and_both_attempts(told: str) -> None:
    found = _scraped(told)
    assert found["gen_ai_client_operation_duration_seconds_count"] == 1
    assert found["gen_ai_client_operation_time_to_first_chunk_seconds_count"] == 1
    assert found["gen_ai_client_operation_time_per_output_chunk_seconds_count"] == 5  # gaps between six words
    assert found["gen_ai_client_token_usage_count"] == 4  # input and output, of two attempts
    assert found["midstream_attempts_total"] == 2
    assert found["midstream_breaks_total"] == 1
    assert found["midstream_breaker_state"] == 0
    assert "secret" not in told


def test_the_collector_is_told_the_same(told: str, collector: Collector) -> None:
    resource, metrics = _pushed(collector)
    assert resource["service.name"] == "midstream"
    assert resource["deployment.environment.name"] == "test"
    duration = metrics["gen_ai.client.operation.duration"]
    assert duration.unit == "s"
    [point] = duration.histogram.data_points
    assert CALL.items() <= _attributes(point).items()
    assert _attributes(point)["server.port"] == 443
    assert list(point.explicit_bounds)[:3] == [0.01, 0.02, 0.04]
    scraped = _scraped(told)
    for name, family in metrics.items():
        if family.WhichOneof("data") == "histogram":
            series = name.replace(".", "_") + {"s": "_seconds"}.get(family.unit, "")
            assert scraped[f"{series}_count"] == sum(one.count for one in family.histogram.data_points), name
    billed = {
        _attributes(p)["gen_ai.token.type"]: p.sum for p in metrics["gen_ai.client.token.usage"].histogram.data_points
    }
    assert set(billed) == {"input", "output"}
    assert billed["output"] > 7  # what the whole answer has, and what the broken one had already cost


def test_spans_stand_in_the_apps_own_trace_with_a_child_for_each_attempt(told: str, collector: Collector) -> None:
    by_name = {span.name: span for span in collector.spans}
    call = by_name["chat gpt-4o-mini"]
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)
    said = _attributes(call)
    assert CALL.items() <= said.items()
    assert said["gen_ai.request.stream"] is True
    assert 0 < said["gen_ai.response.time_to_first_chunk"] < DEADLINE
    assert (said["midstream.breaks"], said["midstream.attempts"]) == (1, 2)
    children = [span for span in collector.spans if span.parent_span_id == call.span_id]
    assert [_attributes(child).get("error.type") for child in children] == ["connection_error", None]


def test_no_words_and_no_credentials_are_pushed(told: str, collector: Collector) -> None:
    assert collector.bytes
    for kept in (b"secret words", b"sk-", *(word.strip().encode() for word in chats.WORDS if len(word) > 4)):
        assert kept not in collector.bytes
