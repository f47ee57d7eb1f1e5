"""An addon for the soak alone: shows at the gateway's /inside what mitmdump and midstream hold at the moment.

mitmdump -s addons/all.py -s tests/bench/soak_inside.py
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import time
from collections import Counter
from typing import Any

from aiohttp import web
from mitmproxy import ctx

from midstream.relay import pages, server
from midstream.relay.access import Caller
from midstream.relay.exchange import Exchange
from midstream.relay.spool import _Segment


def tasks() -> dict[str, int]:
    """By name, less the numbers and ids in it."""
    names = (getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())
    return dict(Counter(names))


def files() -> dict[str, int]:
    kinds: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        kinds[
            "socket" if path.startswith("socket:") else "spool" if "/midstream-" in path or "/#" in path else "file"
        ] += 1
    return dict(kinds)


def memory() -> int:
    """KiB, once all that can be given back has been."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def kinds() -> dict[str, int]:
    """How many objects there are of each type."""
    return dict(
        Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects()).most_common(400)
    )


def held() -> dict[str, int]:
    relay: Any = server.RUNNING[0]
    addon: Any = ctx.master.addons.get("relaystreams")
    measure: Any = ctx.master.addons.get("measurestreams")
    record: Any = ctx.master.addons.get("recordstreams")
    ledger, gateway, reattach = relay._ledger, relay._gateway, relay._reattach
    return {
        "streams in flight": len(ledger.live),
        "rows waiting": ledger._waiting,
        "gateway streams": len(gateway.streams._streams),
        "reattachable streams": sum(map(len, reattach._streams.values())),
        "detached streams": len(reattach._detached),
        "tickets": len(relay.tickets),
        "deliveries": len(relay.means.delivering),
        "answers without a connection": len(relay.directs),
        "flows at the relay": len(addon._originals) + len(addon._passing) + len(addon._arrivals),
        "flows measured": len(measure._streams) + len(measure._sessions),
        "flows recorded": sum(len(value) for value in vars(record).values() if isinstance(value, dict)),
        "client connections": len(ctx.master.addons.get("proxyserver").connections),
        "provider connections": sum(
            one[0].is_connected() for pool in relay.means.upstream._session.connector._conns.values() for one in pool
        ),
        "spool segments": sum(isinstance(one, _Segment) for one in gc.get_objects()),
    }


def breakers() -> dict[str, int]:
    limits = ctx.master.addons.get("relaystreams")._in_force.config.healing.limits
    return dict(Counter(breaker.state(limits, time.monotonic()) for _, _, breaker in server.breakers()))


async def inside(exchange: Exchange, caller: Caller) -> web.StreamResponse:
    kib = memory()
    body: dict[str, object] = {
        "memory": kib,
        "files": files(),
        "tasks": tasks(),
        "held": held(),
        "breakers": breakers(),
    }
    if exchange.request.query_string == "kinds":
        body["kinds"] = kinds()
    return exchange.json(200, body)


pages.PAGES["/inside"] = inside
