"""What the tests of splicing share: what a client has of some events, and its answer put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from midstream.dialects.registry import DIALECTS
from midstream.events import End, Event, Failure
from midstream.healing.delivered import Delivered

type Policy = Literal["continue", "restart"]
POLICIES: tuple[Policy, ...] = ("restart", "continue")

READ_AND_WRITTEN = [dialect for dialect in DIALECTS if dialect.encoder is not None and dialect.decoder is not None]


def noted(events: Iterable[Event]) -> Delivered:
    delivered = Delivered()
    delivered.note(events)
    return delivered


def joined(events: Iterable[Event]) -> list[Event]:
    """Adjacent fragments together, and what ends an answer as well."""
    events = list(events)
    return noted(events).events + [event for event in events if isinstance(event, End | Failure)]
