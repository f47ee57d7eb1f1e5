"""Pushes metrics and spans by OTLP. The one file that needs OpenTelemetry, which is an optional extra.

The metrics are the very tallies that Prometheus scrapes, not a second count: recording each of a stream's gaps by the SDK would
take the counting thread milliseconds a stream.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from midstream.config import Config
from midstream.ledger import Account, Ledger
from midstream.watch.metrics import SERVICE, Metrics, release
from midstream.watch.names import Instrument
from midstream.watch.otel_settings import Settings
from midstream.watch.spans import Span, span_of
from midstream.watch.tallies import Family, Labels, Point

log = logging.getLogger(__name__)

CLOSE_SECONDS = 3.0
"""How long the end waits for a collector to take the last of it."""


class Otlp:
    """`close` sends what is left."""

    def __init__(self, settings: Settings, ledger: Ledger, metrics: Metrics, config: Callable[[], Config]) -> None:
        resource = _resource()
        self._ledger = ledger
        self._config = config
        self._spans = _Spans(resource) if settings.traces else None
        self._pusher = _Pusher(settings, metrics, resource) if settings.metrics else None
        if self._spans is not None:
            ledger.watchers.append(self._ended)

    def _ended(self, account: Account) -> None:
        """In the counting thread: a stream is over."""
        if self._spans is not None:
            self._spans.send(span_of(account, self._config()), account.trace)

    def close(self) -> None:
        """Blocks, for some seconds at most. Called once the ledger has told of the last stream."""
        if self._ended in self._ledger.watchers:
            self._ledger.watchers.remove(self._ended)
        ends = [one.close for one in (self._spans, self._pusher) if one is not None]
        threads = [threading.Thread(target=end, daemon=True, name="midstream-otlp-end") for end in ends]
        for thread in threads:
            thread.start()
        until = time.monotonic() + CLOSE_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def _resource() -> Resource:
    """Who we are; what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes first."""
    own = {"service.name": SERVICE, "service.version": release(), "service.instance.id": str(uuid.uuid4())}
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})


class _Spans:
    def __init__(self, resource: Resource) -> None:
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SERVICE, release())
        self._propagator = TraceContextTextMapPropagator()

    def send(self, span: Span, traceparent: str) -> None:
        """traceparent: of the app's request, so that the span stands in the app's own trace; "" begins one."""
        carrier = {"traceparent": traceparent} if traceparent else {}
        self._record(span, self._propagator.extract(carrier, context=Context()))

    def _record(self, span: Span, context: Context) -> None:
        recorded = self._tracer.start_span(
            span.name, context, trace.SpanKind.CLIENT, attributes=span.attributes, start_time=span.began
        )
        for child in span.children:
            self._record(child, trace.set_span_in_context(recorded, context))
        if span.error:
            recorded.set_status(trace.StatusCode.ERROR)
        recorded.end(span.ended)

    def close(self) -> None:
        self._provider.shutdown()


class _Pusher:
    """A thread that pushes the tallies every so often."""

    def __init__(self, settings: Settings, metrics: Metrics, resource: Resource) -> None:
        self._metrics = metrics
        self._interval = settings.interval
        self._encoder = Encoder(resource, delta=settings.delta)
        self._exporter = OTLPMetricExporter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="midstream-otlp")
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            self._push()
        self._push()
        self._exporter.shutdown()

    def _push(self) -> None:
        """What a collector does not take is in the next push: the sum since the start, or since the last that arrived."""
        try:
            families, now = self._metrics.families(), time.time_ns()
            if self._exporter.export(self._encoder.encode(families, now)) is otel.MetricExportResult.SUCCESS:
                self._encoder.arrived(families, now)
        except Exception:
            log.exception("metrics could not be pushed")

    def close(self) -> None:
        self._over.set()
        self._thread.join()


class Encoder:
    """Tallies → what OpenTelemetry's exporter takes. delta: only what came since the last that `arrived`."""

    def __init__(self, resource: Resource, *, delta: bool = False) -> None:
        self._resource = resource
        self._delta = delta
        self._began = time.time_ns()
        self._before: dict[tuple[Instrument, Labels], Point] = {}

    def encode(self, families: Sequence[Family], now: int) -> otel.MetricsData:
        """now: nanoseconds since 1970."""
        metrics = [self._metric(family, now) for family in families if family.points]
        scope = otel.ScopeMetrics(InstrumentationScope(SERVICE, release()), metrics, "")
        return otel.MetricsData([otel.ResourceMetrics(self._resource, [scope], "")])

    def arrived(self, families: Sequence[Family], now: int) -> None:
        """These need not be sent again."""
        if self._delta:
            self._began = now
            self._before = {(one, labels): point for one, points in families for labels, point in points.items()}

    def _metric(self, family: Family, now: int) -> otel.Metric:
        instrument, points = family
        made = partial(otel.Metric, instrument.name, instrument.about, instrument.unit)
        summed = instrument.kind in ("counter", "histogram")
        new = {labels: self._since(instrument, labels, point) if summed else point for labels, point in points.items()}
        if instrument.kind == "histogram":
            counted = [self._histogram(instrument, labels, point, now) for labels, point in new.items()]
            return made(otel.Histogram(counted, self._temporality))
        numbers = [otel.NumberDataPoint(dict(labels), self._began, now, point.value) for labels, point in new.items()]
        if instrument.kind == "counter":
            return made(otel.Sum(numbers, self._temporality, True))
        if instrument.kind == "up_down":
            return made(otel.Sum(numbers, AggregationTemporality.CUMULATIVE, False))
        return made(otel.Gauge(numbers))

    @property
    def _temporality(self) -> AggregationTemporality:
        return AggregationTemporality.DELTA if self._delta else AggregationTemporality.CUMULATIVE

    def _since(self, instrument: Instrument, labels: Labels, point: Point) -> Point:
        before = self._before.get((instrument, labels))
        if before is None:
            return point
        return Point(point.value - before.value, [a - b for a, b in zip(point.counts, before.counts, strict=True)])

    def _histogram(self, instrument: Instrument, labels: Labels, point: Point, now: int) -> otel.HistogramDataPoint:
        return otel.HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=self._began,
            time_unix_nano=now,
            count=point.count,
            sum=point.value,
            bucket_counts=point.counts,
            explicit_bounds=instrument.buckets,
            min=None,  # type: ignore[arg-type]  # not known, which OTLP allows
            max=None,  # type: ignore[arg-type]
        )
