"""Serve the live page at the gateway's `/` and Prometheus at `/metrics`; push to OpenTelemetry as OTEL_* say.

    mitmdump -s addons/relay_streams.py -s addons/watch_streams.py --mode regular --mode reverse:http://midstream.internal@8081

Then http://127.0.0.1:8081/, or http://midstream.internal/ through the proxy. The gateway is relay_streams.py's: without it there
is nothing to serve the page on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence

from mitmproxy import command, ctx, exceptions, types
from mitmproxy.addonmanager import Loader
from mitmproxy.flow import Flow
from mitmproxy.proxy import mode_specs

from midstream import flows
from midstream import ledger as ledgers
from midstream.config import Config
from midstream.config.in_force import InForce
from midstream.relay import access, pages
from midstream.relay.drain import drain
from midstream.watch import otel, tables
from midstream.watch.content import WordsOfStreams
from midstream.watch.live_page import LivePage
from midstream.watch.metrics import Metrics

log = logging.getLogger(__name__)

CONTENT_OPTION = (
    "midstream_content",
    bool,
    False,
    "Show on the live page what streams say, prompts and answers; kept in memory, written nowhere.",
)


class WatchStreams:
    """The addon: serves what people and their tools watch the streams by."""

    def __init__(self) -> None:
        self._ledger: ledgers.Ledger | None = None
        self._in_force = InForce.of("")
        self._serving = contextlib.ExitStack()
        self._feeding: asyncio.Task[None] | None = None
        self._metrics: Metrics | None = None
        self._words: WordsOfStreams | None = None
        self._stop_pushing: Callable[[], None] | None = None

    def load(self, loader: Loader) -> None:
        loader.add_option(*flows.DB_OPTION)
        loader.add_option(*flows.CONFIG_OPTION)
        loader.add_option(*CONTENT_OPTION)

    def configure(self, updated: set[str]) -> None:
        with flows.refused_as(exceptions.OptionsError):
            if "midstream_config" in updated:
                self._in_force = flows.in_force(ctx.options)
            if "midstream_db" in updated and self._ledger is None:
                self._ledger = ledgers.Ledger.of(flows.db_path(ctx.options.midstream_db))
        if "midstream_content" in updated and self._ledger is not None:
            self._listen(self._ledger) if ctx.options.midstream_content else self._forget(self._ledger)

    def _listen(self, ledger: ledgers.Ledger) -> None:
        """From now on: what streams say that run already is not shown."""
        if self._words is None:
            self._words = WordsOfStreams()
            ledger.opened.append(self._words.open)
            ledger.watchers.append(self._words.close)

    def _forget(self, ledger: ledgers.Ledger) -> None:
        if self._words is not None:
            ledger.opened.remove(self._words.open)
            ledger.watchers.remove(self._words.close)
            self._words.clear()
            self._words = None

    async def running(self) -> None:
        if self._ledger is None:
            return
        metrics = self._metrics = Metrics(self._ledger, self._config)
        self._stop_pushing = otel.start(os.environ, self._ledger, metrics, self._config)
        if ctx.master.addons.get("relaystreams") is None:
            log.warning(
                "the live page and /metrics need the gateway: load relay_streams.py (or all.py) beside watch_streams.py"
            )
            return
        db = flows.db_path(ctx.options.midstream_db)
        page = LivePage(self._ledger, db, self._config, lambda: self._words)
        self._serving.enter_context(pages.serving(metrics.pages()))
        self._serving.enter_context(pages.serving(page.pages(), without_key=page.open()))
        self._feeding = asyncio.create_task(page.feed.run())
        log.info("midstream's live page: %s", _address())

    def _config(self) -> Config:
        return self._in_force.config

    @command.command("midstream.stats")  # type: ignore[untyped-decorator]  # mitmproxy says no more of it
    def stats(self, by: str = "model", hours: int = 24) -> types.Data:
        """What the streams of the last hours add up to, by model, provider, app or hour."""
        try:
            return _data(tables.stats(flows.db_path(ctx.options.midstream_db), by, hours))
        except ValueError as error:
            raise exceptions.CommandError(f"midstream.stats: {error}") from error

    @command.command("midstream.targets")  # type: ignore[untyped-decorator]  # mitmproxy says no more of it
    def targets(self) -> types.Data:
        """The health of each target: its circuit breaker, its failures in a row, and when it is asked again."""
        return _data(tables.targets(self._config()))

    @command.command("midstream.cancel")  # type: ignore[untyped-decorator]  # mitmproxy says no more of it
    def cancel(self, stream: str) -> types.Data:
        """End a stream that runs, by its id, the beginning of it, its flow's id, or by flows (@focus, a filter).
        Its provider is left, and its client gets an error in its own dialect."""
        try:
            found = [tables.running(id_) for id_ in _ids(stream)]
        except ValueError as error:
            raise exceptions.CommandError(f"midstream.cancel: {error}") from error
        for one in found:
            one.cancel()
        return _data([("cancelled",), *((one.shown.account.observation.record.id,) for one in found)])

    async def done(self) -> None:
        if self._ledger is not None:
            await drain(self._ledger, self._config().streams.drain)
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)
        self._serving.close()
        if self._ledger is not None:
            self._ledger.shut()
        if self._stop_pushing is not None:
            await asyncio.to_thread(self._stop_pushing)  # now that the ledger has told of the last stream
        if self._metrics is not None:
            self._metrics.close()


def _data(table: tables.Table) -> types.Data:
    return [list(row) for row in table]  # type: ignore[return-value]  # that is all that mitmproxy asks of it


def _ids(stream: str) -> Sequence[str]:
    """The ids of streams that somebody means, who may know their flows only."""
    if ctx.master.addons.get("view") is None:
        return [stream]
    if stream.startswith(("@", "~", "!", "(")):
        shown: Sequence[Flow] = ctx.master.commands.call("view.flows.resolve", stream)
    else:
        shown = [one for one in ctx.master.addons.get("view") if one.id == stream]
    return [str(one.metadata.get(flows.STREAM, one.id)) for one in shown] or [stream]


def _address() -> str:
    """Where a browser finds it: on a listener of the gateway's own, if there is one."""
    for mode in map(mode_specs.ProxyMode.parse, ctx.options.mode):
        if isinstance(mode, mode_specs.ReverseMode) and mode.address[0] == access.GATEWAY_HOST:
            port = mode.custom_listen_port or ctx.options.listen_port or mode.default_port
            return f"http://{mode.custom_listen_host or '127.0.0.1'}:{port}/"
    return f"http://{access.GATEWAY_HOST}/ through the proxy"


addons = [WatchStreams()]
