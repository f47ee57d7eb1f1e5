"""The configuration in force: one for all addons of a process, so that they never disagree on whose a request is."""

from __future__ import annotations

import logging
from pathlib import Path
from time import monotonic
from weakref import WeakValueDictionary

from midstream.config import Config, MissingKey
from midstream.config.file import ConfigFile
from midstream.providers import Owner, provider_of

log = logging.getLogger(__name__)

LOOK = 0.5
"""Seconds between two looks at whether the file has changed, however often it is asked for; a look is one stat()."""

_OPEN: WeakValueDictionary[Path, InForce] = WeakValueDictionary()


class InForce:
    """A file's configuration as of now, or, without a file, what holds then. It has no thread: whoever asks looks."""

    def __init__(self, file: ConfigFile | None) -> None:
        self._file = file
        self._default = Config.default()
        self._next = monotonic() + LOOK

    @classmethod
    def of(cls, path: str) -> InForce:
        """Return the one of this process for a file; path: "" for none. Raises ConfigError.

        mitmproxy loads each addon as a module of its own: they meet here.
        """
        if not path:
            return cls(None)
        place = Path(path).expanduser().absolute()
        found = _OPEN.get(place)
        if found is None:
            found = _OPEN[place] = cls(ConfigFile(path))
            _warn_of_missing_keys(found.config)
        return found

    @property
    def config(self) -> Config:
        """As of now; a change that is wrong is logged, and what was in force stays."""
        if self._file is None:
            return self._default
        if (now := monotonic()) >= self._next:
            self._next = now + LOOK
            changed = self._file.poll()
            if changed is not None:
                _warn_of_missing_keys(changed)
        return self._file.config

    def whose(self, host: str) -> Owner | None:
        """Whose a host is: as configured, else as built in."""
        return provider_of(host) if self._file is None else self.config.provider_of_host(host)


def _warn_of_missing_keys(config: Config) -> None:
    """Said as soon as the configuration is in force: an ill-kept fallback shows only when it is needed."""
    missing: list[str] = []
    for provider in config.providers.values():
        try:
            provider.credential()
        except MissingKey as error:
            missing.append(error.ahead)
    if missing:
        log.warning("%s", "\n".join(missing))
