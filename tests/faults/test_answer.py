"""What each fault leaves of the recorded answers of every dialect, at any chunk size."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import exchanges
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import Dialect
from midstream.dialects.registry import DIALECTS
from midstream.events import CONTENT, END, End, Event, Failure, Finish, Malformed, Text
from midstream.faults.answer import FaultyAnswer, Step, Strike
from midstream.faults.errors import WORDS, http_error
from midstream.faults.rules import parse_rule
from midstream.recording import Recording, read
from midstream.wire.framing import FramingName

FOLDER = Path(__file__).parents[2] / "recordings"
ANSWERS = (
    "openai_chat/plain_text",
    "openai_chat/parallel_tool_calls",
    "anthropic_messages/plain_text",
    "anthropic_messages/tool_call",
    "anthropic_complete/plain_text",
    "gemini/plain_text",
    "gemini/json_array",
    "openai_responses/plain_text",
    "openai_responses/reasoning_and_tool_call",
    "ollama/chat",
    "bedrock_converse/plain_text",
    "bedrock_invoke/anthropic_plain_text",
    "cohere/plain_text",
    "openai_completions/plain_text",
)
SPECS = (
    "cut",
    "cut after=2",
    "cut after=0",
    "stall after=2",
    "error after=2",
    "error after=0",
    "malformed frame=2",
    "unterminated",
    "slow=1",
)
BY_NAME = {dialect.name: dialect for dialect in reversed(DIALECTS)}


class Case:
    """A recorded answer of a dialect."""

    def __init__(self, name: str) -> None:
        self.recording: Recording = read(FOLDER / f"{name}.jsonl")
        self.dialect: Dialect = BY_NAME[name.partition("/")[0]]
        self.body = self.recording.body
        self.content_type = self.recording.header.response.headers.get("content-type", "")
        self.events = self.decode(self.body)

    @property
    def framing(self) -> FramingName | None:
        decoder = AnswerDecoder(self.dialect, content_type=self.content_type)
        decoder.feed(self.body)
        return decoder.framing

    def decode(self, body: bytes) -> list[Event]:
        decoder = AnswerDecoder(self.dialect, content_type=self.content_type)
        return decoder.feed(body) + decoder.close()

    def steps(self, spec: str, size: int = 0, *, body: bytes | None = None, encoding: str = "") -> list[Step]:
        """What a fault makes of the body, in chunks of this size (0: whole); neighbouring bytes joined."""
        body, struck = self.body if body is None else body, list[bool]()
        answer = FaultyAnswer(
            parse_rule(spec).fault,
            self.dialect,
            struck=lambda: struck.append(True),
            content_type=self.content_type,
            content_encoding=encoding,
        )
        steps: list[Step] = []
        for at in range(0, len(body), size or len(body)):
            steps += answer.feed(body[at : at + (size or len(body))])
        steps += answer.close()
        assert answer.feed(b"more") == [] or not ended(steps)
        assert len(struck) <= 1
        assert bool(struck) or not any(isinstance(step, Strike) for step in steps)
        return joined(steps)


@cache
def case(name: str) -> Case:
    return Case(name)


def joined(steps: list[Step]) -> list[Step]:
    out: list[Step] = []
    for step in steps:
        if isinstance(step, bytes) and out and isinstance(out[-1], bytes):
            out[-1] += step
        else:
            out.append(step)
    return out


def ended(steps: list[Step]) -> bool:
    return bool(steps) and steps[-1] in (Strike.CUT, Strike.STALL, Strike.END)


def passed(steps: list[Step]) -> bytes:
    return b"".join(step for step in steps if isinstance(step, bytes))


def content(events: list[Event]) -> int:
    return sum(isinstance(event, CONTENT) for event in events)


every_answer = pytest.mark.parametrize("name", ANSWERS)


@pytest.mark.parametrize("name", [*ANSWERS, "openai_chat/comments_openrouter"])
@pytest.mark.parametrize("spec", [*SPECS, "cut after=1000000"])
def test_the_chunk_edges_do_not_matter(name: str, spec: str) -> None:
    answer = case(name)
    whole = answer.steps(spec)
    for size in (1, 7, 100, 1460):
        assert answer.steps(spec, size) == whole


@every_answer
@pytest.mark.parametrize(("kind", "strike"), [("cut", Strike.CUT), ("stall", Strike.STALL)])
def test_a_break_comes_right_behind_the_frame_with_the_last_token(name: str, kind: str, strike: Strike) -> None:
    answer = case(name)
    steps = answer.steps(f"{kind} after={2}")
    assert steps[-1] is strike
    assert len(steps) == 2
    body = passed(steps)
    assert answer.body.startswith(body)
    assert content(answer.decode(body)) >= 2
    assert not [event for event in answer.decode(body) if isinstance(event, End | Finish)]


@every_answer
def test_a_break_after_no_token_lets_nothing_of_the_body_through(name: str) -> None:
    assert case(name).steps("cut after=0") == [Strike.CUT]


@every_answer
def test_an_answer_that_is_over_before_its_break_passes_whole(name: str) -> None:
    answer = case(name)
    assert answer.steps(f"cut after={content(answer.events) + 1}") == [answer.body]


@every_answer
def test_a_break_leaves_no_answer_whole(name: str) -> None:
    """Where the frame with the last token also says that the answer is over (Gemini), it does not pass."""
    answer = case(name)
    steps = answer.steps(f"cut after={content(answer.events)}")
    assert steps[-1] is Strike.CUT
    assert END not in answer.decode(passed(steps))


@every_answer
@pytest.mark.parametrize("after", [0, 2])
def test_an_error_is_read_as_one_behind_what_came_before(name: str, after: int) -> None:
    answer = case(name)
    steps = answer.steps(f"error after={after} status=503")
    assert steps[-1] is Strike.END
    events = answer.decode(passed(steps))
    failures = [event for event in events if isinstance(event, Failure)]
    assert [failure.message for failure in failures] == [WORDS]
    assert not [event for event in events if isinstance(event, Malformed | End)]
    assert (content(events) > 0) == (after > 0)


@every_answer
def test_a_malformed_frame_is_the_only_one(name: str) -> None:
    answer = case(name)
    steps = answer.steps("malformed frame=2")
    assert len(steps) == 1
    events = answer.decode(passed(steps))
    assert sum(isinstance(event, Malformed) for event in events) == 1
    assert content(events) >= content(answer.events) - 6
    assert passed(steps) != answer.body
    decoder = AnswerDecoder(answer.dialect, content_type=answer.content_type)
    original = AnswerDecoder(answer.dialect, content_type=answer.content_type)
    spoilt = [said for _, said in decoder.feed_frames(passed(steps)) + decoder.close_frames()[:-1] if said]
    sound = [said for _, said in original.feed_frames(answer.body) + original.close_frames()[:-1] if said]
    assert len(spoilt) == len(sound)
    assert any(isinstance(event, Malformed) for event in spoilt[1])


@every_answer
def test_an_unterminated_answer_lacks_its_end_alone(name: str) -> None:
    answer = case(name)
    steps = answer.steps("unterminated")
    assert steps[-1] is Strike.END
    assert answer.body.startswith(passed(steps))
    events = answer.decode(passed(steps))
    assert content(events) >= content(answer.events) - 1
    if answer.dialect.name in ("openai_chat", "openai_completions"):
        assert b"[DONE]" not in passed(steps)
    else:  # here what is left out is more than a formality
        assert END not in events


@every_answer
def test_a_slow_answer_pauses_before_its_first_token_and_is_whole(name: str) -> None:
    answer = case(name)
    steps = answer.steps("slow=1")
    assert steps.count(Strike.WAIT) == 1
    assert passed(steps) == answer.body
    before = steps[: steps.index(Strike.WAIT)]
    assert content(answer.decode(passed(before))) == 0


def test_comments_pass_between_two_frames_without_waiting_for_the_next() -> None:
    answer = FaultyAnswer(parse_rule("unterminated").fault, BY_NAME["openai_chat"], struck=lambda: None)
    assert answer.feed(b": PROCESSING\n\n") == [b": PROCESSING\n\n"]


def test_half_a_frame_is_held_until_it_is_known_not_to_be_the_last() -> None:
    answer = FaultyAnswer(parse_rule("unterminated").fault, BY_NAME["openai_chat"], struck=lambda: None)
    assert answer.feed(b"data: [DO") == []
    assert answer.feed(b"NE]\n\n") == [Strike.END]
    assert answer.close() == []


def test_a_body_that_is_no_stream_passes_as_it_is() -> None:
    body = json.dumps({"choices": [{"message": {"content": "Hello"}}]}).encode()
    for spec in ("cut", "cut after=0", "unterminated", "malformed", "slow=1", "error"):
        answer = FaultyAnswer(parse_rule(spec).fault, BY_NAME["openai_chat"], struck=lambda: pytest.fail("struck"))
        assert passed([*answer.feed(body), *answer.close()]) == body


def test_an_encoded_body_is_decoded_and_broken() -> None:
    answer = case("openai_chat/plain_text")
    encoded = gzip.compress(answer.body)
    assert answer.steps("cut after=3", 10, body=encoded, encoding="gzip") == answer.steps("cut after=3")
    assert answer.steps("malformed", 10, body=encoded, encoding="gzip") == answer.steps("malformed")


def test_an_error_in_responses_goes_on_with_the_answers_id_and_numbers() -> None:
    answer = case("openai_responses/plain_text")
    body = passed(answer.steps("error after=2"))
    last = json.loads(body.rstrip().rpartition(b"data: ")[2])
    first = json.loads(answer.body.split(b"data: ")[1].split(b"\n")[0])
    assert last["type"] == "response.failed"
    assert last["response"]["id"] == first["response"]["id"]


@pytest.mark.parametrize("size", [1, 9])
def test_a_frame_over_every_limit_passes_rather_than_fill_memory(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midstream.faults.answer.FRAME_LIMIT", 50)
    answer = FaultyAnswer(parse_rule("unterminated").fault, BY_NAME["openai_chat"], struck=lambda: None)
    body = b"data: " + b"x" * 300
    out = [step for at in range(0, len(body), size) for step in answer.feed(body[at : at + size])]
    assert len(answer._held) <= 100
    assert passed([*out, *answer.close()]) == body


@given(
    st.sampled_from(sorted(BY_NAME)),
    st.sampled_from(SPECS),
    st.lists(
        st.binary(max_size=60) | st.sampled_from([b"data: {}\n\n", b"[", b'{"a":1}', b"\n", b"\0\0\0"]), max_size=8
    ),
    st.sampled_from(["", "gzip", "br", "nonsense"]),
)
def test_no_body_makes_it_raise(name: str, spec: str, chunks: list[bytes], encoding: str) -> None:
    dialect = BY_NAME[name]
    answer = FaultyAnswer(parse_rule(spec).fault, dialect, struck=lambda: None, content_encoding=encoding)
    steps = [step for chunk in chunks for step in answer.feed(chunk)] + answer.close()
    assert b"" not in steps


@pytest.mark.parametrize("name", sorted({answer.partition("/")[0] for answer in ANSWERS} - {"anthropic_complete"}))
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 529])
def test_a_status_has_an_error_that_its_dialect_reads(name: str, status: int) -> None:
    dialect = BY_NAME[name]
    headers, body = http_error(parse_rule(f"status={status} retry-after=2").fault, dialect)
    assert ("retry-after", "2") in headers
    decoder = AnswerDecoder(dialect, status=status, content_type=dict(headers)["content-type"])
    (failure,) = decoder.feed(body) + decoder.close()
    assert isinstance(failure, Failure)
    assert (failure.message, failure.status) == (WORDS, status)


def test_the_words_of_an_error_are_the_dialects_own() -> None:
    def said(name: str, status: int) -> object:
        return json.loads(http_error(parse_rule(f"status={status}").fault, BY_NAME[name])[1])

    assert said("anthropic_messages", 529) == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": WORDS},
    }
    assert said("gemini", 429) == {"error": {"code": 429, "message": WORDS, "status": "RESOURCE_EXHAUSTED"}}
    assert said("ollama", 503) == {"error": WORDS}
    assert said("bedrock_converse", 429) == {"message": WORDS}
    headers, _ = http_error(parse_rule("status=429").fault, BY_NAME["bedrock_converse"])
    assert dict(headers)["x-amzn-errortype"] == "ThrottlingException"


def test_the_events_of_a_folded_answer_are_the_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes before a break is the answer's own beginning."""
    answer = case("openai_chat/plain_text")
    text = exchanges.fold(answer.events).text
    cut = exchanges.fold(answer.decode(passed(answer.steps("cut after=5"))))
    assert text.startswith(cut.text)
    assert cut.text == "".join(event.text for event in answer.events if isinstance(event, Text))[: len(cut.text)]
    assert not cut.ended
