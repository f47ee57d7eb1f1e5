"""How each attempt is asked: anew, on from what the client has, or on in the very response that broke. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from midstream.config import Target
from midstream.conversation import Conversation
from midstream.dialects import registry
from midstream.dialects.prefill import takes_prefill
from midstream.healing.delivered import Way
from midstream.healing.splice import Seam, continuation
from midstream.relay.attempt import Broken, plainly
from midstream.relay.prepare import Prepared, RuledOut, dialect_of, prepare, prepare_to_read_on
from midstream.relay.refusal import Refusal
from midstream.relay.shown import Shown

ANEW = Way("anew", "")


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and how its answer joins what the client has. reads_on: it is the very answer that broke, from there on."""

    prepared: Prepared
    seam: Seam | None = None
    prefilled: bool = False
    reads_on: bool = False


@dataclass(slots=True)
class Questions:
    """The questions of one stream. native: the target whose own bytes the client has, if any."""

    shown: Shown
    native: int | None = None
    _no_prefill: set[int] = field(default_factory=set)
    _no_reading_on: set[int] = field(default_factory=set)

    def put(self, number: int) -> Question:
        """What to ask a target now. Raises RuledOut."""
        shown, target = self.shown, self.shown.ask.targets[number]
        on = self.reads_on(number)
        if on is not None:
            return Question(prepare_to_read_on(shown.ask, target, on, shown.account.prices), reads_on=True)
        if not shown.begun:
            return Question(self._prepare(target, None))
        way = self.way()
        prefilled = way.kind == "continue" and number not in self._no_prefill and self._takes_prefill(target)
        try:
            return self._going_on(target, way, prefilled=prefilled)
        except RuledOut:
            if not prefilled:
                raise
        self._no_prefill.add(number)  # the model takes none after all, or not while it thinks
        return self._going_on(target, way, prefilled=False)

    def way(self) -> Way:
        """What can follow what the client has."""
        shown = self.shown
        try:
            conversation = shown.ask.read()
        except ValueError:
            conversation = None
        return shown.delivered.way(shown.ask.route.on_break, conversation) if shown.begun else ANEW

    def reads_on(self, number: int) -> str | None:
        """The path under which this target lets one read on in the very response that broke."""
        shown, ask = self.shown, self.shown.ask
        if ask.dialect.read_on is None or number != self.native or number in self._no_reading_on or not shown.careful:
            return None
        return ask.dialect.read_on(ask.path, registry.fields(ask.body), shown.delivered.events, shown.last)

    def wrongly_put(self, number: int, question: Question, failed: Broken) -> bool:
        """Whether it was the way of asking that the target did not take. It will not be asked so again."""
        if not failed.rejected:
            return False
        if question.reads_on:
            self._no_reading_on.add(number)
        elif question.prefilled and failed.refused.failure.status in (400, 422):
            self._no_prefill.add(number)
        else:
            return False
        return True

    def _going_on(self, target: Target, way: Way, *, prefilled: bool) -> Question:
        ask, delivered, conversation = self.shown.ask, self.shown.delivered, None
        if way.kind == "continue":
            spoken = dialect_of(ask, target) or ask.dialect
            try:
                conversation = continuation(ask.read(), delivered, prefill=prefilled, dialect=spoken.name)
            except ValueError as error:
                raise RuledOut(Refusal(400, str(error))) from None
        seam = Seam(delivered, way, limit=ask.route.seam, prefilled=prefilled)
        return Question(self._prepare(target, conversation, prefilled=prefilled), seam, prefilled=prefilled)

    def _prepare(self, target: Target, conversation: Conversation | None, *, prefilled: bool = False) -> Prepared:
        shown = self.shown
        prepared = prepare(shown.ask, target, shown.account.prices, conversation, prefilled=prefilled)
        if shown.careful and shown.sink.takes_bytes:
            prepared = replace(prepared, request=plainly(prepared.request))
        return prepared

    def _takes_prefill(self, target: Target) -> bool:
        provider = self.shown.ask.config.provider(target.provider)
        if provider is None or provider.dialect is None:
            return False
        if provider.prefill is not None:
            return provider.prefill
        return takes_prefill(provider.dialect, target.model, target.provider) is True
