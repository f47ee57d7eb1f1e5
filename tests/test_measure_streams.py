"""What measure_streams leaves alone; what it measures: end_to_end/test_measure.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mitmproxy.test import taddons

from measure_streams import MeasureStreams
from midstream.ledger import Ledger
from midstream.recording import read
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
