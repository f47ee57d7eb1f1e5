"""A fallback that cannot be asked is seen: at the start, in the log, and in what `midstream show` tells of a stream."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.harness import Authority, Provider, Proxy, clean_environment, running
from end_to_end.healing import fails, routed_proxy
from end_to_end.test_measure import app, ask, rows_of

__all__ = ["app"]

TOML = """
[providers.anthropic]
api_key = "env:NO_SUCH_KEY"

[[routes]]
targets = ["openai", "anthropic/claude-x"]
attempts = 1
"""


@pytest.fixture(scope="module")
def proxy(authority: Authority, primary: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running(routed_proxy(tmp_path_factory.mktemp("passed-over"), authority, primary, TOML)) as proxy:
        yield proxy


def shown(proxy: Proxy, row: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "midstream", "show", row, "--db", str(proxy.db)],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(PYTHONPATH="addons", COLUMNS="400"),
        cwd=Path(__file__).parents[2],
    )
    return done.stdout


def test_a_fallback_whose_key_is_not_set(proxy: Proxy, primary: Provider, app: str) -> None:
    primary.handler = fails(500)
    for _ in range(2):
        status, body = ask(proxy, app)
        assert (status, b"no: 500" in body, b"NO_SUCH_KEY" in body) == (500, True, False)
    for row in rows_of(proxy, app, 2):
        assert (row["attempts"], row["rerouted"]) == (1, 0)
        told = shown(proxy, row["id"])
        assert "asks anthropic/claude-x; not asked: provider anthropic: the environment variable NO_SUCH_KEY" in told
        assert "gives up: no target is left" in told
    said = [line for line in proxy.log if "NO_SUCH_KEY" in line]
    assert ["requests to anthropic will fail until it is" in line for line in said] == [True, False]
    assert "anthropic/claude-x was not asked: provider anthropic: the environment variable NO_SUCH_KEY" in said[1]
