"""One answer over as many attempts as its route allows: retried, rerouted, continued where it broke (design section 7).

What is decided is decided in plan.py and splice.py; passage.py brings one attempt to the client.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

from midstream.events import Failure, Usage
from midstream.healing import plan
from midstream.healing.breakers import Health, Limits, Targets
from midstream.healing.failures import kind_of
from midstream.healing.plan import Again, Step, Stop, Try
from midstream.ledger import Ledger, utc_now
from midstream.relay.attempt import Attempt, Broken, broken
from midstream.relay.clock import ProgressClock
from midstream.relay.passage import Passage
from midstream.relay.passed_over import PassedOver, Reasons, name_of
from midstream.relay.prepare import RuledOut
from midstream.relay.questions import Question, Questions
from midstream.relay.refusal import RETRY_AFTER, shutting_down, stopped
from midstream.relay.shown import Shown
from midstream.relay.sink import Refused
from midstream.relay.upstream import Upstream, UpstreamError

_TIMED_OUT = {
    "first_token_timeout": "the provider sent no token in time",
    "idle_timeout": "the provider sent nothing more in time",
    "total_timeout": "the time for the whole stream is over",
    "terminal_timeout": "the provider did not end its answer",
}

CANCELLED = Failure("the stream was cancelled", type="cancelled", code="cancelled", status=499)
"""What the client of a stream is told that its proxy's owner has ended. 499 is nginx's: nobody's HTTP has a better one."""


@dataclass(frozen=True, slots=True)
class Means:
    """What all streams of one relay share. running: by the stream's id."""

    upstream: Upstream
    ledger: Ledger
    targets: Targets = field(default_factory=Targets)
    reasons: Reasons = field(default_factory=Reasons)
    running: dict[str, Healing] = field(default_factory=dict)
    delivering: set[asyncio.Task[Any]] = field(default_factory=set)
    """Those that deliver to a client's own connection, to be told when midstream stops."""

    def admit(self) -> None:
        """Raises Refusal (503) once midstream is being stopped."""
        if self.ledger.draining:
            raise shutting_down()


@dataclass(slots=True)
class Healing:
    """One stream. `run` it; `failure` then says why the client has no whole answer, None if it has."""

    shown: Shown
    means: Means
    failure: Failure | None = None
    _began: float = field(default_factory=time.monotonic)
    _tries: list[Try] = field(default_factory=list)
    _refusals: list[tuple[int, Refused]] = field(default_factory=list)
    _wrongly_put: bool = False
    _questions: Questions = field(init=False)
    _passed_over: PassedOver = field(init=False)
    _passage: Passage | None = None
    _status: int | None = None
    _task: asyncio.Task[object] | None = None
    _cancelled: bool = False

    def __post_init__(self) -> None:
        self._questions = Questions(self.shown)
        self._passed_over = PassedOver(self.shown.account.observation, self.means.reasons)

    async def run(self) -> None:
        """Attempts until the client has the whole answer, or an honest error. Cancelled when the client leaves."""
        id_, self._task = self.shown.account.observation.record.id, asyncio.current_task()
        self.means.running[id_] = self
        try:
            await self._run()
        except asyncio.CancelledError:
            if self._task is None or not self._cancelled or self._task.uncancel():
                raise
            await self._end_as_cancelled()
        finally:
            self.means.running.pop(id_, None)

    def cancel(self) -> None:
        """End it here, at its owner's word: its provider is left, and its client gets an error."""
        over = self.shown.ended or self.failure is not None
        if self._task is not None and not (self._cancelled or over):
            self._cancelled = True
            self._task.cancel()

    async def _end_as_cancelled(self) -> None:
        self.shown.account.observation.end_attempt(
            "cancelled", time.monotonic(), http_status=self._status, error=CANCELLED.message
        )
        await self._tell(CANCELLED)

    async def _run(self) -> None:
        policy = self._policy()
        step: Step = Again(plan.first_target(policy, self._healthy))
        while isinstance(step, Again):
            if step.wait:
                await asyncio.sleep(step.wait)
            failed = await self._try(step.target)
            if failed is None:
                self.failure = await self.shown.finish()
                return
            step = await self._after(step.target, failed, policy)
        await self._give_up()

    async def stop(self) -> None:
        """Midstream stops, and the attempt was cancelled: the client learns that its answer ends here."""
        await self._tell(stopped(), RETRY_AFTER)

    async def _tell(self, failure: Failure, retry_after: float | None = None) -> None:
        self.failure = failure
        if self.shown.begun:
            await self.shown.sink.break_off(failure, lambda: self.shown.delivered.events)
        else:
            await self.shown.sink.refuse(Refused(failure, retry_after=retry_after))

    async def _try(self, number: int) -> Broken | None:
        """One attempt at a target; None when it brought the answer to its end."""
        observation = self.shown.account.observation
        try:
            question = self._questions.put(number)
        except RuledOut as error:
            self._wrongly_put = False
            return self._passed_over.add(number, self.shown.ask.targets[number], error)
        prepared, now = question.prepared, time.monotonic()
        if question.reads_on:  # the same answer, which is billed once, with the attempt that reads its end
            observation.attempt.report(Usage(input_tokens=0, output_tokens=0), partial=False)
        observation.begin_attempt(prepared.provider, prepared.model, utc_now(), now, prices=prepared.prices)
        self._passed_over.tell_early()
        health = self._health(number)
        request = health.breaker.begin(self._limits, now)
        if all(tried.target != number for tried in self._tries):
            health.budget.deposit(self._limits)
        try:
            return await self._attempt(number, question)
        except BaseException:
            health.breaker.leave(request)
            raise

    async def _attempt(self, number: int, question: Question) -> Broken | None:
        """Open, read and pass on, within the route's time-outs."""
        failed, clock = None, None
        self._passage, self._status = None, None
        try:
            async with asyncio.timeout(None) as timeout:
                clock = ProgressClock(timeout)
                clock.limit(self._left())
                await self._read(question, clock)
        except UpstreamError as error:
            failed = broken(error.kind, str(error))
        except TimeoutError:
            failed = await self._timed_out(clock.kind if clock is not None else "first_token_timeout")
        except Broken as error:
            failed = error
        finally:
            if clock is not None:
                clock.stop()
        self._wrongly_put = failed is not None and self._questions.wrongly_put(number, question, failed)
        if self._passage is not None and self._passage.passes_bytes and self.shown.begun:
            self._questions.native = number
        return self._judged(number, failed)

    async def _read(self, question: Question, clock: ProgressClock) -> None:
        shown, timeouts, prepared = self.shown, self.shown.ask.route.timeouts, question.prepared
        clock.allow(timeouts.first_token if shown.ask.stream or not prepared.own else None, "first_token_timeout")
        response = await self.means.upstream.open(
            prepared.request, connect=timeouts.connect, stream=shown.account.observation.record.id
        )
        try:
            shown.account.observation.record.http_status = self._status = response.status
            attempt = Attempt(prepared, response, clock, cut=shown.careful and shown.sink.takes_bytes)
            if response.status >= 300:
                raise await attempt.rejection(response.pieces())
            self._passage = Passage(attempt, shown, question.seam, reads_on=question.reads_on)
            await self._passage.run()
        finally:
            response.close()

    async def _timed_out(self, kind: str) -> Broken | None:
        """Time is up; which may be fine, where only the terminal event was missing."""
        if self.shown.ended:
            return None
        if self._passage is not None and self.shown.strict and await self._passage.finished_early():
            return None
        return broken(kind, _TIMED_OUT.get(kind, "the provider sent nothing for too long"))

    def _judged(self, number: int, failed: Broken | None) -> Broken | None:
        """What the attempt tells of its target. An error that was passed on unseen is told by the observation alone."""
        observation, breaker = self.shown.account.observation, self._health(number).breaker
        said = observation.failure
        whole = failed is None and (said is None or (self.shown.strict and said.type == "truncated"))
        kind = failed.kind if failed is not None else kind_of(said) if said is not None else ""
        joinless = (
            failed is not None and failed.refused.failure.type == "seam_mismatch"
        )  # it has answered, only otherwise
        if whole or joinless or kind in ("final", "elsewhere"):
            breaker.succeed()
        else:
            breaker.fail(self._limits, time.monotonic())
        if whole:
            observation.end_attempt("complete", time.monotonic(), http_status=self._status)
        return failed

    async def _after(self, number: int, failed: Broken, policy: plan.Policy) -> Step:
        """Decide what follows, and write it down."""
        shown, refused = self.shown, failed.refused
        progressed = failed.asked and self._passage is not None and self._passage.progressed
        self._tries.append(Try(number, failed.kind, progressed and shown.begun, refused.retry_after))
        step = self._step(number, failed, policy)
        said = self._said(number, step)
        if not failed.asked:
            self._passed_over.followed_by(said)
        else:
            self._refusals.append((number, refused))
            shown.account.observation.end_attempt(
                refused.failure.type or refused.failure.code or str(refused.failure.status or "error"),
                time.monotonic(),
                http_status=self._status,
                error=refused.failure.message,
                next=said,
            )
            if isinstance(step, Again):
                shown.billed = asyncio.create_task(shown.ledger.billed(shown.account))
        return step

    def _step(self, number: int, failed: Broken, policy: plan.Policy) -> Step:
        shown = self.shown
        if shown.begun and shown.sink.takes_bytes and not shown.careful:
            return Stop("nothing can follow an encoded body" if shown.sealed else "the route wants no break healed")
        if (
            shown.begun
            and self._questions.reads_on(number) is None
            and (way := self._questions.way()).kind == "impossible"
        ):
            return Stop(way.reason)
        if self._wrongly_put:
            self._tries.pop()
            return Again(number)
        return plan.next_step(
            policy,
            self._tries,
            left=self._left(),
            jitter=random.random(),  # noqa: S311 - spreads load, keeps no secret
            healthy=self._healthy,
            may_retry=lambda target: self._health(target).budget.withdraw(self._limits, time.monotonic()),
            ruled_out=frozenset(self._passed_over.numbers),
        )

    def _said(self, number: int, step: Step) -> str:
        if isinstance(step, Stop):
            return f"gives up: {step.why}"
        if step.target == number:
            return f"asks again after {step.wait:.1f} s" if step.wait else "asks again"
        return f"asks {name_of(self.shown.ask.targets[step.target])}"

    async def _give_up(self) -> None:
        """The error in the client's dialect. What it asked first for has the first word: that is whom it believes to talk to.
        Who was not asked has none, unless nobody was."""
        self._passed_over.tell_early()
        refusals = self._refusals or self._passed_over.refusals[:1]
        answered = [refused for number, refused in refusals if number == 0 and refused.head is not None]
        refused = answered[-1] if answered else refusals[-1][1]
        self.failure = refused.failure
        if self.shown.begun:
            await self.shown.sink.break_off(refusals[-1][1].failure, lambda: self.shown.delivered.events)
        else:
            await self.shown.sink.refuse(refused)

    def _policy(self) -> plan.Policy:
        route = self.shown.ask.route
        return plan.Policy(len(self.shown.ask.targets), route.attempts, route.backoff.base, route.backoff.max)

    @property
    def _limits(self) -> Limits:
        return self.shown.ask.config.healing.limits

    def _left(self) -> float | None:
        total = self.shown.ask.route.timeouts.total
        return None if total is None else self._began + total - time.monotonic()

    def _healthy(self, number: int) -> bool:
        return self._health(number).breaker.allows(self._limits, time.monotonic())

    def _health(self, number: int) -> Health:
        return self.means.targets.of(self.shown.ask.targets[number], time.monotonic())
