"""One provider and one measuring mitmdump for all tests of a run; each test sets its own handler and reads its own rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end import sdk_clients
from end_to_end.dialect_answers import Mounted
from end_to_end.harness import SETS, Authority, Provider, Proxy, running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def provider(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority)
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def primary(authority: Authority) -> Iterator[Provider]:
    """Whom the SDKs ask, by their own makers' hosts."""
    provider = Provider(authority, hosts=sdk_clients.HOSTS)
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def spares(authority: Authority) -> Iterator[Mounted]:
    """Whom a route asks when the primary fails: one of each dialect."""
    mounted = Mounted(authority, sdk_clients.HOSTS)
    yield mounted
    mounted.provider.stop()


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conf")


@pytest.fixture(scope="session", params=SETS)
def proxy(
    request: pytest.FixtureRequest,
    authority: Authority,
    provider: Provider,
    confdir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    folder, scripts = tmp_path_factory.mktemp("proxy"), SETS[request.param]
    proxy = Proxy(
        folder, scripts=scripts, confdir=confdir, trust=authority.file, upstream=f"::127.0.0.1:{provider.port}"
    )
    with running(proxy):
        yield proxy
