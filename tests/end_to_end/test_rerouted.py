"""A request whose provider is down is answered by one of another dialect: the client's official SDK cannot tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest
from google.genai import errors

from end_to_end import sdk_clients
from end_to_end.dialect_answers import (
    ANSWERS,
    CALLED,
    FINISHES,
    Answer,
    Model,
    Mounted,
    configured,
    down,
    text_of,
)
from end_to_end.harness import Authority, Provider, Proxy, running
from end_to_end.lifecycles import LIFECYCLES
from end_to_end.sdk_clients import PROVIDERS, SECRET, Heard, Sdk
from sdk_requests import CHECKS
from translated import ANTHROPIC, CHAT, DIALECTS, GOOGLE, MODELS, OLLAMAS, RESPONSES, offered

HEALING = "[healing]\nfailures = 1000\nretry_budget = 1.0\n"

pairs = pytest.mark.parametrize("target", DIALECTS)
clients = pytest.mark.parametrize("client", DIALECTS)


@pytest.fixture(scope="module")
def primary(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority, hosts=sdk_clients.HOSTS)
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def spares(authority: Authority) -> Iterator[Mounted]:
    mounted = Mounted(authority, sdk_clients.HOSTS)
    yield mounted
    mounted.provider.stop()


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, primary: Provider, spares: Mounted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("rerouted")
    config = folder / "midstream.toml"
    config.write_text(toml(spares.provider.port))
    proxy = Proxy(
        folder,
        "--set",
        f"midstream_config={config}",
        scripts=("relay_streams.py", "connect_to.py"),
        trust=authority.file,
        upstream=f"*.com:443:127.0.0.1:{primary.port}",
    )
    with running(proxy):
        yield proxy


def toml(port: int) -> str:
    """Whoever is asked for `asked-for-DIALECT` is left for the spare provider of that dialect."""
    tables = [configured(dialect, port) for dialect in DIALECTS]
    for provider in dict.fromkeys(PROVIDERS.values()):
        tables += [
            f'[[routes]]\nprovider = "{provider}"\nmodel = "{asked_for(target)}"\n'
            f'targets = ["{provider}", "spare-{target}/{MODELS[target]}"]\nattempts = 1\n'
            for target in DIALECTS
        ]
    return HEALING + "\n".join(tables)


def asked_for(target: str) -> str:
    return f"asked-for-{target}"


def rerouted(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, target: str, answer: Answer, **more: Any
) -> tuple[Heard, Model]:
    primary.handler = down(client)
    model = spares.handlers[target] = Model(target, answer, name="spare", model=MODELS[target])
    return Sdk(client, proxy).ask(asked_for(target), **more), model


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("says", ANSWERS)
@pairs
@clients
def test_the_sdk_cannot_tell(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, target: str, says: str, stream: bool
) -> None:
    answer = ANSWERS[says]
    heard, model = rerouted(proxy, primary, spares, client, target, answer, stream=stream)
    told = heard.told
    assert (told.text, told.reasoning) == (answer.text, answer.reasoning)
    assert [(name, arguments) for _, name, arguments in told.calls] == (
        [("weather", {"city": "Bern"})] if answer.arguments else []
    )
    assert told.finish == (CALLED if answer.arguments else FINISHES)[client]
    assert told.usage == (answer.input, answer.output)
    assert told.model == MODELS[target]
    assert re.fullmatch(IDS[client], told.id)
    assert all(re.fullmatch(CALL_IDS[client], id_) for id_, *_ in told.calls)
    assert heard.headers["x-midstream-target"] == f"spare-{target}/{MODELS[target]}"
    assert len(model.asked) == 1
    if stream:
        LIFECYCLES[client](heard.events)


IDS = {CHAT: r"chatcmpl-\w+", RESPONSES: r"resp_\w+", ANTHROPIC: r"msg_\w+", GOOGLE: r"\w+", OLLAMAS: ""}
CALL_IDS = {CHAT: r"call_\w+", RESPONSES: r"call_\w+", ANTHROPIC: r"toolu_\w+", GOOGLE: r"\w*", OLLAMAS: ""}
