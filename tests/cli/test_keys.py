"""`midstream keys`."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from midstream.cli import main
from midstream.config.file import parse
from midstream.keys import Granted, authorise, digest_of


def keys(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments])


def test_new_prints_the_token_once_and_an_entry_that_grants_it() -> None:
    result = keys("new", "mobile-app", "--models", "gpt-4o*", "--models", "claude-*", "--max-streams", "8")
    assert result.exit_code == 0
    (token,) = [line for line in result.stdout.splitlines() if line.startswith("mst_")]
    assert result.output.count(token) == 1
    entry = result.stdout[result.stdout.index("[keys.mobile-app]") :]
    config = parse(entry)
    granted = authorise(config.keys, token, now=datetime.now(UTC), model="gpt-4o-mini")
    assert granted == Granted("mobile-app", 8)
    assert config.keys["mobile-app"].models == ("gpt-4o*", "claude-*")


def test_new_as_json_has_the_same() -> None:
    made = json.loads(keys("new", "a.b", "--models", 'odd"\x7f\\é😀', "--json").stdout)
    assert made["sha256"] == digest_of(made["token"])
    assert tomllib.loads(made["toml"]) == {"keys": {"a.b": {"sha256": made["sha256"], "models": ['odd"\x7f\\é😀']}}}
    assert made["token"] not in made["toml"]


@pytest.mark.parametrize(
    ("given", "expires"),
    [
        ("2199-01-31", "2199-01-31T00:00:00+00:00"),
        ("2199-01-31T12:00:00", "2199-01-31T12:00:00+00:00"),
        ("2199-01-31T12:00:00+02:00", "2199-01-31T10:00:00+00:00"),
    ],
)
def test_expires_is_a_date_or_a_time(given: str, expires: str) -> None:
    made = json.loads(keys("new", "k", "--expires", given, "--json").stdout)
    assert parse(made["toml"]).keys["k"].expires == datetime.fromisoformat(expires)


def test_expires_in_days() -> None:
    before = datetime.now(UTC).date()
    made = json.loads(keys("new", "k", "--expires", "90d", "--json").stdout)
    after = datetime.now(UTC).date()
    assert tomllib.loads(made["toml"])["keys"]["k"]["expires"] in {day + timedelta(days=90) for day in (before, after)}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a b"], "a name should be"),
        (["k", "--models", " "], "should not be empty"),
        (["k", "--expires", "soon"], "'soon' is none of"),
        (["k", "--expires", "2026-02-30"], "is none of"),
        (["k", "--expires", "99999999999d"], "is none of"),
        (["k", "--expires", "2020-01-01"], "past already"),
        (["k", "--max-streams", "0"], "--max-streams"),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_new_refuses_what_could_not_be_configured_and_makes_no_token(arguments: list[str], says: str) -> None:
    result = keys("new", *arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert "mst_" not in result.output


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "midstream.toml"
    path.write_text(
        f"""
[keys.phone]
sha256 = "{digest_of("one")}"
models = ["gpt-4o*", "claude-*"]
max_streams = 8
[keys.old]
sha256 = "{digest_of("two")}"
expires = 2020-01-01
"""
    )
    return path


def test_list_shows_keys_without_secrets(config: Path) -> None:
    result = keys("list", "--config", str(config))
    assert result.exit_code == 0
    phone, old = [line.split() for line in result.stdout.splitlines() if line.split()[:1] in (["phone"], ["old"])]
    assert phone == ["phone", "gpt-4o*", "claude-*", "-", "8", "valid"]
    assert (old[0], old[1], old[-1]) == ("old", "all", "expired")
    assert digest_of("one") not in result.stdout


def test_list_as_json(config: Path) -> None:
    phone, old = json.loads(keys("list", "--config", str(config), "--json").stdout)
    assert phone == {
        "name": "phone",
        "models": ["gpt-4o*", "claude-*"],
        "expires": None,
        "max_streams": 8,
        "state": "valid",
    }
    assert (old["state"], old["expires"]) == ("expired", "2020-01-01T00:00:00Z")


def test_list_without_keys_says_what_that_means(config: Path) -> None:
    config.write_text("")
    assert "loopback clients only" in keys("list", "--config", str(config)).stdout


def test_list_of_a_broken_file_names_what_is_wrong(config: Path) -> None:
    config.write_text("[streams]\ngrace = 'x'")
    result = keys("list", "--config", str(config))
    assert result.exit_code == 1
    assert f"{config}:2: streams.grace" in result.output


def test_keys_is_in_the_overview() -> None:
    assert "keys" in CliRunner().invoke(main, ["--help"]).output
