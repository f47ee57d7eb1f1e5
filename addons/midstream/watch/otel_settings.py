"""Whether OpenTelemetry is to be told, and where: what the standard OTEL_* variables say.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
Endpoints, headers, time-outs, compression, certificates, resource attributes, the sampler and the batches of spans are read by
OpenTelemetry's own SDK.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal, NamedTuple

log = logging.getLogger(__name__)

PROTOCOL = "http/protobuf"
"""The one that we speak, and the default."""

INTERVAL = 60.0
"""Seconds between two pushes of metrics, unless OTEL_METRIC_EXPORT_INTERVAL (in milliseconds) says otherwise."""


class Settings(NamedTuple):
    """because: the variable that asks for it. delta: counts since the last push instead of since the start."""

    metrics: bool
    traces: bool
    because: str
    interval: float = INTERVAL
    delta: bool = False


def settings_of(env: Mapping[str, str]) -> Settings | None:
    """What the environment asks for; None: nothing. What cannot be followed is logged."""
    if _said(env, "OTEL_SDK_DISABLED").lower() == "true":
        return None
    metrics, traces = _wanted(env, "METRICS"), _wanted(env, "TRACES")
    if not (metrics or traces):
        return None
    temporality = _said(env, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE").lower()
    delta = temporality in ("delta", "lowmemory")
    return Settings(bool(metrics), bool(traces), metrics or traces, _interval(env), delta)


def _wanted(env: Mapping[str, str], signal: Literal["METRICS", "TRACES"]) -> str:
    """The variable that says where to send this signal; "" where it is not to be sent."""
    own, common = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
    because = next((name for name in (own, common) if _said(env, name)), "")
    exporters = _said(env, f"OTEL_{signal}_EXPORTER") or "otlp"
    if not because or "otlp" not in [one.strip() for one in exporters.split(",")]:
        return ""
    protocol = _said(env, f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or _said(env, "OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in ("", PROTOCOL):
        log.warning("OTLP is sent as %s, not as %r: no %s are sent to %s", PROTOCOL, protocol, signal.lower(), because)
        return ""
    return because


def _interval(env: Mapping[str, str]) -> float:
    said = _said(env, "OTEL_METRIC_EXPORT_INTERVAL")
    if not said:
        return INTERVAL
    if said.isascii() and said.isdigit() and int(said[:12]) > 0:
        return int(said[:12]) / 1000
    log.warning("OTEL_METRIC_EXPORT_INTERVAL: %r is no number of milliseconds; it is %d", said[:50], INTERVAL * 1000)
    return INTERVAL


def _said(env: Mapping[str, str], name: str) -> str:
    return env.get(name, "").strip()
