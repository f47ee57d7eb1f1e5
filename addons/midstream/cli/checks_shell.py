"""The doctor's checks of this shell's environment: would a program started here come through, and trust us?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from midstream.cli.ca import SYSTEM_BUNDLES, read_certificates
from midstream.cli.checks import Check
from midstream.cli.environment import (
    BUNDLE_VARIABLES,
    EXTRA_VARIABLES,
    Upstream,
    hides,
    is_local,
    upstream_of,
    variable,
)
from midstream.providers import PROVIDERS

EXEC = "start the program with `midstream exec -- ...`, which sets all of this"


def shell(environment: Mapping[str, str], port: int, ca: Sequence[str]) -> Iterator[Check]:
    """All of them. ca: our CA's certificates, [] if there is none yet."""
    upstream = upstream_of(environment)
    ours = upstream is not None and is_local(upstream.host) and upstream.port == port
    yield _https_proxy(upstream, ours, port)
    yield _no_proxy(environment)
    yield _trust(environment, ca, ours)
    yield _node(environment)


def _https_proxy(upstream: Upstream | None, ours: bool, port: int) -> Check:
    if upstream is None:
        return Check("HTTPS_PROXY", "ok", "not set in this shell: programs come through with `midstream exec -- ...`")
    found = f"{upstream.scheme}://{upstream.host}:{upstream.port}"
    if ours:
        return Check("HTTPS_PROXY", "ok", f"{found}: this is the proxy on port {port}")
    mend = f"programs started here go there, not to port {port}; `midstream exec` and `run` go out through it"
    return Check("HTTPS_PROXY", "warn", found, mend)


def _no_proxy(environment: Mapping[str, str]) -> Check:
    entries = [entry.strip() for entry in variable(environment, "no_proxy").split(",") if entry.strip()]
    hosts = [glob.replace("*", "x") for provider in PROVIDERS for glob in provider.hosts]
    hiding = {entry: host for entry in entries for host in hosts if hides(entry, host)}
    if not hiding:
        return Check("NO_PROXY", "ok", ",".join(entries) or "not set")
    found = "; ".join(f"{entry!r} hides {host.removeprefix('x.')}" for entry, host in hiding.items())
    return Check("NO_PROXY", "warn", found, "take these entries out: their streams are not measured")


def _trust(environment: Mapping[str, str], ca: Sequence[str], ours: bool) -> Check:
    """Variables that name a bundle without our CA break TLS as soon as traffic comes through us."""
    name = "trust"
    if not ours:
        return Check(name, "ok", "no matter in this shell: its traffic does not come through us")
    lacking = [
        key for key in (*BUNDLE_VARIABLES, *EXTRA_VARIABLES) if environment.get(key) and not _has(environment[key], ca)
    ]
    if lacking:
        return Check(name, "fail", f"{', '.join(lacking)}: a bundle without our CA", EXEC)
    if not environment.get("SSL_CERT_FILE") and not in_system(ca):
        return Check(name, "fail", "SSL_CERT_FILE is not set, and the system does not trust our CA", EXEC)
    return Check(name, "ok", "the bundles this shell names have our CA")


def _has(path: str, ca: Sequence[str]) -> bool:
    return bool(set(read_certificates(Path(path))) & set(ca))


def in_system(ca: Sequence[str]) -> bool:
    """Whether the system's own roots have our CA."""
    return any(_has(path, ca) for path in SYSTEM_BUNDLES)


def _node(environment: Mapping[str, str]) -> Check:
    from midstream.cli.program import node_ignores_proxy, node_version

    version = node_version(environment)
    if version is None:
        return Check("Node", "ok", "not installed")
    found = f"{version[0]}.{version[1]}"
    if node_ignores_proxy(version):
        mend = "use Node 24 (or 22.21), or undici's EnvHttpProxyAgent: this one's fetch ignores HTTPS_PROXY"
        return Check("Node", "warn", found, mend)
    return Check("Node", "ok", f"{found}, which heeds HTTPS_PROXY with NODE_USE_ENV_PROXY=1")
