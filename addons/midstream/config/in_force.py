"""The configuration in force: one for all addons of a process, so that they never disagree on whose a request is."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from weakref import WeakValueDictionary

from midstream.config import Config
from midstream.config.file import ConfigFile
from midstream.providers import Owner, provider_of

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
        return found

    @property
    def config(self) -> Config:
        """As of now; a change that is wrong is logged, and what was in force stays."""
        if self._file is None:
            return self._default
        if (now := monotonic()) >= self._next:
            self._next = now + LOOK
            self._file.poll()
        return self._file.config

    def whose(self, host: str) -> Owner | None:
        """Whose a host is: as configured, else as built in."""
        return provider_of(host) if self._file is None else self.config.provider_of_host(host)
