"""midstream.toml on disk: read, checked, read again when it changes. An error names the file, the line, the key, the value
and what would be right."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from midstream.config import Config, ConfigError, MissingKey, ProviderConfig
from midstream.config.lines import Lines
from midstream.config.problems import Problem, contradictions, of_pydantic
from midstream.config.values import ENV

log = logging.getLogger(__name__)

FILE_LIMIT = 1024 * 1024
"""Bytes of a configuration file; thousands of routes and keys fit in."""


def load(path: str | Path) -> Config:
    """Read a file. Raises ConfigError with all that is wrong with it."""
    path = Path(path).expanduser()
    return parse(_text(_read(path), path), str(path))


def parse(text: str, name: str = "midstream.toml") -> Config:
    """Read a text; name: what errors call it. Raises ConfigError with all that is wrong with it."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = re.search(r"at line (\d+)", str(error))
        line = at[1] if at else text.count("\n", 0, -1) + 1  # else it says "at end of document"
        raise ConfigError(f"{name}:{line}: not TOML: {error}") from None
    problems: list[Problem] = []
    config = Config.default()
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems += of_pydantic(error)
    problems += contradictions(raw)
    if not problems:
        return config
    lines = Lines(text)
    placed = sorted(((lines.line_of(problem.path), problem) for problem in problems), key=lambda pair: pair[0])
    raise ConfigError(*(f"{name}:{line}: {problem}" if line else f"{name}: {problem}" for line, problem in placed))


def _read(path: Path) -> bytes:
    """Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > FILE_LIMIT:
        raise ConfigError(f"{path}: larger than {FILE_LIMIT} bytes")
    return data


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8, which TOML must be") from None


class ConfigFile:
    """A file whose changes come into force while the proxy runs. It has no thread: whoever owns it polls.

    `config` is what is in force. Raises ConfigError when made of a file that is broken from the start.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._stamp = self._look()
        data = _read(self.path)
        self._digest = hashlib.sha256(data).digest()
        self._again = True
        self._trouble = ""
        self.config = parse(_text(data, self.path), str(self.path))

    def poll(self) -> Config | None:
        """The new configuration, if the file has changed and is right; else None. What is wrong is logged once per change."""
        stamp = self._look()
        if stamp == self._stamp and not self._again:
            return None
        # A change within the clock tick of the last one leaves the stamp as it was, so after each change look once more.
        self._again, self._stamp = stamp != self._stamp, stamp
        try:
            return self._reload()
        except ConfigError as error:
            if str(error) != self._trouble:
                log.error("%s\nThe configuration stays as it was.", error)
            self._trouble = str(error)
            return None

    def _look(self) -> tuple[int, ...]:
        """What tells that a file has changed, without reading it; () if there is none."""
        try:
            stat = self.path.stat()
        except OSError:
            return ()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_ctime_ns

    def _reload(self) -> Config | None:
        data = _read(self.path)
        if not data and self._again:
            return None  # as seen by somebody who looks while an editor writes: believed at the second look
        digest = hashlib.sha256(data).digest()
        if digest == self._digest:
            self._trouble = ""
            return None
        self._digest = digest
        self.config = parse(_text(data, self.path), str(self.path))
        self._trouble = ""
        log.info("%s: read again, in force from now on", self.path)
        return self.config


class Finding(NamedTuple):
    """What is wrong, and how to mend it; "": by editing the file."""

    problem: str
    mend: str = ""


def check(path: str | Path) -> list[Finding]:
    """All that is wrong with a file, or will be once it is used; [] if nothing is. For `midstream doctor`."""
    path = Path(path).expanduser()
    try:
        config = load(path)
    except ConfigError as error:
        return list(map(Finding, error.problems))
    found = [*_unset_keys(config), *map(Finding, _expired_keys(config)), *map(Finding, _hidden_routes(config))]
    if _readable_by_others(path) and any(_literal(provider) for provider in config.providers.values()):
        found.append(
            Finding("others on this machine can read the API keys in it", f'chmod 600 {path}, or api_key = "env:NAME"')
        )
    folder = config.streams.spool_folder
    if folder is not None and not (folder.is_dir() and os.access(folder, os.W_OK)):
        found.append(Finding(f"streams.spool_dir: {folder} is no folder that can be written to"))
    return [Finding(f"{path}: {problem}", mend) for problem, mend in found]


def _unset_keys(config: Config) -> Iterator[Finding]:
    for provider in config.providers.values():
        try:
            provider.credential()
        except MissingKey as error:
            yield Finding(str(error), error.mend)


def _expired_keys(config: Config) -> Iterator[str]:
    now = datetime.now(UTC)
    for name, key in config.keys.items():
        if key.expired(now):
            yield f"keys.{name}: expired on {key.expires:%Y-%m-%d}"


def _hidden_routes(config: Config) -> Iterator[str]:
    """Routes that never match, since one before them takes everything that they would."""
    for i, route in enumerate(config.routes):
        for j, earlier in enumerate(config.routes[:i]):
            if earlier.provider in ("*", route.provider) and earlier.model in ("*", route.model):
                yield f"routes[{i}]: never used, routes[{j}] before it matches all that it would"
                break


def _literal(provider: ProviderConfig) -> bool:
    return provider.api_key is not None and not provider.api_key.get_secret_value().startswith(ENV)


def _readable_by_others(path: Path) -> bool:
    return os.name == "posix" and bool(path.stat().st_mode & 0o077)
