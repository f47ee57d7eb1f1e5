"""Who calls the gateway."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from midstream.config import Config
from midstream.relay import access
from midstream.relay.refusal import Refusal

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TOKEN = "mst_token"
KEYED = Config.model_validate(
    {"keys": {"app": {"sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "models": ["gpt-4o*"], "max_streams": 3}}}
)


def identify(config: Config = Config(), **said: str) -> access.Caller:  # noqa: B008 - frozen
    headers = {"authorization": f"Bearer {said['token']}"} if "token" in said else {}
    forwarded = {"x-forwarded-for": said["forwarded"]} if "forwarded" in said else {}
    return access.identify(
        config,
        peer=said.get("peer", "127.0.0.1"),
        authority=said.get("host", "localhost:8081"),
        headers=headers | forwarded,
        query_token=said.get("query", ""),
        now=NOW,
    )


def test_without_keys_this_machine_alone() -> None:
    for peer in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
        assert identify(peer=peer).key is None
    for peer in ("192.168.1.5", "203.0.113.1", "", "::ffff:10.0.0.1", "fe80::1%eth0"):
        with pytest.raises(Refusal) as refused:
            identify(peer=peer)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    "host",
    ["midstream.internal", "MIDSTREAM.internal.:80", "localhost", "a.localhost:1", "127.0.0.1:8081", "[::1]:8081"],
)
def test_hosts_that_are_this_machine(host: str) -> None:
    identify(host=host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8081",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "[::2]",
        "0.0.0.0",
    ],
)
def test_hosts_that_are_not(host: str) -> None:
    """DNS rebinding: a page's own name, pointed at this machine."""
    with pytest.raises(Refusal, match="localhost"):
        identify(host=host)


def test_a_request_that_another_proxy_forwarded_is_not_local() -> None:
    with pytest.raises(Refusal) as refused:
        identify(forwarded="203.0.113.9")
    assert refused.value.status == 403


def test_owners_are_told_apart_and_tell_nothing() -> None:
    one, other = identify(token="sk-one"), identify(token="sk-other")
    assert one.owner != other.owner
    assert one.owner == identify(query="sk-one").owner
    assert "sk-one" not in one.owner
    assert one.owner != f"caller:{hashlib.sha256(b'sk-one').hexdigest()[:32]}"
    assert "sk-one" not in repr(one)


def test_the_callers_own_credential_may_be_forwarded_a_gateway_key_never() -> None:
    assert identify(token="sk-one").credential == "sk-one"
    assert identify(token="mst_old_key").credential == ""
    assert identify(KEYED, token=TOKEN, peer="203.0.113.1", host="proxy.example.com").credential == ""


def test_with_keys_everybody_needs_one() -> None:
    assert identify(KEYED, token=TOKEN) == access.Caller("key:app", "app", 3)
    for said in ({}, {"token": "mst_wrong"}, {"query": "x"}):
        with pytest.raises(Refusal) as refused:
            identify(KEYED, **said)
        assert refused.value.status == 401
        assert "WWW-Authenticate" in refused.value.headers


def test_a_key_is_held_to_its_models() -> None:
    caller = identify(KEYED, token=TOKEN)
    access.check_model(KEYED, caller, "gpt-4o-mini", "openai")
    with pytest.raises(Refusal) as refused:
        access.check_model(KEYED, caller, "o3", "openai")
    assert refused.value.status == 403


def test_tokens_where_the_sdks_put_them() -> None:
    assert access.token_of({"authorization": "bearer  a "}, "q") == "a"
    assert access.token_of({"authorization": "Basic a", "x-api-key": "b"}, "q") == "b"
    assert access.token_of({"x-goog-api-key": "c"}, "q") == "c"
    assert access.token_of({}, "q") == "q"


def test_a_credential_that_is_no_key_owns_its_streams_and_nothing_else() -> None:
    owner = access.owner_without_key({"authorization": "Bearer sk-own"}, "")
    assert owner == access.owner_of("sk-own") == access.owner_without_key({}, "sk-own")
    assert owner == access.owner_without_key({"x-api-key": "sk-own"}, "")
    assert access.owner_without_key({}, "") == ""  # nobody's streams are not everybody's
    assert access.owner_without_key({"authorization": f"Bearer {TOKEN}"}, "") == ""


def test_a_chat_needs_a_key_that_still_holds() -> None:
    caller = identify(KEYED, token=TOKEN)
    access.check_chat(KEYED, caller, NOW)
    access.check_chat(Config(), identify(), NOW)
    ended = [
        (KEYED, access.Caller(access.owner_of("sk-own"))),
        (Config(), caller),  # the last key was taken away: what is left is for this machine alone
        (keyed(name="other"), caller),
        (keyed(token="mst_replaced"), caller),
        (keyed(expires=datetime(2026, 5, 31, tzinfo=UTC)), caller),
    ]
    for config, who in ended:
        with pytest.raises(Refusal) as refused:
            access.check_chat(config, who, NOW)
        assert refused.value.status == 401


def keyed(name: str = "app", token: str = TOKEN, **more: object) -> Config:
    return Config.model_validate({"keys": {name: {"sha256": hashlib.sha256(token.encode()).hexdigest()} | more}})
