"""The gateway does what its OpenAPI description says, whatever it is asked: schemathesis asks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CheckFunction
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks

from end_to_end import gateway_chats as chats
from end_to_end.gateway_chats import WHOLE, answering
from end_to_end.harness import Authority, Provider, Proxy, running
from midstream.relay.gateway import DESCRIPTION

IMPATIENT = """
import midstream.relay.gateway as gateway

gateway.FOLLOW_WAIT = 0.02
"""
"""An addon script: nobody waits for a stream to follow."""

CHECKS: list[CheckFunction] = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
SCHEMA: Any = schemathesis.openapi.from_dict(json.loads(DESCRIPTION), config=SchemathesisConfig())
NATIVE = ("/v1/chat/completions", "/v1/responses", "/v1/messages")


@pytest.fixture(scope="module")
def url(
    authority: Authority, provider: Provider, confdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openapi")
    script = folder / "impatient_gateway.py"
    script.write_text(IMPATIENT)
    proxy: Proxy = chats.gateway_proxy(folder, authority, provider, confdir, "", "-s", str(script))
    provider.handler = answering(*WHOLE)
    with running(proxy):  # its end asserts that there was no traceback
        yield chats.url_of(proxy)


@SCHEMA.parametrize()  # type: ignore[untyped-decorator]  # schemathesis has no types for it
@settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)  # fmt: skip
def test_the_gateway_does_what_its_description_says(case: Any, url: str) -> None:
    response = case.call(base_url=url, timeout=30)
    case.validate_response(response, checks=CHECKS)
    assert response.status_code < 500 or response.status_code == 501, response.text
    if not case.path.startswith(NATIVE) or not response.headers.get("x-stream-id"):  # else it is the provider's own
        assert "no-store" in response.headers["cache-control"][0]
