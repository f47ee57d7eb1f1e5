"""Wherever a stream breaks, and whatever its route wants then, the client's official SDK has the whole answer or raises."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest

from end_to_end import sdk_clients
from end_to_end.dialect_answers import (
    ALL,
    CALLED,
    FINISHES,
    TEXT,
    Answer,
    Break,
    How,
    Model,
    Mounted,
    begun_with,
    configured,
)
from end_to_end.harness import Authority, Provider, Proxy, chunks, running
from end_to_end.healing import routed_proxy
from end_to_end.lifecycles import LIFECYCLES
from end_to_end.sdk_clients import PROVIDERS, Heard, Sdk
from translated import DIALECTS, GOOGLE, MODELS, OLLAMAS, RESPONSES

clients = pytest.mark.parametrize("client", DIALECTS)
policies = pytest.mark.parametrize("on_break", ["continue", "restart", "error"])

NEXT = dict(zip(DIALECTS, [*list(DIALECTS)[2:], *list(DIALECTS)[:2]], strict=True))
"""The dialect of a client's fallback."""

ROUTES = {
    "continue": 'on_break = "continue"',
    "restart": 'on_break = "restart"',
    "error": 'on_break = "error"',
    "hold": 'on_break = "error"\nhold = 20',
    "stall": 'on_break = "continue"\ntimeouts = { idle = 1 }',
}
"""By the first word of the model that is asked for; its second says whether there is a fallback."""


@pytest.fixture(scope="module")
def proxy(
    authority: Authority, primary: Provider, spares: Mounted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("continued")
    with running(routed_proxy(folder, authority, primary, toml(spares.provider.port))) as proxy:
        yield proxy


def toml(port: int) -> str:
    tables = ["[healing]\nfailures = 1000\nretry_budget = 1.0\n", *(configured(dialect, port) for dialect in DIALECTS)]
    common = "attempts = 2\nbackoff = { base = 0.01, max = 0.01 }\n"
    for word, rules in ROUTES.items():
        tables.append(f'[[routes]]\nmodel = "{word}-alone-*"\n{common}{rules}\n')
        for target in DIALECTS:
            for provider in dict.fromkeys(PROVIDERS.values()):
                named = f'provider = "{provider}"\nmodel = "{word}-{target}-*"'
                targets = f'targets = ["{provider}", "spare-{target}/{MODELS[target]}"]'
                tables.append(f"[[routes]]\n{named}\n{targets}\n{common}{rules}\n")
    return "\n".join(tables)


def asked_for(policy: str, client: str, target: str = "alone") -> str:
    """A model of the maker's that the client's dialect is known by, so that it is known whether it takes a prefill."""
    return f"{policy}-{target}-{MODELS[client]}"


PLACES: dict[str, int | None] = {"head": 1, "reasoning": 3, "text": 14, "call": 25, "called": 27, "finish": None}
"""How many events of ALL come before the break: its head, three thoughts, twenty words, three pieces of arguments; then usage, a
finish reason and the end, of which `finish` leaves out the last frame."""

WHOLE_CALLS = (GOOGLE, OLLAMAS)
"""Dialects in which a call comes at once."""

UNFINISHED = (RESPONSES, GOOGLE, OLLAMAS)
"""Dialects whose last frame has the finish reason in it."""


def rescued(client: str, place: str, on_break: str) -> bool:
    """What design section 7 says of a break."""
    if place == "head" or (place == "finish" and client not in UNFINISHED):
        return True
    if place == "call" and client not in WHOLE_CALLS:
        return False
    return on_break != "error"


@pytest.mark.parametrize("healer", ["same", "other"])
@pytest.mark.parametrize("place", PLACES)
@policies
@clients
def test_the_whole_answer_or_an_error(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, on_break: str, place: str, healer: str
) -> None:
    target = "alone" if healer == "same" else NEXT[client]
    first = Model(
        client, ALL, breaks=[Break(PLACES[place], seen=place != "head")], fails=healer == "other", model="its-model"
    )
    second = Model(NEXT[client], ALL, name="spare", model=MODELS[NEXT[client]])
    primary.handler, spares.handlers[NEXT[client]] = first, second
    sdk = Sdk(client, proxy, first.gate.open)
    if not rescued(client, place, on_break):
        with pytest.raises(sdk_clients.RAISED[client]):
            sdk.ask(asked_for(on_break, client, target))
        return
    heard = sdk.ask(asked_for(on_break, client, target))
    check_whole(heard, client, ALL)
    if place != "head":
        assert heard.told.model == "its-model"
        assert client == OLLAMAS or "first1" in heard.told.id
    if len(first.said + second.said) > 1 and place != "head":
        assert (heard.told.usage[1] or 0) > (first.said + second.said)[-1]


def check_whole(heard: Heard, client: str, answer: Answer) -> None:
    """All of it, exactly once, in one lifecycle."""
    told = heard.told
    assert told.text == answer.text
    assert told.reasoning == answer.reasoning
    assert [(name, arguments) for _, name, arguments in told.calls] == (
        [("weather", {"city": "Bern"})] if answer.arguments else []
    )
    assert told.finish == (CALLED if answer.arguments else FINISHES)[client]
    LIFECYCLES[client](heard.events)


@pytest.mark.parametrize("how", ["end", "error", "stall"])
@clients
def test_a_break_of_any_kind_is_gone_on_from(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, how: How
) -> None:
    first = Model(client, TEXT, breaks=[Break(12, how, seen=True)], model="its-model")
    primary.handler = first
    second = spares.handlers[NEXT[client]] = Model(NEXT[client], TEXT)
    policy = "stall" if how == "stall" else "continue"
    heard = Sdk(client, proxy, first.gate.open).ask(asked_for(policy, client, NEXT[client]))
    check_whole(heard, client, TEXT)
    assert len(first.asked + second.asked) == 2
    begun = begun_with((first.asked + second.asked)[1])
    assert begun.rstrip() == TEXT.text[: 11 * 4].rstrip()


@clients
def test_one_answer_may_break_twice(proxy: Proxy, primary: Provider, spares: Mounted, client: str) -> None:
    first = Model(client, TEXT, breaks=[Break(6, seen=True)], fails=True, model="its-model")
    second = Model(NEXT[client], TEXT, breaks=[Break(5, seen=True)])
    primary.handler, spares.handlers[NEXT[client]] = first, second

    def on_text() -> None:
        first.gate.open()
        second.gate.open()

    heard = Sdk(client, proxy, on_text).ask(asked_for("continue", client, NEXT[client]))
    check_whole(heard, client, TEXT)
    begun = [len(begun_with(asked).split()) for asked in second.asked]
    assert begun in ([5, 8], [5, 9])  # after a prefill the first piece is a space


@policies
@clients
def test_where_nobody_is_left_the_sdk_raises(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, on_break: str
) -> None:
    first = Model(client, ALL, breaks=[Break(14, seen=True)], fails=True)
    primary.handler = first
    spares.handlers[NEXT[client]] = Model(NEXT[client], ALL, breaks=[Break(1)] * 9)
    sdk = Sdk(client, proxy, first.gate.open)
    with pytest.raises(sdk_clients.RAISED[client]):
        sdk.ask(asked_for(on_break, client, NEXT[client]))
    assert sdk.seen


OTHER = replace(TEXT, words=("Something ", "else ", "entirely."))
SIMILAR = replace(TEXT, words=(*TEXT.words[:10], "and ", "something ", "else."))


@pytest.mark.parametrize(("on_break", "then"), [("restart", OTHER), ("restart", SIMILAR), ("continue", SIMILAR)])
@clients
def test_another_answer_is_not_mixed_with_the_first(
    proxy: Proxy, primary: Provider, client: str, on_break: str, then: Answer
) -> None:
    """Asked for it anew, the model says something else; or it does so though it was asked to go on."""
    first = Model(client, TEXT, breaks=[Break(14, seen=True)], then=then, deaf=True)
    primary.handler = first
    sdk = Sdk(client, proxy, first.gate.open)
    with pytest.raises(sdk_clients.RAISED[client]):
        sdk.ask(asked_for(on_break, client))
    assert sdk.seen


@clients
def test_an_answer_begun_anew_is_cut_to_what_is_new(proxy: Proxy, primary: Provider, client: str) -> None:
    first = Model(client, ALL, breaks=[Break(14, seen=True)], deaf=True)
    primary.handler = first
    check_whole(Sdk(client, proxy, first.gate.open).ask(asked_for("continue", client)), client, ALL)
    assert len(first.asked) == 2


@pytest.mark.parametrize("healer", ["same", "other"])
@clients
def test_within_hold_a_break_is_never_seen(
    proxy: Proxy, primary: Provider, spares: Mounted, client: str, healer: str
) -> None:
    """Nothing of the first attempt is shown, whatever the route wants of breaks that are."""
    target = "alone" if healer == "same" else NEXT[client]
    first = Model(client, TEXT, breaks=[Break(12)], then=OTHER, fails=healer == "other", model="its-model")
    primary.handler = first
    spares.handlers[NEXT[client]] = Model(NEXT[client], OTHER, model=MODELS[NEXT[client]])
    heard = Sdk(client, proxy).ask(asked_for("hold", client, target))
    check_whole(heard, client, OTHER)
    assert heard.told.model == ("its-model" if healer == "same" else MODELS[NEXT[client]])
    assert "first1" not in heard.told.id or client == OLLAMAS or healer == "other"


@policies
@clients
def test_a_whole_answer_that_breaks_is_asked_for_again(
    proxy: Proxy, primary: Provider, client: str, on_break: str
) -> None:
    """Asked for without a stream: nothing was shown."""
    primary.handler = Model(client, ALL, breaks=[Break(12)])
    told = Sdk(client, proxy).ask(asked_for(on_break, client), stream=False).told
    assert (told.text, told.reasoning, len(told.calls)) == (ALL.text, ALL.reasoning, 1)


@clients
def test_the_usage_is_the_sum_of_what_was_billed(proxy: Proxy, primary: Provider, spares: Mounted, client: str) -> None:
    first = Model(client, TEXT, breaks=[Break(14, seen=True)], fails=True)
    primary.handler, spares.handlers[NEXT[client]] = first, Model(NEXT[client], TEXT)
    model = asked_for("continue", client, NEXT[client]) + "-b"
    told = Sdk(client, proxy, first.gate.open).ask(model).told
    (row,) = proxy.rows(1, f"model_requested = '{model}' and dialect = '{client}' and outcome = 'complete'")
    tried = proxy._query(f"select * from attempts where stream_id = '{row['id']}' order by n")
    assert tried[-1]["output_tokens"] == 5
    assert told.usage[1] == row["output_tokens"] == sum(one["output_tokens"] or 0 for one in tried) > 5
    assert (row["rerouted"], row["breaks"]) == (1, 1)


@clients
def test_behind_an_encoded_body_a_break_is_one(proxy: Proxy, primary: Provider, client: str) -> None:
    """The provider was asked for a plain body, for one that can be cut between two frames, and encodes it all the same."""
    first = Model(client, TEXT, breaks=[Break(12, seen=True)], encoding="gzip")
    primary.handler = first
    with pytest.raises((*sdk_clients.RAISED[client], *sdk_clients.TORN)):
        Sdk(client, proxy, first.gate.open).ask(asked_for("continue", client))
    assert first.headers[0]["accept-encoding"] == "identity"
    assert len(first.asked) == 1


def gemini_array(proxy: Proxy, policy: str, on_text: Callable[[], None]) -> bytes:
    """The body of an answer that was asked for without `alt=sse`."""
    url = f"https://generativelanguage.googleapis.com/v1beta/models/{asked_for(policy, GOOGLE)}:streamGenerateContent"
    body, said = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, b""
    with (
        httpx.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=30) as client,
        client.stream("POST", url, json=body, headers={"x-goog-api-key": "k"}) as response,
    ):
        assert response.status_code == 200
        for piece in response.iter_bytes():
            said += piece
            on_text()
    return said


@pytest.mark.parametrize("breaks", [[], [Break(1)], [Break(14, seen=True)]], ids=["whole", "head", "text"])
@policies
def test_a_json_array_is_one_whatever_breaks(
    proxy: Proxy, primary: Provider, on_break: str, breaks: list[Break | None]
) -> None:
    first = Model(GOOGLE, ALL, breaks=list(breaks))
    primary.handler = first
    if Break(14, seen=True) in breaks and on_break == "error":
        with pytest.raises(httpx.TransportError):
            gemini_array(proxy, on_break, first.gate.open)
        return
    said = json.loads(gemini_array(proxy, on_break, first.gate.open))
    parts = [part for chunk in said for one in chunk["candidates"] for part in one["content"].get("parts", ())]
    assert "".join(part.get("text", "") for part in parts if not part.get("thought")) == ALL.text
    assert [part["functionCall"]["args"] for part in parts if "functionCall" in part] == [{"city": "Bern"}]


@policies
def test_a_healthy_json_array_comes_byte_for_byte(proxy: Proxy, primary: Provider, on_break: str) -> None:
    body = b'[{"responseId": "r", "candidates": [{"content": {"parts": [{"text": "hi"}]}}]}\n,\r\n' + (
        b'{"candidates": [{"content": {}, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 1}}\n]\n'
    )
    primary.handler = chunks(body, content_type="application/json")
    assert gemini_array(proxy, on_break, lambda: None) == body


@clients
def test_a_body_of_a_known_length_may_become_another(proxy: Proxy, primary: Provider, client: str) -> None:
    first = Model(client, TEXT, breaks=[Break(12, seen=True)], length=5000)
    primary.handler = first
    heard = Sdk(client, proxy, first.gate.open).ask(asked_for("continue", client))
    check_whole(heard, client, TEXT)
    assert "content-length" not in heard.headers


def test_a_blocked_prompt_is_told_as_google_tells_it(proxy: Proxy, primary: Provider) -> None:
    """Its SDK raises nothing: it has the reason, in an answer without candidates. Nobody is asked again."""
    said = {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "its-model", "responseId": "r"}
    primary.requests.clear()
    primary.handler = chunks(b"data: " + json.dumps(said).encode() + b"\n\n")
    (event,) = Sdk(GOOGLE, proxy).ask(asked_for("continue", GOOGLE)).events
    assert event.prompt_feedback.block_reason == "SAFETY"
    assert len(primary.requests) == 1
