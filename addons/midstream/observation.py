"""Events and a clock → one stream's record."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from midstream import attempts as tries
from midstream.attempts import Attempt
from midstream.dialects.token_counts import plausible
from midstream.events import (
    Asked,
    End,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.gaps import Gaps
from midstream.records import ERROR_LENGTH, NAME_LENGTH, AttemptRecord, Outcome, StreamRecord, clean, named

__all__ = ["ERROR_LENGTH", "NAME_LENGTH", "AttemptRecord", "Observation", "Outcome", "StreamRecord", "clean"]


class Observation:
    """One stream as it goes by: `feed` what its decoder says, `settle` when it is over; `record` is its row.

    Clock values are seconds of one monotonic clock, handed in. Of the answer's text only what is not counted yet is held:
    `take_text` hands it over, so that whoever owns the tokenizer bounds the memory. A stream of several attempts has
    `begin_attempt` and `end_attempt` around what each provider says, also what the client is not to see: it is billed.
    `usage`, `ended` and `failure` are the last attempt's. A stream for which no attempt was begun has one.
    """

    def __init__(self, record: StreamRecord, now: float) -> None:
        self.record = record
        self.attempts: list[Attempt] = []
        self.usage: Usage | None = None
        self.ended = False
        self.failure: Failure | None = None
        self.malformed = 0
        self.text_size = 0  # characters that `take_text` would hand over
        self._began = self._last = now
        self._first: float | None = None
        self._silent = self._plain_text = True  # the attempt has brought no content yet
        self._before = 0  # content events of the attempts before
        self._reported = 0  # content events when the provider last reported its usage
        self._text: list[str] = []
        self.gaps = Gaps()
        self.listener: Callable[[list[Event]], None] | None = None  # hears all that is fed
        self._first_malformed = ""

    def restart(self, now: float) -> None:
        """Measure from here: the client has asked once more before anything came."""
        self._began = self._last = now
        if self.attempts:
            self.attempts[-1].began = now

    @property
    def attempt(self) -> Attempt:
        """The attempt that runs, or ran last."""
        if not self.attempts:
            record = self.record
            self._try(record.provider, record.model_requested, record.started_at, self._began, "")
        return self.attempts[-1]

    def _try(self, provider: str, model: str, started_at: str, now: float, prices: str) -> None:
        self.attempts.append(
            Attempt(
                stream_id=self.record.id,
                n=len(self.attempts) + 1,
                provider=provider,
                model=model,
                started_at=started_at,
                began=now,
                prices=prices,
            )
        )

    def begin_attempt(self, provider: str, model: str, started_at: str, now: float, *, prices: str = "") -> None:
        """A provider is asked: what is fed from now on is its answer. The attempt before it no longer counts for the outcome.

        model: as it is asked for; started_at: UTC ISO 8601; prices: the provider's id in the price list.
        """
        record, model = self.record, clean(model, NAME_LENGTH)
        if self.attempts:
            self._leave(now)
            record.rerouted += (self.attempt.provider, self.attempt.model) != (provider, model)
        self._try(provider, model, started_at, now, prices)
        record.attempts = len(self.attempts)
        record.http_status = record.finish_reason = None
        self.usage = self.failure = None
        self.ended, self._silent, self._plain_text = False, True, True
        self._before = self._reported = record.chunks

    def _leave(self, now: float) -> None:
        """The attempt before another: over by now, whoever forgot to say so."""
        said = self.failure.type if self.failure else ""
        self.end_attempt("complete" if self.ended else said or "abandoned", now)
        self._put_by()

    def end_attempt(
        self, ended: str, now: float, *, http_status: int | None = None, error: str = "", next: str = ""
    ) -> None:
        """The attempt is over; what more is said of its end changes nothing.

        ended: `complete`, or the failure's type. http_status: unless it stands in the record. next: what follows, in a few words.
        """
        attempt, record = self.attempt, self.record
        if attempt.ended:
            return
        if ended == "complete" and self.failure is not None and self.failure.type == "truncated":
            self.failure = None  # all was there but the terminal event, and the caller takes that for an end
        record.http_status = attempt.http_status = record.http_status if http_status is None else http_status
        attempt.duration_ms = (now - attempt.began) * 1000
        attempt.ended = clean(ended, NAME_LENGTH) or "failed"
        attempt.error = clean(error or (self.failure.message if self.failure else ""), ERROR_LENGTH) or None
        attempt.note(next)
        self._put_by()
        record.breaks += attempt.chunks > 0 and attempt.ended not in tries.NOT_BROKEN

    def _put_by(self) -> None:
        """What was fed belongs to this attempt."""
        attempt, usage = self.attempt, self.usage
        attempt.chunks = self.record.chunks - self._before
        attempt.plain_text = self._plain_text
        attempt.text.append(self.take_text())
        if usage is not None and usage is not attempt.usage:
            whole = self.ended or attempt.ended == "complete" or self._reported == self.record.chunks
            attempt.report(usage, partial=not whole)
        if attempt.output_tokens is not None:
            attempt.text.clear()

    def feed(self, events: Iterable[Event], now: float) -> bool:
        """Take what arrived at once; return whether the first content came with it."""
        if self.listener is not None:
            self.listener(events := list(events))
        content = 0
        for event in events:
            if event.__class__ is Text:  # nearly all are: the match takes four times as long
                content += 1
                self._text.append(event.text)
                self.text_size += len(event.text)
                continue
            match event:
                case Reasoning(text=text):
                    if text:  # a signature alone is no content
                        content += 1
                        self.attempt.reasoned = True
                    self._keep_other(text)
                case Refusal(text=text):
                    content += bool(text)
                    self._keep_other(text)
                case ToolCall(name=name, arguments=arguments):
                    content += 1
                    self._keep_other(name + arguments)
                case Media(transcript=transcript):
                    content += 1
                    self._keep_other(transcript)
                case ServerTool():
                    content += 1
                case _:
                    self._note(event, content)
        return self._tick(content, now) if content else False

    def _note(self, event: Event, content: int) -> None:
        """content: content events that came before it, at once."""
        match event:
            case Start(model=model) if model:
                self.record.model_served = self.attempt.served = named(model)
            case Usage():
                self.usage = plausible(event)
                self._reported = self.record.chunks + content
            case Finish(reason=reason, choice=choice):
                if choice == 0 or self.record.finish_reason is None:
                    self.record.finish_reason = named(reason)
            case End():
                self.ended = True
            case Failure():
                self.failure = self.failure or event
            case Malformed(reason=reason):
                self.malformed += 1
                self._first_malformed = self._first_malformed or reason
            case Asked() | Start() | Opaque():
                pass
            case _:
                raise AssertionError(f"content reached _note: {event!r}")

    def _keep_other(self, text: str) -> None:
        self._plain_text = False
        self._text.append(text)
        self.text_size += len(text)

    def take_text(self) -> str:
        """Hand over, and forget, the output's text (reasoning, refusal and tool arguments included) since the last call."""
        text = "".join(self._text)
        self._text.clear()
        self.text_size = 0
        return text

    def _tick(self, count: int, now: float) -> bool:
        """So many content events came at once: one gap before the first of them, none between."""
        self.record.chunks += count
        last, self._last = self._last, now
        if count > 1:
            self.gaps.together += count - 1
        if self._silent and self._speak(now):
            return True
        self.gaps.add((now - last) * 1000)
        return False

    def _speak(self, now: float) -> bool:
        """An attempt's first content; return whether it is the stream's. After a break there is a gap: the pause it made."""
        self._silent = False
        attempt = self.attempt
        attempt.ttft_ms = (now - attempt.began) * 1000
        if self._first is not None:
            return False
        self._first = now
        self.record.ttft_ms = (now - self._began) * 1000
        return True

    def settle(self, outcome: Outcome, now: float, *, error_type: str = "", error: str = "") -> StreamRecord:
        """The stream is over: fill in what only its end tells.

        outcome: what the connection's end looked like. What the stream itself said, in its last attempt, goes first: a failure
        makes it `failed` (or `truncated`), its terminal event `complete`, whoever hung up afterwards (Codex resets at once).
        """
        record = self.record
        if self.attempt.ended and outcome in ("client_gone", "interrupted"):
            self.failure = None  # it was about to be mended
        record.outcome = self._outcome(outcome)
        record.duration_ms = (now - self._began) * 1000
        if record.outcome != "complete":
            self._blame(error_type, error)
        elif self.malformed:
            record.error_type, record.error = "malformed", self._malformed_error()
        self._close(now)
        if self.gaps:
            record.gap_p50_ms, record.gap_p95_ms = self.gaps.percentile(0.50), self.gaps.percentile(0.95)
            record.gap_max_ms = self.gaps.largest
        self.total()
        return record

    def _outcome(self, outcome: Outcome) -> Outcome:
        if self.failure is not None:
            cut = self.failure.type == "truncated"
            return "failed" if not cut else "truncated" if outcome == "complete" else outcome
        if not self.ended and outcome == "complete" and self.attempt.ended not in ("", "complete"):
            return "truncated" if self.record.chunks else "failed"
        unjoined = outcome in ("truncated", "failed") and self.attempt.ended not in ("", *tries.NOT_BROKEN)
        return "complete" if self.ended and not unjoined else outcome

    def _close(self, now: float) -> None:
        """The last attempt ends with its stream, unless it has ended before."""
        record = self.record
        ended = record.outcome if record.outcome in tries.NOT_BROKEN else record.error_type
        self.end_attempt(ended or "", now, error=record.error or "")
        self._put_by()
        told = [one for one in self.attempts if one.chunks or one.ended == "complete"]
        last = next(reversed(told or [one for one in self.attempts if one.served]), None)
        if last is not None:
            record.model_served = last.served or (last.model if last.model != record.model_requested else "")

    def _blame(self, error_type: str, error: str) -> None:
        failure = self.failure
        if failure is not None and (failure.type != "truncated" or not error):
            kind = failure.type or failure.code or (str(failure.status) if failure.status else "error")
            error_type, error = kind, failure.message
        elif self.record.outcome not in tries.NOT_BROKEN and self.attempt.ended not in tries.NOT_BROKEN:
            error_type, error = error_type or self.attempt.ended, error or self.attempt.error or ""
        if self.malformed:
            error = f"{error}; {self._malformed_error()}" if error else self._malformed_error()
        self.record.error_type = clean(error_type, NAME_LENGTH) or self.record.outcome
        self.record.error = clean(error, ERROR_LENGTH) or None

    def _malformed_error(self) -> str:
        return clean(f"{self.malformed} malformed: {self._first_malformed}", ERROR_LENGTH)

    def total(self) -> None:
        """Sum up what the attempts were billed. Called again once a tokenizer has counted, and a price list was asked."""
        record = self.record
        record.input_tokens = tries.tokens(self.attempts, "input_tokens")
        record.output_tokens = tries.tokens(self.attempts, "output_tokens")
        billed = tries.add_up(attempt.usage for attempt in self.attempts if attempt.usage)
        record.cached_tokens, record.reasoning_tokens = billed.cached_tokens, billed.reasoning_tokens
        record.usage_source = tries.source(self.attempts)
        record.cost_usd = tries.cost(self.attempts)
        if self._first is not None:
            record.tokens_per_s = tries.rate(self.attempts, self._last - self._first)
