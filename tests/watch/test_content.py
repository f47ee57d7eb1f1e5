"""What streams say is kept only where it is asked for, within limits, and with the request let go at its end."""

from __future__ import annotations

from databases import record
from midstream.events import END, Event, Reasoning, Text, ToolCall
from midstream.ledger import Account
from midstream.observation import Observation
from midstream.watch.content import ANSWER, PROMPT, STREAMS, WordsOfStreams


def account(id_: str = "s1", *texts: str, key: str | None = None) -> Account:
    return Account(Observation(record(id_, key=key), 0.0), prompt=lambda: (list(texts), None))


def heard(kept: WordsOfStreams, one: Account, *events: Event) -> None:
    kept.open(one)
    one.observation.feed(events, 0.1)


def test_nothing_is_kept_of_a_stream_that_nobody_listens_to() -> None:
    one = account("s1", "a secret")
    one.observation.feed([Text("another")], 0.1)
    assert WordsOfStreams().of("s1") is None


def test_prompt_and_answer_of_a_stream_that_runs_and_once_it_is_over() -> None:
    kept, one = WordsOfStreams(), account("s1", "be brief", "why?")
    heard(kept, one, Reasoning("hm"), Text("Be"), Text("cause"), ToolCall(0, name="look", arguments='{"a":1}'), END)
    words = kept.of("s1")
    assert words is not None
    running = words.shown()
    assert running["prompt"] == ["be brief", "why?"]
    assert [(part["kind"], part["text"]) for part in running["parts"]] == [
        ("reasoning", "hm"),
        ("text", "Because"),
        ("tool", 'look{"a":1}'),
    ]
    kept.close(one)
    assert words.account is None  # and with it the request's body
    assert words.shown() == running


def test_what_another_attempt_says_is_a_part_of_its_own() -> None:
    kept, one = WordsOfStreams(), account()
    kept.open(one)
    observation = one.observation
    observation.begin_attempt("openai", "gpt-4o", "2026-01-31T10:00:00.000Z", 0.0)
    observation.feed([Text("Hel")], 0.1)
    observation.begin_attempt("backup", "m", "2026-01-31T10:00:01.000Z", 1.0)
    observation.feed([Text("lo")], 1.1)
    words = kept.of("s1")
    assert words is not None
    assert [(part["attempt"], part["text"]) for part in words.shown()["parts"]] == [(1, "Hel"), (2, "lo")]


def test_answers_prompts_and_streams_are_bounded() -> None:
    kept, one = WordsOfStreams(), account("s1", "x" * PROMPT, "the last words")
    heard(kept, one, Text("a" * ANSWER), Text("b"))
    words = kept.of("s1")
    assert words is not None
    said = words.shown()
    assert said["cut"]
    assert sum(len(part["text"]) for part in said["parts"]) == ANSWER
    assert sum(map(len, said["prompt"])) == PROMPT
    assert said["prompt"][-1] == "the last words"
    for n in range(STREAMS):
        kept.open(account(f"t{n}"))
    assert kept.of("s1") is None
    one.observation.feed([Text("more")], 0.2)  # and nothing is heard any more
    assert words.shown()["parts"] == said["parts"]


def test_turned_off_everything_is_forgotten() -> None:
    kept, one = WordsOfStreams(), account()
    heard(kept, one, Text("a"))
    kept.clear()
    one.observation.feed([Text("b")], 0.2)
    assert kept.of("s1") is None
