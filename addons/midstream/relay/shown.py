"""What one client has of one answer, over all its attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from midstream.attempts import add_up
from midstream.config import DEFAULT_ROUTE
from midstream.events import END, Event, Failure, Usage
from midstream.healing.delivered import Delivered
from midstream.ledger import Account, Ledger
from midstream.relay.ask import Ask
from midstream.relay.sink import Sink


@dataclass(slots=True)
class Shown:
    """What one client has of one answer, and how it gets more. Outlives the attempts.

    strict, careful: what the route wants. delivered: kept where it is strict, or where events are said, not bytes passed.
    billed: what the attempts before this one have cost. last: the last whole frames that were passed on, where the dialect can
    read on behind them. sealed: what was passed on is encoded, so that nothing of ours can follow it.
    """

    ask: Ask
    account: Account
    ledger: Ledger
    sink: Sink
    begun: bool = False
    ended: bool = False
    delivered: Delivered = field(default_factory=Delivered)
    billed: asyncio.Task[Usage] | None = None
    last: bytes = b""
    sealed: bool = False

    @property
    def strict(self) -> bool:
        """Whether a route says what a break leads to. Without one a stream passes as its provider sends it, whatever it lacks."""
        return self.ask.route is not DEFAULT_ROUTE

    @property
    def careful(self) -> bool:
        """Whether a break shall be healed: then frames are looked at before they are passed on."""
        if self.sealed or self.ask.route.on_break == "error":
            return False
        return not self.sink.takes_bytes or self.ask.dialect.resume is not None

    @property
    def choices(self) -> int:
        """How many answers were asked for at once."""
        try:
            return self.ask.read().choices
        except ValueError:
            return 1

    @property
    def finished(self) -> bool:
        """Whether the client has all but the terminal event."""
        return self.delivered.finished(self.choices)

    async def say(self, events: Sequence[Event]) -> None:
        """Write events in the client's form."""
        if not events:
            return
        if self.billed is not None and any(isinstance(event, Usage) for event in events):
            before = await self.billed
            summed = [add_up((before, event)) if isinstance(event, Usage) else event for event in events]
        else:
            summed = list(events)
        await self.sink.say(summed, lambda: self.delivered.events)
        self.delivered.note(events)
        self.ended = self.ended or END in events

    async def finish(self) -> Failure | None:
        """The answer is whole. Returned, and told to the row: why the client has no whole answer all the same, if so."""
        failure = await self.sink.finish()
        if failure is not None:
            self.account.observation.failure = failure
        return failure
