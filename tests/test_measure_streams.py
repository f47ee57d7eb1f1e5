"""What measure_streams leaves alone; what it measures: end_to_end/test_measure.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from mitmproxy.test import taddons

from measure_streams import MeasureStreams
from midstream import flows
from midstream.ledger import Ledger
from midstream.recording import read
from midstream.store.database import StoreWriter
from recorded_flows import flow_of

RECORDING = Path(__file__).parent.parent / "recordings" / "openai_chat" / "plain_text.jsonl"


def test_a_flow_out_of_a_file_is_no_stream(tmp_path: Path) -> None:
    """mitmproxy calls the hooks for saved flows too, when it loads them."""
    addon, flow = MeasureStreams(), flow_of(read(RECORDING))
    with taddons.context(addon) as context:
        context.configure(addon, midstream_db=str(tmp_path / "streams.db"))
        ledger = Ledger.at(tmp_path / "streams.db")
        assert ledger is not None
        metadata = dict(flow.metadata)
        addon.request(flow)
        addon.responseheaders(flow)
        assert not ledger.live
        assert flow.metadata == metadata
        assert flow.response is not None
        assert not flow.response.stream
        asyncio.run(addon.done())


def test_a_stream_that_the_relay_takes_over_at_once_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To write that it began, or that it is forgotten, is to wake the store's thread for nothing, with each request."""
    addon, flow, told = MeasureStreams(), flow_of(read(RECORDING)), list[str]()
    flow.live, flow.response = True, None
    for name in ("started", "forgotten"):
        monkeypatch.setattr(StoreWriter, name, lambda *_, name=name: told.append(name))

    async def ask(*, relayed: bool) -> None:
        flow.metadata.pop(flows.RELAYED, None)
        addon.request(flow)
        if relayed:
            flow.metadata[flows.RELAYED] = True
        await asyncio.sleep(0)
        addon._leave_to_relay(flow)

    with taddons.context(addon) as context:
        context.configure(addon, midstream_db=str(tmp_path / "streams.db"))
        asyncio.run(ask(relayed=True))
        assert told == []
        asyncio.run(ask(relayed=False))
        assert told == ["started", "forgotten"]
        asyncio.run(addon.done())
