"""Which requests a rule strikes, and which rules are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.dialects.base import RequestFacts
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.registry import Match
from midstream.faults.rules import Fault, Faults, Kind, RuleError, parse_rule

HOST = "api.openai.com"


def asked(model: str = "gpt-4o-mini", provider: str = "openai", *, stream: bool = True) -> Match:
    return Match(OPENAI_CHAT, provider, provider, RequestFacts(model, stream))


def struck(faults: Faults, count: int, match: Match | None = None) -> list[bool]:
    """Whether each of so many requests, a second apart, is struck."""
    return [faults.choose(HOST, match or asked(), float(now)) is not None for now in range(count)]


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("cut after=40", Fault(kind="cut", after=40)),
        ("  cut  ", Fault(kind="cut", after=1)),
        ("stall after=0", Fault(kind="stall", after=0)),
        ("status=429 retry-after=2", Fault(kind="status", status=429, headers=(("retry-after", "2"),))),
        (
            'status=503 retry-after="Wed, 21 Oct 2026 07:28:00 GMT" retry-after-ms=40',
            Fault(
                kind="status",
                status=503,
                headers=(("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), ("retry-after-ms", "40")),
            ),
        ),
        ("slow=0.5", Fault(kind="slow", seconds=0.5)),
        ("malformed frame=10", Fault(kind="malformed", frame=10)),
        ("error after=5 status=529", Fault(kind="error", after=5, status=529)),
        ("error", Fault(kind="error", after=1, status=500)),
        ("flapping", Fault(kind="flapping", status=503)),
        ("reset", Fault(kind="reset")),
        ("silence", Fault(kind="silence")),
        ("unterminated", Fault(kind="unterminated")),
    ],
)
def test_a_rule_says_what_happens(spec: str, fault: Fault) -> None:
    assert parse_rule(spec).fault == fault


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("", "there are status=429, reset, silence, slow=5, cut, stall, malformed, error, unterminated, flapping"),
        ("explode", "'explode' is no fault"),
        ("Cut", "'Cut' is no fault"),
        ("cut=40", "it takes after=40"),
        ("reset=1", "reset has no value of its own"),
        ("cut aftr=4", "it takes after, host, provider, model, p, times, every, down, up"),
        ("reset after=4", "reset takes no 'after'"),
        ("status", "status needs a value, as status=429"),
        ("status=", "status needs a value"),
        ("status=99", "status=99: a whole number from 200 to 599"),
        ("status=600", "a whole number from 200 to 599"),
        ("status=٤٢٩", "a whole number"),
        ("slow=soon", "slow=soon: a number"),
        ("slow=0", "seconds over 0"),
        ("slow=100000", "up to 86400"),
        ("slow=.", "a number"),
        ("cut after=-1", "after=-1: a whole number from 0 on"),
        ("cut after=99999999999", "a whole number"),
        ("malformed frame=0", "a whole number from 1 on"),
        ("cut p=0", "p=0: a share"),
        ("cut p=1.5", "p=1.5: a share"),
        ("cut p=nan", "p=nan: a number"),
        ("cut times=0", "times=0"),
        ("cut every=0", "every=0"),
        ("cut up=3", "up needs down"),
        ("cut after=1 after=2", "after is said twice"),
        ("cut after", "after needs a value"),
        ("cut host=", "host needs a value"),
        ('cut host="a', "No closing quotation"),
        ('status=429 retry-after="a\nb"', "printable ASCII"),
        ("status=429 retry-after=é", "printable ASCII"),
        ("seed=1 cut", "'seed' is no fault"),
    ],
)
def test_a_wrong_rule_is_quoted_and_says_what_is_possible(spec: str, why: str) -> None:
    with pytest.raises(RuleError) as error:
        Faults(["reset", spec])
    assert repr(spec) in str(error.value)
    assert why in str(error.value)


@given(st.text(max_size=40) | st.builds("cut {}={}".format, st.text(max_size=6), st.text(max_size=6)))
def test_any_text_is_a_rule_or_refused(spec: str) -> None:
    refused = ""
    try:
        Faults([spec])
    except RuleError as error:
        refused = str(error)
    assert not refused or repr(spec) in refused


def test_without_rules_there_is_nothing_to_do() -> None:
    assert not Faults([])
    assert not Faults(["seed=1"])
    assert Faults(["reset"])


@pytest.mark.parametrize(
    ("words", "strikes"),
    [
        ("host=api.openai.com", True),
        ("host=*.openai.com", True),
        ("host=API.OpenAI.com", True),
        ("host=openai.com", False),
        ("provider=openai", True),
        ("provider=open*", True),
        ("provider=azure", False),
        ("model=gpt-4o*", True),
        ("model=gpt-4o", False),
        ("provider=openai model=gpt-4o-mini host=api.*", True),
        ("provider=openai model=other", False),
    ],
)
def test_host_provider_and_model_select(words: str, strikes: bool) -> None:
    assert struck(Faults([f"reset {words}"]), 1) == [strikes]


def test_a_hosts_case_and_final_dot_do_not_matter() -> None:
    assert Faults(["reset host=api.openai.com"]).choose("API.OPENAI.COM.", asked(), 0.0)


@pytest.mark.parametrize("kind", ["cut", "stall", "malformed", "error", "unterminated"])
def test_a_fault_inside_a_stream_leaves_whole_answers_alone_and_does_not_count_them(kind: str) -> None:
    faults = Faults([f"{kind} times=1"])
    assert struck(faults, 3, asked(stream=False)) == [False] * 3
    assert struck(faults, 2) == [True, False]


@pytest.mark.parametrize("spec", ["status=500", "reset", "silence", "slow=1", "flapping"])
def test_a_fault_before_the_answer_strikes_whole_answers_too(spec: str) -> None:
    assert struck(Faults([spec]), 1, asked(stream=False)) == [True]


def test_times_strikes_only_so_many() -> None:
    assert struck(Faults(["reset times=2"]), 4) == [True, True, False, False]


def test_every_strikes_each_nth() -> None:
    assert struck(Faults(["reset every=3"]), 7) == [False, False, True, False, False, True, False]


def test_times_counts_what_was_struck_not_what_was_seen() -> None:
    assert struck(Faults(["reset every=2 times=1"]), 4) == [False, True, False, False]


def test_flapping_strikes_every_other_request_from_the_first_on() -> None:
    assert struck(Faults(["flapping"]), 4) == [True, False, True, False]


def test_down_and_up_take_turns_from_the_first_request_on() -> None:
    faults = Faults(["flapping down=2 up=3"])
    at = [faults.choose(HOST, asked(), now) is not None for now in (100.0, 101.9, 102.0, 104.9, 105.0, 107.0)]
    assert at == [True, True, False, False, True, False]


def test_down_without_up_comes_back_for_good() -> None:
    faults = Faults(["reset down=60"])
    assert [faults.choose(HOST, asked(), now) is not None for now in (5.0, 64.9, 65.0, 1e9)] == [
        True,
        True,
        False,
        False,
    ]


def test_the_first_rule_that_strikes_decides_and_the_later_ones_do_not_count_it() -> None:
    faults = Faults(["status=429 times=1", "status=500 times=1", "status=503 model=other"])
    chosen = [faults.choose(HOST, asked(), 0.0) for _ in range(3)]
    assert [fault.status if fault else None for fault in chosen] == [429, 500, None]


def test_p_strikes_about_that_share() -> None:
    hits = sum(struck(Faults(["reset p=0.2", "seed=any"]), 2_000))
    assert 300 < hits < 500


def test_a_seed_makes_chance_the_same_in_each_run() -> None:
    runs = [struck(Faults(["seed=7", "reset p=0.5"]), 64) for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]
    assert struck(Faults(["seed=8", "reset p=0.5"]), 64) != runs[0]
    assert struck(Faults(["reset p=0.5", "seed=7"]), 64) == runs[0]  # wherever it stands


def test_without_a_seed_chance_differs_from_run_to_run() -> None:
    assert struck(Faults(["reset p=0.5"]), 128) != struck(Faults(["reset p=0.5"]), 128)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("cut after=40", "cut after 40 tokens"),
        ("stall", "stall after 1 token"),
        ("error status=529 after=2", "error 529 after 2 tokens"),
        ("status=429", "status 429"),
        ("slow=1.5", "first token 1.5 s late"),
        ("malformed frame=10", "malformed frame 10"),
        ("flapping", "flapping 503"),
        ("unterminated", "unterminated"),
    ],
)
def test_a_log_line_says_what_was_done(spec: str, said: str) -> None:
    assert parse_rule(spec).fault.said == said


def test_the_page_says_nothing_but_what_is_possible() -> None:
    page = (Path(__file__).parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")
    quoted = re.findall(r"(?:--break |midstream_break=)'([^']+)'", page)
    _, faults, selectors = re.split(r"^## (?:Faults|Whom they strike)$", page, flags=re.M)
    rows = re.compile(r"^\| `([^`]+)` \|", re.M)
    assert len(quoted) >= 4
    assert [parse_rule(spec).fault.kind for spec in rows.findall(faults)] == list(get_args(Kind.__value__))
    assert len([parse_rule(f"reset {words}") for words in rows.findall(selectors)]) == 7
    assert all(Faults([spec]) for spec in quoted)
