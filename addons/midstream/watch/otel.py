"""OpenTelemetry, pushed where the environment asks for it: otel_settings.py reads that, otlp.py needs the extra `otel`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from midstream.config import Config
from midstream.ledger import Ledger
from midstream.watch.metrics import Metrics
from midstream.watch.otel_settings import settings_of

log = logging.getLogger(__name__)

MISSING = "%s is set, but OpenTelemetry is not installed, so nothing is sent: pip install 'midstream[otel]'"


def start(
    env: Mapping[str, str], ledger: Ledger, metrics: Metrics, config: Callable[[], Config]
) -> Callable[[], None] | None:
    """Push from now on, if the environment asks for it. Never raises: telemetry is no reason not to serve.

    Returns what sends the rest and ends it: to be called once the ledger has told of the last stream. It blocks, for some
    seconds at most. None: nothing is pushed.
    """
    settings = settings_of(env)
    if settings is None:
        return None
    try:
        from midstream.watch.otlp import Otlp
    except ImportError:
        log.warning(MISSING, settings.because)  # an error at its start makes mitmdump exit
        return None
    try:
        otlp = Otlp(settings, ledger, metrics, config)
    except Exception:  # whatever the SDK finds wrong in its variables
        log.warning("OpenTelemetry could not be started; nothing is sent", exc_info=True)
        return None
    log.info("midstream pushes OpenTelemetry to where %s says", settings.because)
    return otlp.close
