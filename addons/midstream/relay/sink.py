"""Where a healed answer goes: to the client as its provider's own bytes, or into a stream's log as chat chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from midstream.dialects.answer import AnswerDecoder
from midstream.events import Event, Failure
from midstream.relay.job import Head
from midstream.relay.prepare import Prepared

type Said = Callable[[], Sequence[Event]]


@dataclass(frozen=True, slots=True)
class Refused:
    """An attempt that failed before anything of it was delivered, or after. head, body: the provider's own HTTP error, where it
    sent one in the client's dialect. retry_after: seconds."""

    failure: Failure
    head: Head | None = None
    body: bytes = field(default=b"", repr=False)
    retry_after: float | None = None


class Sink(Protocol):
    """Takes one answer, in this order: `begin`, `pass_on` and `say` as it comes, `finish` or `break_off`; or `refuse` alone."""

    takes_bytes: bool
    """Whether it can pass on a provider's own bytes."""

    async def begin(self, prepared: Prepared, head: Head, decoder: AnswerDecoder) -> None:
        """Something is about to be delivered. `head` is the response's own where `prepared.own`."""
        ...

    async def pass_on(self, data: bytes, *, whole: bool = False) -> None:
        """A piece of the provider's own body. whole: it ends where a frame does."""
        ...

    async def say(self, events: Sequence[Event], said: Said) -> None:
        """Events to be written in the client's form. said: all that it has by now, for whoever passed bytes on until here."""
        ...

    async def finish(self) -> Failure | None:
        """The answer is whole. Returned: why the client has no whole answer all the same, if it could not be said."""
        ...

    async def refuse(self, refused: Refused) -> None:
        """Nothing was delivered, and nothing will be."""
        ...

    async def break_off(self, failure: Failure, said: Said) -> None:
        """It ends here, and nobody may take that for its end."""
        ...
