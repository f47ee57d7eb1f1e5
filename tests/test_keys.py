"""Who may use the gateway."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.config import Key
from midstream.keys import Denied, Granted, Meter, authorise, digest_of, new_token

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def key(token: str, **fields: Any) -> Key:
    return Key.model_validate({"sha256": digest_of(token), **fields})


KEYS = {
    "plain": key("plain-token"),
    "limited": key("limited-token", models=["gpt-4o*", "anthropic/*"], max_streams=3),
    "old": key("old-token", expires=date(2026, 6, 1)),
    "older": key("older-token", expires=date(2026, 6, 2)),
}


def test_the_digest_is_the_sha256_of_the_token() -> None:
    assert digest_of("abc") == hashlib.sha256(b"abc").hexdigest()


def test_a_known_token_is_granted_with_its_name_and_cap() -> None:
    assert authorise(KEYS, "plain-token", now=NOW, model="any") == Granted("plain", None)
    assert authorise(KEYS, "limited-token", now=NOW, model="gpt-4o-mini") == Granted("limited", 3)


def test_the_digest_in_the_configuration_may_be_in_capitals() -> None:
    shouted = Key.model_validate({"sha256": digest_of("t").upper()})
    assert authorise({"k": shouted}, "t", now=NOW) == Granted("k")


@pytest.mark.parametrize(
    "token", ["", "plain-toke", "plain-token ", "PLAIN-TOKEN", digest_of("plain-token"), "\udc80", "é"]
)
def test_without_a_known_token_it_is_401(token: str) -> None:
    answer = authorise(KEYS, token, now=NOW, model="any")
    assert isinstance(answer, Denied)
    assert answer.status == 401
    assert "plain" not in answer.reason


def test_without_keys_nobody_is_granted() -> None:
    assert isinstance(authorise({}, "plain-token", now=NOW), Denied)


def test_an_expired_key_is_401_from_the_moment_on() -> None:
    assert authorise(KEYS, "old-token", now=NOW) == Denied(401, "this key has expired")
    assert authorise(KEYS, "older-token", now=NOW) == Granted("older")
    midnight = datetime(2026, 6, 2, tzinfo=UTC)
    assert authorise(KEYS, "older-token", now=midnight - timedelta(seconds=1)) == Granted("older")
    assert isinstance(authorise(KEYS, "older-token", now=midnight), Denied)


def test_expiry_knows_time_zones() -> None:
    east = timezone(timedelta(hours=2))
    assert key("t", expires=datetime(2026, 6, 1, 14, 0, tzinfo=east)).expires == NOW
    assert key("t", expires=datetime(2026, 6, 1, 12, 0)).expires == NOW  # noqa: DTZ001 - TOML's local date-time


@pytest.mark.parametrize(
    ("provider", "model", "granted"),
    [
        ("openai", "gpt-4o", True),
        ("backup", "gpt-4o-mini", True),
        ("", "gpt-4o", True),
        ("anthropic", "claude-sonnet-4", True),
        ("", "claude-sonnet-4", False),
        ("openai", "gpt-5", False),
        ("openai", "GPT-4o", False),
        ("openai", "x-gpt-4o", False),
        ("openrouter", "anthropic/claude", True),
        ("openai", "", False),
    ],
)
def test_a_model_outside_its_globs_is_403(provider: str, model: str, granted: bool) -> None:
    answer = authorise(KEYS, "limited-token", now=NOW, model=model, provider=provider)
    assert isinstance(answer, Granted) is granted
    assert isinstance(answer, Granted) or answer.status == 403


def test_who_it_is_can_be_asked_without_a_model() -> None:
    assert authorise(KEYS, "limited-token", now=NOW) == Granted("limited", 3)


@pytest.mark.parametrize("token", ["plain-token", "nobody"])
def test_every_key_is_compared_in_constant_time_with_no_early_exit(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    compare = hmac.compare_digest

    def noted(a: str, b: str) -> bool:
        compared.append(a)
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    authorise(KEYS, token, now=NOW)
    assert compared == [each.sha256 for each in KEYS.values()]


@given(st.text())
def test_any_text_as_a_token_is_an_answer(token: str) -> None:
    assert isinstance(authorise(KEYS, token, now=NOW, model=token), Denied)


def test_a_new_token_is_recognisable_long_and_new_each_time() -> None:
    made = [new_token() for _ in range(20)]
    assert len({token for token, _ in made}) == 20
    for token, digest in made:
        assert re.fullmatch(r"mst_[\w-]{43}", token, re.ASCII)
        assert digest == digest_of(token)
        assert authorise({"k": Key.model_validate({"sha256": digest})}, token, now=NOW) == Granted("k")


def test_a_meter_counts_each_key_up_to_its_cap() -> None:
    meter = Meter()
    assert [meter.take("a", 2) for _ in range(4)] == [True, True, False, False]
    assert meter.take("b", 2)
    meter.give("a")
    assert meter.open("a") == 1
    assert [meter.take("a", 2), meter.take("a", 2)] == [True, False]


def test_streams_without_a_cap_count_towards_one_that_comes_later() -> None:
    meter = Meter()
    assert all(meter.take("a", None) for _ in range(5))
    assert not meter.take("a", 5)
    assert meter.take("a", 6)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(1, 3))))
def test_a_meter_is_never_over_a_cap_below_zero_or_full_of_forgotten_names(
    steps: list[tuple[str, bool, int]],
) -> None:
    meter, counts = Meter(), {"a": 0, "b": 0}
    for name, take, cap in steps:
        if take:
            assert meter.take(name, cap) is (counts[name] < cap)
            counts[name] += counts[name] < cap
        else:
            meter.give(name)
            counts[name] = max(0, counts[name] - 1)
        assert {each: meter.open(each) for each in counts} == counts
        assert len(meter) == sum(count > 0 for count in counts.values())
