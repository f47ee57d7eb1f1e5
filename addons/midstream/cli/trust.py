"""The files by which programs trust the proxy's CA, and the proxy whom this machine trusts: where they are, what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from midstream.cli.ca import USER_BUNDLES, java_trust_store, read_certificates, roots, write_atomically, write_bundle
from midstream.cli.environment import EXTRA_VARIABLES, JAVA_PASSWORD
from midstream.cli.paths import DEFAULT_CONFDIR, is_writable, state_folder


class Trust:
    """The files of one CA in one environment. Another CA's, or those of a shell with other roots, are others: programs and
    proxies at work read theirs again."""

    def __init__(self, confdir: Path, environment: Mapping[str, str], db: str | None = None) -> None:
        self._environment = environment
        self._roots = roots(environment)
        variables = dict.fromkeys((*USER_BUNDLES, *EXTRA_VARIABLES))
        differs = [f"{name}={environment[name]}" for name in variables if environment.get(name)]
        self._folder, confdir = state_folder(db), confdir.absolute()
        if confdir != Path(DEFAULT_CONFDIR).expanduser():
            if is_writable(confdir):
                self._folder = confdir
            else:
                differs.append(str(confdir))
        if differs:
            self._folder /= f"trust-{hashlib.sha256(chr(0).join(differs).encode('utf-8', 'replace')).hexdigest()[:12]}"

    def bundle(self, ca: Sequence[str]) -> Path:
        """The CA and all roots: for variables that replace a program's roots. Raises OSError, as all of these."""
        return write_bundle(self._folder / "ca-bundle.pem", [*ca, *self._roots])

    def addition(self, ca: Sequence[str]) -> Path:
        """The CA, and what the user had added already: for variables that add to a program's roots."""
        named = [Path(value) for name in EXTRA_VARIABLES if (value := self._environment.get(name))]
        return write_bundle(
            self._folder / "extra-ca.pem", [*ca, *(pem for path in named for pem in read_certificates(path))]
        )

    def upstream(self) -> Path:
        """The roots alone: for the proxy itself."""
        return write_bundle(self._folder / "upstream-roots.pem", self._roots)

    def java(self, ca: Sequence[str]) -> Path:
        """The bundle for Java. Raises ImportError where `cryptography` is older than 45."""
        path = self._folder / "java-trust-store.p12"
        write_atomically(path, java_trust_store([*ca, *self._roots], JAVA_PASSWORD))
        return path
