"""midstream.toml: what it means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest

from midstream.config import BUILT_IN, Config, MissingKey, ProviderConfig, Target, UnknownModel
from midstream.config.file import parse
from midstream.config.values import DialectName
from midstream.providers import CHAT_APIS, MODELS, PROVIDERS, provider_of

DIGEST = "0123456789abcdef" * 4

DESIGN = f"""
[providers.openai]
dialect  = "openai_chat"
base_url = "https://api.openai.com/v1"
hosts    = ["api.openai.com"]
api_key  = "env:OPENAI_API_KEY"
prefill  = false

[providers.backup]
dialect  = "openai_chat"
base_url = "https://backup.example/v1/"

[[routes]]
provider = "openai"
model    = "gpt-4o*"
targets  = ["openai", "backup/gpt-4o-mini"]
attempts = 3
backoff  = {{ base = 0.5, max = 8.0 }}
timeouts = {{ connect = 5, first_token = 15, idle = 20, total = 600 }}
on_break = "continue"
hold     = 0

[streams]
grace    = 30
keep     = 300
reattach = 0

[keys.mobile-app]
sha256    = "{DIGEST.upper()}"
models    = ["gpt-4o*"]
expires   = 2027-01-01
max_streams = 8
"""
"""The example of design section 6."""


def test_the_designs_example_means_what_it_says() -> None:
    config = parse(DESIGN)
    openai = config.provider("openai")
    assert openai is not None
    assert (openai.name, openai.dialect, openai.base_url) == ("openai", "openai_chat", "https://api.openai.com/v1")
    assert (openai.hosts, openai.prefill) == (("api.openai.com",), False)
    (route,) = config.routes
    assert (route.attempts, route.backoff.base, route.backoff.max, route.on_break, route.hold) == (
        3,
        0.5,
        8,
        "continue",
        0,
    )
    timeouts = route.timeouts
    assert (timeouts.connect, timeouts.first_token, timeouts.idle, timeouts.total) == (5, 15, 20, 600)
    assert (config.streams.grace, config.streams.keep, config.streams.reattach) == (30, 300, 0)
    key = config.keys["mobile-app"]
    assert (key.sha256, key.models, key.max_streams) == (DIGEST, ("gpt-4o*",), 8)
    assert key.expires == datetime(2027, 1, 1, tzinfo=UTC)


def test_an_empty_file_is_the_default() -> None:
    assert parse("") == Config.default()
    assert parse("\ufeff# a comment\r\n".removeprefix("\ufeff")) == Config.default()


def test_without_a_matching_route_the_design_says_what_holds() -> None:
    route = parse(DESIGN).route_for("anthropic", "claude-sonnet-4")
    assert (route.attempts, route.timeouts.first_token, route.timeouts.idle, route.on_break) == (2, 300, 300, "error")
    assert route.timeouts.total is None
    assert route.targets_for("anthropic", "claude-sonnet-4") == (Target("anthropic", "claude-sonnet-4"),)


def test_the_first_route_whose_globs_both_match_wins() -> None:
    config = parse(
        """
        routes = [
            { provider = "anthropic", attempts = 3 },
            { model = "gpt-*", attempts = 4 },
            { provider = "open*", model = "gpt-4o*", attempts = 5 },
            { attempts = 6 },
        ]
        """
    )
    asked = [("anthropic", "gpt-5"), ("openai", "gpt-4o"), ("openrouter", "x/gpt-4o"), ("openai", "GPT-4o")]
    assert [config.route_for(*names).attempts for names in asked] == [3, 4, 6, 6]


def test_a_target_names_a_provider_and_perhaps_its_model() -> None:
    config = parse('[[routes]]\ntargets = ["openai", "groq/llama-3", "openrouter/openai/gpt-4o"]')
    assert config.route_for("any", "m").targets_for("any", "m") == (
        Target("openai", "m"),
        Target("groq", "llama-3"),
        Target("openrouter", "openai/gpt-4o"),
    )


def test_a_table_for_a_built_in_provider_leaves_the_rest_of_it() -> None:
    openai = parse('[providers.openai]\napi_key = "k"').provider("openai")
    assert openai is not None
    assert (openai.dialect, openai.base_url) == ("openai_chat", "https://api.openai.com/v1")
    assert "api.openai.com" in openai.hosts


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "openai"),
        ("API.anthropic.com.", "anthropic"),
        ("llm.corp.example", "corp"),
        ("api.groq.com", "corp"),
        ("api.mistral.ai", None),
        ("example.com", None),
    ],
)
def test_configured_hosts_go_before_built_in_ones(host: str, name: str | None) -> None:
    config = parse(
        """
        [providers.corp]
        dialect = "openai_chat"
        base_url = "http://llm.corp.example:8000/v1"
        hosts = ["*.corp.example", "API.groq.com"]
        [providers.mistral]
        hosts = []
        """
    )
    found = config.provider_of_host(host)
    assert (found and found.name) == name


def test_a_key_comes_from_the_environment_when_it_is_used() -> None:
    provider = parse('[providers.openai]\napi_key = "env:OUR_KEY"').provider("openai")
    assert provider is not None
    assert provider.credential({"OUR_KEY": "sk-one\n"}) == "sk-one"
    assert provider.credential({"OUR_KEY": "sk-two"}) == "sk-two"
    with pytest.raises(MissingKey, match="provider openai: the environment variable OUR_KEY, its api_key, is not set"):
        provider.credential({})


def test_without_an_api_key_the_callers_own_is_forwarded() -> None:
    assert BUILT_IN["openai"].credential({"OPENAI_API_KEY": "sk-x"}) is None


@pytest.mark.parametrize("value", ["two words", "line\nbreak: x", "schlüssel"])
def test_what_cannot_go_into_a_header_is_no_key(value: str) -> None:
    provider = parse('[providers.openai]\napi_key = "env:OUR_KEY"').provider("openai")
    assert provider is not None
    with pytest.raises(MissingKey) as caught:
        provider.credential({"OUR_KEY": value})
    assert value not in str(caught.value)


def test_a_literal_key_is_in_no_representation() -> None:
    config = parse('[providers.openai]\napi_key = "sk-hush"')
    assert "sk-hush" not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
    assert config.providers["openai"].credential({}) == "sk-hush"


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://api.openai.com/v1", "/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("https://api.anthropic.com", "/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1/", "/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("http://localhost:11434", "/api/chat", "http://localhost:11434/api/chat"),
        ("http://v1", "/v1/messages", "http://v1/v1/messages"),
        ("https://x.example/openai/v1", "responses", "https://x.example/openai/v1/responses"),
        ("https://x.example/chat", "/chat", "https://x.example/chat/chat"),
    ],
)
def test_a_version_on_both_sides_is_taken_once(base: str, path: str, url: str) -> None:
    assert ProviderConfig.model_validate({"base_url": base}).url(path) == url


@pytest.mark.parametrize(
    ("name", "base_url", "prices"),
    [
        ("backup", "https://api.openai.com/v1", "openai"),
        ("gemini", "https://elsewhere.example", "google"),
        ("mine", "http://gpu:8000/v1", ""),
    ],
)
def test_prices_are_those_of_the_name_or_else_of_the_address(name: str, base_url: str, prices: str) -> None:
    table = f'[providers.{name}]\ndialect = "openai_chat"\nbase_url = "{base_url}"'
    assert parse(table).providers[name].prices == prices


GATEWAY = """
[providers.backup]
dialect = "openai_chat"
base_url = "https://backup.example/v1"

[[routes]]
provider = "anthropic"
targets = ["anthropic", "openai/gpt-4o"]
attempts = 3

[[routes]]
provider = "openai"
model = "gpt-4o*"
targets = ["backup", "azure", "openai/gpt-4o"]
attempts = 4

[[routes]]
model = "house-*"
targets = ["backup/llama"]
attempts = 5

[[routes]]
provider = "backup"
attempts = 6
"""


@pytest.mark.parametrize(
    ("asked", "provider", "model", "attempts", "targets"),
    [
        ("backup/anything", "backup", "anything", 6, ["backup/anything"]),
        ("openrouter/openai/gpt-4o", "openrouter", "openai/gpt-4o", 2, ["openrouter/openai/gpt-4o"]),
        ("openai/gpt-4o", "openai", "gpt-4o", 4, ["backup/gpt-4o", "openai/gpt-4o"]),
        ("gpt-4o-mini", "backup", "gpt-4o-mini", 4, ["backup/gpt-4o-mini", "openai/gpt-4o"]),
        ("house-7b", "backup", "house-7b", 5, ["backup/llama"]),
        ("claude-sonnet-4", "anthropic", "claude-sonnet-4", 3, ["anthropic/claude-sonnet-4", "openai/gpt-4o"]),
        ("o3-mini", "openai", "o3-mini", 2, ["openai/o3-mini"]),
        ("gemini-2.5-pro", "gemini", "gemini-2.5-pro", 2, ["gemini/gemini-2.5-pro"]),
    ],
)
def test_who_answers_a_model_on_the_gateway(
    asked: str, provider: str, model: str, attempts: int, targets: list[str]
) -> None:
    toml = GATEWAY.replace('"azure", ', "")
    choice = parse(toml).provider_for_model(asked)
    assert (choice.provider.name, choice.model, choice.route.attempts) == (provider, model, attempts)
    assert [f"{target.provider}/{target.model}" for target in choice.targets] == targets


def test_a_target_that_only_an_intercepted_request_can_reach_is_left_out_on_the_gateway() -> None:
    config = parse('[[routes]]\nprovider = "azure"\nmodel = "gpt-*"\ntargets = ["azure", "openai"]')
    assert config.provider_for_model("gpt-5").targets == (Target("openai", "gpt-5"),)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("llama3", 'the model "llama3": ask for it as PROVIDER/MODEL, or add a route'),
        ("gpt-oss-120b", 'targets = ["PROVIDER"]'),
        ("meta/llama", '"meta/llama"'),
        ('x"\n', r'"x\"\n"'),
        ("", "no model was named"),
        ("azure/gpt-4o", "[providers.azure]"),
    ],
)
def test_a_model_that_nobody_has_is_an_error_that_says_what_to_configure(asked: str, says: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        Config.default().provider_for_model(asked)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("allowed", "origin", "answer"),
    [
        (None, "http://localhost:3000", True),
        (None, "http://localhost", True),
        (None, "https://127.0.0.1:8443", True),
        (None, "http://[::1]:3000", True),
        (None, "HTTP://gw.example:8081", True),
        (None, "https://gw.example:8081", False),
        (None, "http://localhost.evil.example", False),
        (None, "http://localhost:3000@evil.example", False),
        (None, "http://evil.example", False),
        (None, "null", False),
        (None, "", False),
        (["https://app.example.com"], "https://app.example.com", True),
        (["https://app.example.com"], "https://appxexample.com", False),
        (["https://app.example.com"], "http://gw.example:8081", True),
        (["https://app.example.com"], "http://localhost:3000", False),
        (["https://*.example.com"], "https://a.b.example.com", True),
        (["https://*.example.com"], "https://example.com", False),
        (["https://*.example.com"], "https://evil.com/.example.com", False),
        (["https://*.example.com"], "https://a.example.com:444", False),
        (["https://*.example.com:*"], "https://a.example.com:444", True),
        (["*"], "https://anybody.example", True),
        ([], "http://localhost", False),
    ],
)
def test_which_pages_may_call_the_gateway(allowed: list[str] | None, origin: str, answer: bool) -> None:
    config = Config.model_validate({"gateway": {} if allowed is None else {"allowed_origins": allowed}})
    assert config.gateway.allows_origin(origin, own="http://gw.example:8081") is answer


@pytest.mark.parametrize("name", sorted(CHAT_APIS))
def test_the_built_in_addresses_are_on_the_providers_own_hosts(name: str) -> None:
    provider = BUILT_IN[name]
    assert provider.name == name
    if provider.base_url is None or name == "ollama":
        return
    known = provider_of(provider.base_url.split("/")[2])
    assert known is not None
    assert known.name == name


def test_well_known_models_are_of_providers_that_can_be_asked() -> None:
    names = {name for _, name in MODELS if name}
    assert names <= {name for name, api in CHAT_APIS.items() if api.base_url}
    assert {provider.name for provider in PROVIDERS} >= set(CHAT_APIS)


def test_every_dialect_that_can_be_configured_exists() -> None:
    from midstream.dialects.registry import DIALECTS

    assert set(get_args(DialectName.__value__)) <= {dialect.name for dialect in DIALECTS}
