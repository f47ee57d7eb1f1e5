"""midstream.toml on disk: read, looked at again while it is in force, and checked."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from midstream.config import Config, ConfigError
from midstream.config import file as config_file
from midstream.config.file import ConfigFile, check, load

DIGEST = "0123456789abcdef" * 4


def test_a_file_is_read_with_its_name_in_the_errors(tmp_path: Path) -> None:
    path = tmp_path / "midstream.toml"
    path.write_bytes(b"\xef\xbb\xbf[streams]\r\ngrace = 3\r\n")
    assert load(path).streams.grace == 3
    path.write_bytes(b"[streams]\r\n\r\ngrace = ''\r\n")
    with pytest.raises(ConfigError, match=rf"{path}:3: streams.grace"):
        load(str(path))
    path.write_bytes(b"# fine\n# \xff\n")
    with pytest.raises(ConfigError, match=rf"{path}:2: not UTF-8"):
        load(path)


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        ConfigFile(tmp_path)
    monkeypatch.setattr(config_file, "FILE_LIMIT", 10)
    (tmp_path / "large.toml").write_text("#" * 11)
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        load(tmp_path / "large.toml")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "midstream.toml"
    path.write_text("[streams]\ngrace = 1\n")
    return path


def settled(path: Path) -> ConfigFile:
    """As it is once it has been looked at a second time."""
    file = ConfigFile(path)
    assert file.poll() is None
    return file


def test_an_unchanged_file_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = settled(path)
    monkeypatch.setattr(config_file, "_read", lambda _: pytest.fail("was read"))
    assert file.poll() is None


def test_a_change_is_in_force_at_the_next_poll(path: Path) -> None:
    file = settled(path)
    path.write_text("[streams]\ngrace = 22\n")
    new = file.poll()
    assert new is file.config
    assert new is not None
    assert new.streams.grace == 22
    assert file.poll() is None


def test_a_file_replaced_as_editors_do_is_a_change(path: Path) -> None:
    file = settled(path)
    other = path.with_suffix(".new")
    other.write_text("[streams]\ngrace = 2\n")
    other.replace(path)
    new = file.poll()
    assert new is not None
    assert new.streams.grace == 2


def test_a_touched_file_is_no_change(path: Path) -> None:
    file = settled(path)
    os.utime(path, (1, 1))
    assert file.poll() is None


def test_a_second_change_within_one_tick_of_the_clock_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConfigFile, "_look", lambda _: (1, path.stat().st_size))
    file = settled(path)
    path.write_text("[streams]\ngrace = 22\n")
    assert file.poll() is not None
    path.write_text("[streams]\ngrace = 33\n")
    new = file.poll()
    assert new is not None
    assert new.streams.grace == 33


def test_a_broken_change_is_logged_once_and_the_old_stays_in_force(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = settled(path)
    before = file.config
    path.write_text("[streams]\ngrace = 'x'\n")
    assert [file.poll() for _ in range(4)] == [None] * 4
    assert file.config is before
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"{path}:2: streams.grace" in record.getMessage()
    path.write_text("[streams]\ngrace = 'yy'\n")
    file.poll()
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2
    path.write_text("[streams]\ngrace = 3\n")
    new = file.poll()
    assert new is not None
    assert new.streams.grace == 3


def test_a_broken_change_taken_back_leaves_everything_as_it_was(path: Path) -> None:
    file = settled(path)
    before, text = file.config, path.read_text()
    path.write_text("[streams")
    assert file.poll() is None
    path.write_text(text)
    file.poll()
    assert file.config == before


def test_a_file_that_is_gone_changes_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = settled(path)
    text = path.read_text()
    path.unlink()
    assert [file.poll() for _ in range(3)] == [None] * 3
    assert file.config.streams.grace == 1
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    path.write_text(text)
    assert file.poll() is None
    path.write_text("[streams]\ngrace = 9\n")
    assert file.poll() is not None


def test_an_emptied_file_is_believed_at_the_second_look(path: Path) -> None:
    file = settled(path)
    path.write_text("")
    assert file.poll() is None
    assert file.poll() == Config.default()


def test_a_file_broken_from_the_start_is_an_error(path: Path) -> None:
    path.write_text("nonsense")
    with pytest.raises(ConfigError):
        ConfigFile(path)


def test_check_finds_nothing_in_a_good_file(path: Path) -> None:
    assert check(path) == []


def test_check_lists_what_will_go_wrong_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUR_KEY", raising=False)
    path.write_text(
        f"""
[providers.openai]
api_key = "env:OUR_KEY"
[providers.groq]
api_key = "literal"
[[routes]]
model = "gpt-*"
[[routes]]
provider = "openai"
model = "gpt-*"
[[routes]]
model = "gpt-4"
[streams]
spool_dir = "{path.parent}/none"
[keys.old]
sha256 = "{DIGEST}"
expires = 2020-01-01
"""
    )
    path.chmod(0o644)
    found = "\n".join(problem + mend for problem, mend in check(path))
    assert "provider openai: the environment variable OUR_KEY" in found
    assert "keys.old: expired on 2020-01-01" in found
    assert "routes[1]: never used, routes[0] before it" in found
    assert "routes[2]" not in found
    assert "chmod 600" in found
    assert "streams.spool_dir" in found
    path.chmod(0o600)
    assert "chmod" not in "".join(mend for _, mend in check(path))


def test_check_lists_the_errors_of_a_broken_file(path: Path) -> None:
    path.write_text("[streams]\ngrace = 'x'\nkeep = 'y'")
    assert [problem.partition(": ")[0] for problem, _ in check(path)] == [f"{path}:2", f"{path}:3"]
