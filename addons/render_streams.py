"""Show LLM streams in mitmproxy as what was said; comment and mark the flows of those that broke or were healed.

    mitmdump -s addons/measure_streams.py -s addons/render_streams.py -w saved.flows      (or mitmweb)
    mitmdump -nr saved.flows --flow-detail 4 -s addons/render_streams.py

The content view "LLM stream" is chosen by itself. mitmproxy keeps no body that it streams: where somebody can look at flows
(mitmweb, the console, a file they are saved to), this keeps the first midstream_body_limit bytes of each, in mitmproxy's
memory only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from weakref import WeakKeyDictionary, WeakValueDictionary

from mitmproxy import contentviews, ctx, exceptions, hooks, http
from mitmproxy.addonmanager import Loader
from mitmproxy.flow import Flow

from midstream import flows, taps
from midstream import ledger as ledgers
from midstream.config.in_force import InForce
from midstream.dialects import registry
from midstream.providers import Owner
from midstream.watch.kept_body import KeptBody
from midstream.watch.readings import NOTES, REMARK, Readings
from midstream.watch.remarks import PREFIX, remark_on

log = logging.getLogger(__name__)

BODY_LIMIT = 1024 * 1024
"""Bytes of each body that are kept: some four thousand pieces of an answer, and few answers have more."""

TOTAL_LIMIT = 256 * 1024 * 1024
"""Bytes of all bodies kept here; beyond it those of the oldest flows go, and mitmproxy says that their content is missing."""

LOOK = 1.0
"""Seconds between two updates of a flow that grows while somebody may look at it."""

AT_ONCE = 20
"""Flows updated at each look, those whose turn was longest ago first: mitmweb hashes a flow's bodies for each update."""

PRIORITY = 3.0
"""mitmproxy's own views claim 2 at most."""

MARKS = {"healed": ":adhesive_bandage:", "broken": ":broken_heart:"}


class _View(contentviews.Contentview):
    """What mitmproxy shows."""

    name = "LLM stream"
    syntax_highlight = "yaml"

    def __init__(self, addon: RenderStreams) -> None:
        self._addon = addon

    def prettify(self, data: bytes, metadata: contentviews.Metadata) -> str:
        shown, readings = metadata.flow, self._addon.readings
        if not isinstance(shown, http.HTTPFlow):
            raise ValueError("an LLM stream is HTTP, or a WebSocket")
        if metadata.websocket_message is not None:
            return readings.message(shown, metadata.websocket_message)
        if metadata.http_message is not shown.response:
            raise ValueError("the answer is the stream, not what was asked")
        return readings.answer(shown, data, self._addon.notes(shown))

    def render_priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        shown, readings = metadata.flow, self._addon.readings
        if not isinstance(shown, http.HTTPFlow):
            return -1
        if metadata.websocket_message is not None:
            return PRIORITY if readings.shows_message(shown) else -1
        is_answer = metadata.http_message is not None and metadata.http_message is shown.response
        return PRIORITY if is_answer and readings.shows_answer(shown) else -1


class RenderStreams:
    """The addon: keeps bodies for whoever looks at flows, and says what became of them."""

    def __init__(self) -> None:
        self.readings = Readings(self._whose)
        self._in_force = InForce.of("")
        self._ledger: ledgers.Ledger | None = None
        self._growing: dict[str, tuple[http.HTTPFlow, KeptBody, int]] = {}
        self._accounts: dict[str, ledgers.Account] = {}
        self._kept: WeakKeyDictionary[http.HTTPFlow, int] = WeakKeyDictionary()
        self._flows: WeakValueDictionary[str, http.HTTPFlow] = WeakValueDictionary()
        self._looking: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def load(self, loader: Loader) -> None:
        loader.add_option(*flows.DB_OPTION)
        loader.add_option(*flows.CONFIG_OPTION)
        loader.add_option(
            "midstream_body_limit",
            int,
            BODY_LIMIT,
            "Bytes of each LLM stream's body that a flow keeps, where flows can be looked at. 0: none.",
        )
        contentviews.add(_View(self))

    def configure(self, updated: set[str]) -> None:
        if "midstream_config" in updated:
            with flows.refused_as(exceptions.OptionsError):
                self._in_force = flows.in_force(ctx.options)
        if ctx.options.midstream_body_limit < 0:
            raise exceptions.OptionsError(f"midstream_body_limit: {ctx.options.midstream_body_limit} is below 0")

    async def running(self) -> None:
        with contextlib.suppress(ValueError):  # said by the addon that measures
            self._ledger = ledgers.Ledger.at(flows.db_path(ctx.options.midstream_db))
        if self._ledger is not None:
            self._loop = asyncio.get_running_loop()
            self._ledger.watchers.append(self._told)
        if _has_view():
            self._looking = asyncio.create_task(self._look())

    def _whose(self, host: str) -> Owner | None:
        return self._in_force.whose(host)

    def notes(self, shown: http.HTTPFlow) -> dict[str, object] | None:
        """What goes with a body that still grows."""
        growing = self._growing.get(shown.id)
        return growing[1].notes() if growing is not None else None

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        response = flow.response
        if response is None or response.status_code == 101 or not flow.live:
            return
        self._remember(flow)
        if not self._keeps(flow, response):
            return
        began = time.monotonic() - max(0.0, time.time() - (flow.request.timestamp_end or time.time()))
        body = KeptBody(ctx.options.midstream_body_limit, began)
        self._growing[flow.id] = (flow, body, 0)
        response.stream = taps.chain(response.stream, lambda data: self._see(flow, body, data))

    def _keeps(self, flow: http.HTTPFlow, response: http.Response) -> bool:
        streams = registry.is_stream_type(response.headers.get("content-type", ""))
        if not (response.stream or streams) or not ctx.options.midstream_body_limit or not _can_be_seen():
            return False
        return flows.STREAM in flow.metadata or self.readings.match(flow) is not None

    def _see(self, flow: http.HTTPFlow, body: KeptBody, data: bytes) -> None:
        if data:
            body.add(data, time.monotonic())
        else:
            self._keep(flow)

    def _remember(self, flow: http.HTTPFlow) -> None:
        """Whose row it is: to be told how it ended."""
        stream = flow.metadata.get(flows.STREAM)
        if self._ledger is None or not stream or self._flows.get(stream) is flow:
            return
        self._flows[stream] = flow
        account = self._ledger.live.get(stream)
        if account is not None:
            self._accounts[flow.id] = account

    def _keep(self, flow: http.HTTPFlow) -> None:
        """The body has ended: what is kept of it belongs to the flow."""
        growing = self._growing.pop(flow.id, None)
        if growing is None or flow.response is None:
            return
        _, body, _ = growing
        if flow.response.raw_content is None or len(flow.response.raw_content) < body.kept:
            flow.response.raw_content = body.content()
        flow.metadata[NOTES] = body.notes()
        self._kept[flow] = body.kept
        self._make_room()

    def _make_room(self) -> None:
        total = sum(self._kept.values())
        for old, size in list(self._kept.items()):
            if total <= TOTAL_LIMIT:
                return
            total -= size
            del self._kept[old]
            if old.response is not None:
                old.response.raw_content = None

    def response(self, flow: http.HTTPFlow) -> None:
        self._end(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._remember(flow)
        self._keep(flow)
        self._end(flow)

    def _end(self, flow: http.HTTPFlow) -> None:
        account = self._accounts.pop(flow.id, None)
        if account is not None:
            _remark(flow, account)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        self._remember(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self._end(flow)

    def _told(self, account: ledgers.Account) -> None:
        """In the ledger's thread: a stream is settled."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # mitmproxy has ended
                self._loop.call_soon_threadsafe(self._settled, account)

    def _settled(self, account: ledgers.Account) -> None:
        """Some streams are settled only after mitmproxy is done with their flows."""
        flow = self._flows.pop(account.observation.record.id, None)
        if flow is not None and _remark(flow, account):
            _update([flow])

    async def _look(self) -> None:
        """Give flows that grow what has come of them, so that mitmweb and the console show it."""
        while True:
            await asyncio.sleep(LOOK)
            grown = [(flow, body) for flow, body, shown in self._growing.values() if body.kept > shown][:AT_ONCE]
            for flow, body in grown:
                del self._growing[flow.id]
                self._growing[flow.id] = (flow, body, body.kept)  # its next turn comes last
                if flow.response is not None:
                    flow.response.raw_content = body.content()
            if grown:
                _update([flow for flow, _ in grown])

    async def done(self) -> None:
        if self._ledger is not None and self._told in self._ledger.watchers:
            self._ledger.watchers.remove(self._told)
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)


def _remark(flow: http.HTTPFlow, account: ledgers.Account) -> bool:
    """Comment and mark a flow; return whether anything was said. What stands there from its user stays."""
    remark = remark_on(account.observation)
    if remark is None or flow.metadata.get(REMARK) == remark.text.removeprefix(PREFIX):
        return False
    flow.metadata[REMARK] = remark.text.removeprefix(PREFIX)
    if not flow.comment or flow.comment.startswith(PREFIX):
        flow.comment = remark.text
    flow.marked = flow.marked or MARKS[remark.kind]
    return True


def _update(changed: Sequence[Flow]) -> None:
    ctx.master.addons.trigger(hooks.UpdateHook(list(changed)))


def _has_view() -> bool:
    """Whether this mitmproxy has a page or a screen to look at flows."""
    return ctx.master.addons.get("view") is not None


def _can_be_seen() -> bool:
    """Whether anybody will see a flow's body: else nothing is kept of it."""
    options = ctx.options
    saved = options.save_stream_file or options.hardump
    return bool(saved) or _has_view() or getattr(options, "flow_detail", 0) >= 3


addons = [RenderStreams()]
