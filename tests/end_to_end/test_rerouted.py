"""A request whose provider is down is answered by one of another dialect: the client's official SDK cannot tell."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    Break,
    How,
    Model,
    Mounted,
    configured,
    down,
    text_of,
)
from end_to_end.harness import Authority, Provider, Proxy, running
from end_to_end.healing import resets, routed_proxy
from end_to_end.lifecycles import LIFECYCLES
from end_to_end.sdk_clients import PROVIDERS, SECRET, Heard, Sdk
from sdk_requests import CHECKS
from translated import ANTHROPIC, CHAT, DIALECTS, GOOGLE, MODELS, OLLAMAS, RESPONSES, offered

HEALING = "[healing]\nfailures = 1000\nretry_budget = 1.0\n"

pairs = pytest.mark.parametrize("target", DIALECTS)
clients = pytest.mark.parametrize("client", DIALECTS)


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, primary: Provider, spares: Mounted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("rerouted")
    with running(routed_proxy(folder, authority, primary, toml(spares.provider.port))) as proxy:
        yield proxy


def toml(port: int) -> str:
    """Whoever is asked for `asked-for-DIALECT` is left for the spare provider of that dialect."""
    tables = [configured(dialect, port) for dialect in DIALECTS]
    for provider in dict.fromkeys(PROVIDERS.values()):
        tables += [
            f'[[routes]]\nprovider = "{provider}"\nmodel = "{asked_for(target)}*"\n'
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
CALL_IDS = {CHAT: r".{1,40}", RESPONSES: r".{1,40}", ANTHROPIC: r"toolu_\w+", GOOGLE: r"\w*", OLLAMAS: ""}
"""OpenAI takes any id back; so does who answered, and that may be asked next."""


@clients
@pairs
def test_the_fallback_is_asked_in_its_own_words(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, target: str
) -> None:
    _, model = rerouted(proxy, primary, spares, client, target, ANSWERS["text"])
    body, path = model.bodies[0], model.paths[0].removeprefix(f"/{target}")
    CHECKS[target]({name: value for name, value in body.items() if name != "stream"})
    named = dict.fromkeys((CHAT, RESPONSES, ANTHROPIC, OLLAMAS), MODELS[target]).get(target)
    assert body.get("model") == named
    assert re.fullmatch(PATHS[target], path)
    asked = model.asked[0]
    texts = {message.role: text_of(message) for message in asked.messages}
    assert texts == {"system": sdk_clients.SYSTEM, "user": sdk_clients.PROMPT}
    assert [(name, description) for name, description, _ in offered(asked)] == [("weather", "The weather.")]
    assert asked.tools[0].parameters["properties"] == {"city": {"type": "string"}}
    assert asked.max_tokens == sdk_clients.TOKENS


PATHS = {
    CHAT: r"/v1/chat/completions",
    RESPONSES: r"/v1/responses",
    ANTHROPIC: r"/v1/messages",
    GOOGLE: r"/v1beta/models/gemini-2\.5-flash:streamGenerateContent\?alt=sse",
    OLLAMAS: r"/api/chat",
}


@clients
@pairs
def test_the_callers_credential_goes_to_its_own_provider_alone(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, target: str
) -> None:
    primary.requests.clear()
    _, model = rerouted(proxy, primary, spares, client, target, ANSWERS["text"])
    (own,), (asked,) = primary.requests, model.headers
    assert SECRET in str(dict(own.headers))
    assert SECRET not in str([asked, model.paths, model.bodies])
    name, before = KEYS[target]
    assert asked[name] == f"{before}sk-spare-{target}"
    assert not {other for other, _ in KEYS.values()} - {name} & asked.keys()


KEYS = {
    CHAT: ("authorization", "Bearer "),
    RESPONSES: ("authorization", "Bearer "),
    ANTHROPIC: ("x-api-key", ""),
    GOOGLE: ("x-goog-api-key", ""),
    OLLAMAS: ("authorization", "Bearer "),
}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@clients
def test_what_the_fallback_cannot_be_told_is_named(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, stream: bool
) -> None:
    """No API but OpenAI's chat and Gemini's takes a seed; a sampling parameter is a request's own way to say so."""
    target = RESPONSES if client != RESPONSES else OLLAMAS
    more: dict[str, dict[str, Any]] = {
        CHAT: {"seed": 7},
        RESPONSES: {"prompt_cache_key": "k"},
        ANTHROPIC: {"extra_body": {"top_k": 3}},
        GOOGLE: {"seed": 7},
        OLLAMAS: {"options": {"seed": 7, "num_predict": sdk_clients.TOKENS}},
    }
    heard, model = rerouted(proxy, primary, spares, client, target, ANSWERS["text"], stream=stream, **more[client])
    assert heard.headers["x-midstream-dropped"].split(", ")[0] in ("seed", "top_k", "prompt_cache_key")
    assert not {"seed", "top_k", "prompt_cache_key"} & model.bodies[0].keys()


REFUSED: dict[str, type[Exception]] = {
    CHAT: openai.InternalServerError,
    RESPONSES: openai.InternalServerError,
    ANTHROPIC: anthropic.InternalServerError,
    GOOGLE: errors.ServerError,
    OLLAMAS: ollama.ResponseError,
}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@clients
@pairs
def test_where_both_fail_the_client_hears_its_own_provider(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, target: str, stream: bool
) -> None:
    primary.handler = down(client)
    spares.handlers[target] = down(target, 500, "the spare one is down")
    with pytest.raises(REFUSED[client], match="the first one is down") as raised:
        Sdk(client, proxy).ask(asked_for(target), stream=stream)
    status = getattr(raised.value, "status_code", None) or getattr(raised.value, "code", None)
    assert status == 503


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@clients
@pairs
def test_where_nobody_is_reached_the_error_is_in_the_clients_words(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, target: str, stream: bool
) -> None:
    """The first one's connection breaks before it has said a word, and the spare one's words are another dialect's."""
    primary.handler = resets
    spares.handlers[target] = down(target, 500, "the spare one is down")
    with pytest.raises(REFUSED[client], match="the spare one is down") as raised:
        Sdk(client, proxy).ask(asked_for(target), stream=stream)
    status = getattr(raised.value, "status_code", None) or getattr(raised.value, "code", None)
    assert status == 500


@pytest.mark.parametrize("how", ["reset", "end", "error"])
@clients
@pairs
def test_a_fallback_that_breaks_is_no_whole_answer(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, target: str, how: How
) -> None:
    """Nobody is left, and the route wants no break healed. Only where its own client is passed the fallback's very bytes may a
    break be just that."""
    primary.handler = down(client)
    breaks: list[Break | None] = [Break(8, how, seen=True)]
    model = Model(target, ANSWERS["text"], name="spare", model=MODELS[target], breaks=breaks)
    spares.handlers[target] = model
    sdk = Sdk(client, proxy, model.gate.open)
    asked = f"{asked_for(target)}-{how}"
    with pytest.raises(sdk_clients.RAISED[client] + (sdk_clients.TORN if client == target else ())):
        sdk.ask(asked)
    assert sdk.seen
    where = f"model_requested = '{asked}' and dialect = '{client}' and outcome in ('truncated', 'failed')"
    (row,) = proxy.rows(1, where)
    tried = proxy._query(f"select * from attempts where stream_id = '{row['id']}' order by n")
    assert len(tried) == 2
    assert "complete" not in [one["ended"] for one in tried]


@pytest.mark.parametrize("how", ["reset", "end"])
@clients
@pairs
def test_a_fallback_that_breaks_unseen_is_an_http_error(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, target: str, how: How
) -> None:
    """Of a whole answer the client has nothing until it is whole."""
    primary.handler = down(client)
    spares.handlers[target] = Model(target, ANSWERS["text"], breaks=[Break(8, how)])
    with pytest.raises(REFUSED[client]):
        Sdk(client, proxy).ask(asked_for(target), stream=False)


UNSAID = {
    "not closed": ('{"a": ', "1"),
    "no object": ("[1", "]"),
}
"""Arguments of a call that a whole answer of Anthropic's or Ollama's has no place for: OpenAI's are any text."""


@pytest.mark.parametrize("says", UNSAID)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("client", [ANTHROPIC, OLLAMAS])
def test_an_answer_that_the_clients_dialect_cannot_say_is_an_error(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, stream: bool, says: str
) -> None:
    if stream and client == ANTHROPIC and says == "not closed":
        pytest.skip("a stream of Anthropic's has arguments as they come")
    asked = f"{asked_for(CHAT)}-{says[:2]}-{int(stream)}"
    primary.handler = down(client)
    spares.handlers[CHAT] = Model(CHAT, Answer(words=("Well. ",), arguments=UNSAID[says]), model=MODELS[CHAT])
    sdk = Sdk(client, proxy)
    with pytest.raises((anthropic.APIStatusError, ollama.ResponseError), match="no JSON object") as raised:
        sdk.ask(asked, stream=stream)
    if not stream:
        assert getattr(raised.value, "status_code", None) == 502
    (row,) = proxy.rows(1, f"model_requested = '{asked}' and dialect = '{client}'")
    assert (row["outcome"], row["error_type"]) == ("failed", "unwritable")
    assert "no JSON object" in row["error"]


@clients
def test_the_row_tells_who_answered(proxy: Proxy, primary: Provider, spares: Mounted, client: str) -> None:
    target = GOOGLE if client != GOOGLE else CHAT
    primary.handler = down(client)
    spares.handlers[target] = Model(target, ANSWERS["text"], model=MODELS[target])
    asked = f"{asked_for(target)}-row"
    Sdk(client, proxy).ask(asked)
    (row,) = proxy.rows(1, f"model_requested = '{asked}' and dialect = '{client}' and outcome = 'complete'")
    assert (row["model_served"], row["rerouted"], row["attempts"]) == (MODELS[target], 1, 2)
    assert (row["output_tokens"], row["usage_source"]) == (33, "provider")
    tried = proxy._query(f"select * from attempts where stream_id = '{row['id']}' order by n")
    assert [(one["provider"], one["http_status"]) for one in tried] == [
        (PROVIDERS[client], 503),
        (f"spare-{target}", 200),
    ]
