"""The catalogue of issue 4: each scenario ends in the whole answer, or, for the filter, in the right error.

Time-outs are a sixth to a half of what users have; `just catalogue` runs it with those. All sixteen run at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import openai
import pytest

from end_to_end.catalogue import EXPECTED, Case, Pace, cases, played, run
from end_to_end.harness import Authority, Proxy
from end_to_end.healing import WORDS

PACE = Pace(first_token=5, idle=5, late=10, down=4, retry_after=1, cool_down=1)


@dataclass
class Played:
    """All that has run, once."""

    proxy: Proxy
    client: openai.OpenAI
    cases: dict[str, Case]

    def row(self, case: Case) -> dict[str, Any]:
        return self.proxy.rows(1, f"model_requested = '{case.model}' and outcome is not null")[0]

    def attempts(self, case: Case) -> list[dict[str, Any]]:
        return self.proxy._query(f"select * from attempts where stream_id = '{self.row(case)['id']}' order by n")

    def ended(self, case: Case) -> list[str]:
        return [attempt["ended"] for attempt in self.attempts(case)]


@pytest.fixture(scope="module")
def catalogue(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    all_ = cases(PACE)
    with played(all_, PACE, authority, tmp_path_factory.mktemp("catalogue")) as (proxy, client):
        run(all_, client)
        yield Played(proxy, client, {case.name: case for case in all_})


def ran(catalogue: Played, name: str) -> Case:
    """The scenario of this name, which has ended as it must."""
    case = catalogue.cases[name]
    assert case.verdict == EXPECTED.get(name, "rescued"), (case.text, case.error)
    outcome = "failed" if name in EXPECTED else "complete"
    assert catalogue.row(case)["outcome"] == outcome
    assert len(catalogue.attempts(case)) == sum(case.counts)
    return case


def test_a_429_is_asked_again_when_it_says_and_not_before(catalogue: Played) -> None:
    case = ran(catalogue, "429 with Retry-After")
    assert case.counts == (2, 0)
    first, second = case.asked["primary"].times
    assert second - first >= PACE.retry_after
    assert case.asked["primary"].bodies[0] == case.asked["primary"].bodies[1]


@pytest.mark.parametrize("status", [429, 503])
def test_one_that_fails_for_ever_is_left_for_the_fallback(catalogue: Played, status: int) -> None:
    case = ran(catalogue, f"{status} for ever")
    assert case.counts == (3, 1)
    assert [attempt["http_status"] for attempt in catalogue.attempts(case)] == [status] * 3 + [200]


def test_a_500_once(catalogue: Played) -> None:
    case = ran(catalogue, "500 once")
    assert case.counts == (2, 0)
    assert catalogue.ended(case) == ["server_error", "complete"]


def test_a_reset_before_the_headers(catalogue: Played) -> None:
    assert ran(catalogue, "reset before headers").counts == (2, 0)


def test_silence_is_not_asked_again_but_left_for_the_fallback(catalogue: Played) -> None:
    case = ran(catalogue, "silence")
    assert case.counts == (1, 1)
    assert catalogue.ended(case) == ["first_token_timeout", "complete"]


def test_a_first_token_that_is_too_late_is_not_waited_for(catalogue: Played) -> None:
    case = ran(catalogue, "first token late")
    assert case.counts == (1, 1)
    assert catalogue.ended(case) == ["first_token_timeout", "complete"]


def test_a_cut_after_40_of_60_is_gone_on_from(catalogue: Played) -> None:
    case = ran(catalogue, "cut after 40")
    assert case.counts == (2, 0)
    turns = case.asked["primary"].bodies[1]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"] == "".join(WORDS[:40])
    assert {chunk.id for chunk in case.chunks} == {"chatcmpl-first"}
    assert case.chunks[-1].usage.completion_tokens >= 60
    assert (catalogue.row(case)["attempts"], catalogue.row(case)["breaks"]) == (2, 1)


def test_a_stall_after_20_is_gone_on_from_elsewhere(catalogue: Played) -> None:
    case = ran(catalogue, "stall after 20")
    assert case.counts == (1, 1)
    assert (catalogue.row(case)["rerouted"], catalogue.row(case)["breaks"]) == (1, 1)


def test_a_malformed_tenth_frame_is_left_out_and_counted(catalogue: Played) -> None:
    case = ran(catalogue, "malformed tenth frame")
    assert case.counts == (1, 0)
    assert "malformed" in catalogue.row(case)["error_type"]


def test_an_answer_without_done_is_whole_with_its_usage(catalogue: Played) -> None:
    case = ran(catalogue, "no DONE")
    assert case.counts == (1, 0)
    assert case.chunks[-1].usage.completion_tokens == 60


def test_too_long_a_context_goes_to_the_larger_model(catalogue: Played) -> None:
    assert ran(catalogue, "context too long").counts == (1, 1)


def test_a_content_filter_is_told_and_not_asked_again(catalogue: Played) -> None:
    case = ran(catalogue, "content filter")
    assert case.counts == (1, 0)
    assert isinstance(case.error, openai.BadRequestError)
    assert (case.error.code, case.error.status_code) == ("content_filter", 400)
    assert "filtered: violence" in str(case.error)


def test_a_fallback_that_rejects_a_prefill_is_asked_the_other_way(catalogue: Played) -> None:
    case = ran(catalogue, "cut and no prefill")
    first, second = (body["messages"] for body in case.asked["fallback"].bodies)
    assert [turn["role"] for turn in first] == ["user", "assistant"]
    assert [turn["role"] for turn in second] == ["user", "assistant", "user"]


def test_the_fallbacks_model_and_usage_are_reported(catalogue: Played) -> None:
    case = ran(catalogue, "fallback accounting")
    assert case.counts == (3, 1)
    assert (case.chunks[0].model, case.chunks[-1].usage.completion_tokens) == ("gpt-backup", 60)
    spare = case.asked["fallback"]
    assert spare.bodies[0]["model"] == f"spare-{case.model}"
    assert spare.headers[0]["authorization"] == "Bearer sk-backup"
    assert "sk-test" not in json.dumps(spare.headers)
    found = catalogue.row(case)
    assert (found["model_requested"], found["model_served"], found["rerouted"]) == (case.model, "gpt-backup", 1)
    assert (found["output_tokens"], found["input_tokens"], found["usage_source"]) == (60, 7, "provider")


def test_a_primary_that_is_down_is_left_alone_and_used_again_once_it_is_up(catalogue: Played) -> None:
    """Served by the fallback meanwhile, with no more than a probe for each cool-down."""
    case = catalogue.cases["down for a while"]
    assert case.verdict == "rescued"
    assert case.served == ["gpt-backup"] * (len(case.served) - 1) + ["gpt-4o-2024"]
    times = case.asked["primary"].times
    probes = times[2:]  # the last of three failures opened its breaker
    assert len(probes) > 1
    assert all(later - earlier >= PACE.cool_down for earlier, later in pairwise(probes))
