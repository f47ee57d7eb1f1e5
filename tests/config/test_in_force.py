"""One configuration for all addons of a process, as of now."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from midstream.config import ConfigError
from midstream.config import in_force as config_in_force
from midstream.config.in_force import InForce

MINE = (
    '[providers.mine]\ndialect = "cohere"\nbase_url = "https://llm.example"\nhosts = ["llm.example", "*.llm.example"]\n'
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its one item is the time."""
    now = [100.0]
    monkeypatch.setattr(config_in_force, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "midstream.toml"
    path.write_text(MINE)
    return path


def name_of(in_force: InForce, host: str) -> str | None:
    owner = in_force.whose(host)
    return owner.name if owner else None


def test_without_a_file_the_built_in_providers_are_in_force() -> None:
    in_force = InForce.of("")
    assert (name_of(in_force, "API.openai.com."), name_of(in_force, "llm.example")) == ("openai", None)
    assert in_force.config.providers == {}


def test_a_files_hosts_come_before_the_built_in_ones(file: Path) -> None:
    in_force = InForce.of(str(file))
    owner = in_force.whose("eu.llm.example")
    assert owner is not None
    assert (owner.name, owner.dialect, owner.prices) == ("mine", "cohere", "")
    assert name_of(in_force, "api.openai.com") == "openai"


def test_all_addons_share_the_one_of_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = InForce.of(str(file))
    assert InForce.of(str(file)) is one
    monkeypatch.chdir(file.parent)
    assert InForce.of(file.name) is one


def test_a_change_is_in_force_at_the_next_look(file: Path, clock: list[float]) -> None:
    in_force = InForce.of(str(file))
    file.write_text(MINE.replace("mine", "ours"))
    clock[0] += config_in_force.LOOK / 2
    assert name_of(in_force, "llm.example") == "mine"  # nobody looks at each request
    clock[0] += config_in_force.LOOK
    assert name_of(in_force, "llm.example") == "ours"


def test_what_is_wrong_leaves_in_force_what_was(file: Path, clock: list[float]) -> None:
    in_force = InForce.of(str(file))
    file.write_text("nonsense = 1\n")
    for _ in range(3):
        clock[0] += config_in_force.LOOK
        assert name_of(in_force, "llm.example") == "mine"


def test_a_file_that_is_wrong_from_the_start_is_refused(file: Path) -> None:
    file.write_text("nonsense = 1\n")
    with pytest.raises(ConfigError, match="nonsense"):
        InForce.of(str(file))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return said


def test_keys_that_are_not_in_the_environment_are_told_of_when_a_configuration_comes_into_force(
    file: Path, clock: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once at the start, whoever shares it, and once at each change; not of a change that is wrong."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    monkeypatch.setenv("OUR_KEY", "sk-hush")
    monkeypatch.setenv("BAD_KEY", "two words")
    keys = '[providers.groq]\napi_key = "env:OUR_KEY"\n[providers.anthropic]\napi_key = "env:NO_SUCH_KEY"\n'
    unset = (
        "[providers.anthropic] api_key: the environment variable NO_SUCH_KEY is not set: "
        "requests to anthropic will fail until it is"
    )
    file.write_text(MINE + keys)
    in_force = InForce.of(str(file))
    assert InForce.of(str(file)) is in_force
    assert warnings(caplog) == [unset]

    def look() -> list[str]:
        clock[0] += config_in_force.LOOK
        assert in_force.config
        return warnings(caplog)

    assert look() == []
    file.write_text(MINE + keys + '[providers.openai]\napi_key = "env:BAD_KEY"\n')
    (told,) = look()
    first, second = told.splitlines()
    assert first == unset
    assert "[providers.openai] api_key: the environment variable BAD_KEY is no API key" in second
    assert "two words" not in second
    assert look() == []
    file.write_text("nonsense = 1\n")
    assert look() == []
    file.write_text(MINE)
    assert look() == []


def test_a_file_whose_keys_are_all_there_is_taken_over_in_silence(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_force = InForce.of(str(file))
    assert in_force.config
    assert warnings(caplog) == []
