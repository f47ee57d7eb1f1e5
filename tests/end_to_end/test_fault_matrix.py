"""Every fault against every dialect, delivery and `on_break` policy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from end_to_end import fault_matrix
from end_to_end.fault_providers import Everyone
from end_to_end.harness import Authority, Provider, Proxy, running

HOSTS = (
    "localhost",
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "ollama.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "api.cohere.com",
)


@pytest.fixture
def provider(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority, hosts=HOSTS)
    provider.handler = Everyone()
    yield provider
    provider.stop()


@pytest.fixture
def proxy(authority: Authority, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("faults")
    config = folder / "midstream.toml"
    config.write_text(fault_matrix.toml(provider.port))
    broken = [word for rule in fault_matrix.rules(fault_matrix.cells()) for word in ("--set", f"midstream_break={rule}")]
    proxy = Proxy(
        folder,
        "--set",
        f"midstream_config={config}",
        *broken,
        scripts=("relay_streams.py", "break_streams.py", "connect_to.py"),
        trust=authority.file,
        upstream=f"*.com:443:127.0.0.1:{provider.port}",
    )
    with running(proxy):
        yield proxy


def test_every_fault(proxy: Proxy) -> None:
    import os
    import time
    import pickle
    only = os.environ.get("ONLY", "")
    found = [c for c in fault_matrix.cells() if only in c.model]
    print(len(found))
    t = time.monotonic()
    import traceback
    results = fault_matrix.run(proxy, found)
    if only: print("".join(proxy.log))
    print("took", time.monotonic() - t)
    pickle.dump({(c.fault, c.client.dialect, c.client.delivery, c.policy): (r.verdict, r.told) for c, r in results.items()}, open("/tmp/fm/r.pkl", "wb"))
