"""Tickets, and the relay that takes them: each opens the relay once, and soon."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp

from midstream.ledger import Ledger
from midstream.relay.job import GatewayJob
from midstream.relay.server import Relay
from midstream.relay.tickets import HEADER, LIFETIME, LIMIT, Tickets
from midstream.relay.upstream import UpstreamOptions


def test_a_ticket_is_good_once() -> None:
    issued: Tickets[str] = Tickets()
    ticket = issued.issue("job", 0.0)
    assert issued.redeem(ticket, 1.0) == "job"
    assert issued.redeem(ticket, 1.0) is None


def test_a_ticket_is_good_for_a_while() -> None:
    issued: Tickets[str] = Tickets()
    early, late = issued.issue("early", 0.0), issued.issue("late", 1.0)
    assert issued.redeem(early, LIFETIME + 0.5) is None
    assert issued.redeem(late, LIFETIME + 0.5) == "late"


def test_tickets_are_bounded_and_the_oldest_go_first() -> None:
    issued: Tickets[int] = Tickets()
    all_ = [issued.issue(n, 0.0) for n in range(LIMIT + 1)]
    assert len(issued) == LIMIT
    assert issued.redeem(all_[0], 0.0) is None
    assert issued.redeem(all_[-1], 0.0) == LIMIT


def test_no_two_tickets_are_alike() -> None:
    issued: Tickets[int] = Tickets()
    assert len({issued.issue(n, 0.0) for n in range(1000)}) == 1000
    assert issued.redeem("", 0.0) is None


def test_the_relay_refuses_a_ticket_that_was_used_or_is_too_old(tmp_path: Path) -> None:
    async def body() -> list[int]:
        relay = Relay(UpstreamOptions(), ledger)
        await relay.start()
        host, port = relay.address
        job = GatewayJob(peer="127.0.0.1", authority="localhost")
        old = relay.tickets.issue(job, time.monotonic() - LIFETIME - 1)
        good = relay.admit(job)
        statuses = []
        async with aiohttp.ClientSession() as session:
            for ticket in (old, good, good, "", "x" * 43, "\xe4"):
                async with session.get(f"http://{host}:{port}/healthz", headers={HEADER: ticket}) as response:
                    statuses.append(response.status)
        await relay.stop()
        return statuses

    ledger = Ledger.of(tmp_path / "streams.db")
    try:
        assert asyncio.run(body()) == [403, 200, 403, 403, 403, 403]
    finally:
        ledger.shut()
