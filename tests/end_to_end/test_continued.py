"""Wherever a stream breaks, and whatever its route wants then, the client's official SDK has the whole answer or raises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from end_to_end import sdk_clients
from end_to_end.dialect_answers import ALL, CALLED, Answer, Break, Model, Mounted, configured
from end_to_end.harness import Authority, Provider, Proxy, running
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
    folder = tmp_path_factory.mktemp("continued")
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
        assert heard.told.usage[1] > (first.said + second.said)[-1]


def check_whole(heard: Heard, client: str, answer: Answer) -> None:
    """All of it, exactly once, in one lifecycle."""
    told = heard.told
    assert told.text == answer.text
    assert told.reasoning == answer.reasoning
    assert [(name, arguments) for _, name, arguments in told.calls] == (
        [("weather", {"city": "Bern"})] if answer.arguments else []
    )
    assert told.finish == (CALLED if answer.arguments else dict.fromkeys(DIALECTS, ""))[client] or not answer.arguments
    LIFECYCLES[client](heard.events)
