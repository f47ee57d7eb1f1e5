"""midstream.toml: what it means, and what is said of one that is wrong."""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from midstream.config import BUILT_IN, Config, ConfigError, MissingKey, ProviderConfig, Target, UnknownModel
from midstream.config import file as config_file
from midstream.config.file import ConfigFile, check, load, parse
from midstream.config.lines import Lines
from midstream.config.problems import contradictions, of_pydantic
from midstream.config.reference import reference, table_at
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


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "m.toml")
    return caught.value.problems


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


def test_a_provider_that_is_not_built_in_needs_a_dialect_and_a_base_url() -> None:
    problems = problems_of("\n[providers.mine]\nprefill = true")
    assert [problem.split(": ")[:3] for problem in problems] == [
        ["m.toml:2", "providers.mine.dialect", "missing"],
        ["m.toml:2", "providers.mine.base_url", "missing"],
    ]


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
    ("toml", "complaint"),
    [
        ("\n[stream]", "m.toml:2: stream: unknown key; did you mean streams?"),
        ("[streams]\ngrce = 3", "m.toml:2: streams.grce = 3: unknown key; did you mean grace?"),
        ("[gateway]\nzzz = 3", "m.toml:2: gateway.zzz = 3: unknown key; known here: allowed_origins, body_limit"),
        ("[providers.openai]\n_name = 'x'", "m.toml:2: providers.openai._name: unknown key"),
        ("[streams]\ngrace = -1", "m.toml:2: streams.grace = -1: should be greater than or equal to 0"),
        ("streams.grace = true", "m.toml:1: streams.grace = true: should be a number"),
        ("[streams]\n\nkeep = '300'", 'm.toml:3: streams.keep = "300": should be a number, without quotes'),
        ("[streams]\nkeep = nan", "m.toml:2: streams.keep = nan: should be a finite number"),
        ("[streams]\nwindow = 1", "m.toml:2: streams.window = 1: should be greater than or equal to 16384"),
        ("[streams]\nspool_dir = 'here'", 'm.toml:2: streams.spool_dir = "here": should be an absolute path'),
        ("streams = 3", "m.toml:1: streams: should be a table"),
        ("[routes]\nmodel = 'x'", "m.toml:1: routes: should be a list"),
        ("[[routes]]\nattempts = 0", "m.toml:2: routes[0].attempts = 0: should be greater than or equal to 1"),
        ("[[routes]]\nattempts = 1.5", "m.toml:2: routes[0].attempts = 1.5: should be a whole number"),
        ("[[routes]]\nmodel = ' '", 'm.toml:2: routes[0].model = " ": should not be empty'),
        ("[[routes]]\n[[routes]]\nmodel = 4", "m.toml:3: routes[1].model = 4: should be a string, in quotes"),
        ("[[routes]]\ntargets = 'openai'", 'm.toml:2: routes[0].targets = "openai": should be a list'),
        (
            "[[routes]]\ntargets = ['opena']",
            'routes[0].targets[0] = "opena": no provider has the name "opena"; did you mean',
        ),
        ("[[routes]]\ntargets = ['openai/']", 'targets[0] = "openai/": should be `provider` or `provider/model`'),
        ("[[routes]]\ntargets = ['azure']", "add a dialect and a base_url to [providers.azure], or limit the route"),
        ("[[routes]]\ntimeouts.idle = 0", "m.toml:2: routes[0].timeouts.idle = 0: should be greater than 0"),
        ("[[routes]]\ntimeouts = {first_token = 'x'}", 'routes[0].timeouts.first_token = "x": should be a number'),
        ("[[routes]]\non_break = 'retry'", "on_break = \"retry\": should be 'continue', 'restart' or 'error'"),
        ("[providers.openai]\ndialect = 'chat'", "dialect = \"chat\": should be 'openai_chat', 'openai_responses'"),
        ("[providers.openai]\nbase_url = 'localhost:1'", 'base_url = "localhost:1": should be a URL such as'),
        ("[providers.openai]\nbase_url = 'http://[x'", "should be a URL such as"),
        ("[providers.openai]\nbase_url = 'http://h:99999/'", "should be a URL such as"),
        ("[providers.openai]\nbase_url = 'https://u:p@h/v1'", "should have no credentials"),
        ("[providers.openai]\nhosts = ['https://h']", 'hosts[0] = "https://h": should be a host name'),
        ("[providers.openai]\nhosts = ['h:8000']", 'hosts[0] = "h:8000": should be a host name'),
        ("[providers.openai]\napi_key = 'env:'", 'providers.openai.api_key: should be "env:NAME"'),
        ("[providers.'a/b']\ndialect = 'gemini'\nbase_url = 'http://h'", 'm.toml:1: providers."a/b": a name should be'),
        ("[gateway]\nallowed_origins = ['https://h/']", 'allowed_origins[0] = "https://h/": should be an origin'),
        ("[gateway]\nread_timeout = 0", "m.toml:2: gateway.read_timeout = 0: should be greater than 0"),
        ("[keys.a]\nmodels = []", "m.toml:1: keys.a.sha256: missing"),
        (
            "[keys.a]\nsha256 = 'abc'",
            "m.toml:2: keys.a.sha256: should be the SHA-256 of the token, 64 hexadecimal digits",
        ),
        (
            f"[keys.a]\nsha256 = '{DIGEST}'\nexpires = '2027-01-01'",
            'm.toml:3: keys.a.expires = "2027-01-01": should be a date',
        ),
        (
            f"[keys.a]\nsha256 = '{DIGEST}'\nmax_streams = 0",
            "keys.a.max_streams = 0: should be greater than or equal to 1",
        ),
        (
            f"[keys.a]\nsha256 = '{DIGEST}'\n[keys.b]\nsha256 = '{DIGEST.upper()}'",
            "m.toml:4: keys.b.sha256: the same token as a",
        ),
        ("a = 1\nb =", "m.toml:2: not TOML: "),
        ("a = 1\na = 2", "m.toml:2: not TOML: "),
    ],
)
def test_an_error_names_file_line_key_value_and_what_would_be_right(toml: str, complaint: str) -> None:
    (problem,) = problems_of(toml)
    assert problem.startswith("m.toml")
    assert complaint in problem


def test_all_errors_are_listed_in_the_files_order() -> None:
    problems = problems_of(
        """
[[routes]]
on_break = "retry"
targets = [
  "openai",
  "nobody",
]

[routes.timeouts]
idle = "x"

[providers.mine]
dialect = "gemini"

[keys.k]
"""
    )
    assert [problem.split(": ")[0] for problem in problems] == [
        "m.toml:3",
        "m.toml:6",
        "m.toml:10",
        "m.toml:12",
        "m.toml:15",
    ]


def test_a_complaint_says_what_the_option_means() -> None:
    (problem,) = problems_of("[streams]\ngrace = 'x'")
    assert problem.endswith("(Seconds a resumable stream outlives its last reader)")


@pytest.mark.parametrize(
    "toml",
    [
        "[providers.openai]\napi_key = 'hush hush'",
        "[providers.openai]\napikey = 'hush'",
        "[providers.openai]\nkee = 'hush'",
        "[providers]\nopenai = 'hush'\n[[routes]]\nattempts = 0",
        "[providers.openai]\nbase_url = 'https://user:hush@h/v1'",
        "[providers.openai]\nbase_url = 'https://h/v1?key=hush'",
        "[providers.openai]\napi_key = ['hush']",
        "[keys.a]\nsha256 = 'hush'",
        "[keys.a]\ntoken = 'hush'",
        "keys = 'hush'",
        "[gateway]\naccess_token = 'hush'",
    ],
)
def test_what_may_be_a_secret_is_in_no_error(toml: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(toml)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(
    st.text()
    | st.from_regex(r"(\[{1,2}[a-z.]{0,9}\]{1,2}\n|[a-z.]{1,5} = (1|''|\[1, \{a=2\}\])\n){1,6}", fullmatch=True)
)
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(parse(text), Config)


@given(
    st.recursive(
        st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
    )
)
def test_any_value_anywhere_is_a_configuration_or_a_list_of_problems(value: Any) -> None:
    places = [{name: value} for name in Config.model_fields]
    places += [{"routes": [value, {"targets": value}]}, {"routes": [{"targets": [value]}], "providers": {"x": value}}]
    places += [
        {"keys": {"k": value}},
        {"keys": {"k": {"sha256": value}}},
        {"providers": {"openai": {"hosts": [value]}}},
    ]
    for raw in places:
        assert all(str(problem) for problem in contradictions(raw))
        try:
            Config.model_validate(raw)
        except ValidationError as error:
            found = of_pydantic(error)
        else:
            found = []
        assert all("\n" not in str(problem) for problem in found)


def test_lines_are_found_whatever_stands_around_them() -> None:
    lines = Lines(
        '''# [streams]
"a b".c = 1
text = """
[streams]
grace = 1
"""
list = [ # a comment
  ["x"],
  "y",
]
inline = { p = { q = 1 }, r = [ { s = 1 } ] }

[streams] # grace = 5
  grace = 2

[[routes]]
model = "one"
[[routes.inner]]
[routes.timeouts]
idle = 1

  [[routes]]
  timeouts.idle = 2
'''
    )
    expected = {
        ("a b", "c"): 2,
        ("text",): 3,
        ("list",): 7,
        ("list", 1): 9,
        ("inline", "p", "q"): 11,
        ("inline", "r", 0, "s"): 11,
        ("streams",): 13,
        ("streams", "grace"): 14,
        ("streams", "missing"): 13,
        ("routes", 0): 16,
        ("routes", 0, "model"): 17,
        ("routes", 0, "inner", 0): 18,
        ("routes", 0, "timeouts"): 19,
        ("routes", 0, "timeouts", "idle"): 20,
        ("routes", 1): 22,
        ("routes", 1, "timeouts", "idle"): 23,
        ("nowhere", "at", "all"): 0,
    }
    assert {path: lines.line_of(path) for path in expected} == expected


def test_the_search_for_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from midstream.config import lines as config_lines

    tries: list[str] = []
    parse_piece = config_lines._parse

    def noted(piece: str) -> dict[str, Any] | None:
        tries.append(piece)
        return parse_piece(piece)

    monkeypatch.setattr(config_lines, "_parse", noted)
    text = "[streams]\nx = [\n" + "1,\n" * 10_000 + "]\ngrace = 1\n"
    assert Lines(text).line_of(("streams", "grace")) == 1
    assert len(tries) <= config_lines.STATEMENT + 1


def test_a_file_is_read_with_its_name_in_the_errors(tmp_path: Path) -> None:
    path = tmp_path / "midstream.toml"
    path.write_bytes(b"\xef\xbb\xbf[streams]\r\ngrace = 3\r\n")
    assert load(path).streams.grace == 3
    path.write_bytes(b"[streams]\r\n\r\ngrace = ''\r\n")
    with pytest.raises(ConfigError, match=rf"{path}:3: streams.grace"):
        load(str(path))
    path.write_bytes(b"# fine\n# \xff\n")
    with pytest.raises(ConfigError, match=rf"{path}:2: not UTF-8"):
        load(path)


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        ConfigFile(tmp_path)
    monkeypatch.setattr(config_file, "FILE_LIMIT", 10)
    (tmp_path / "large.toml").write_text("#" * 11)
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        load(tmp_path / "large.toml")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "midstream.toml"
    path.write_text("[streams]\ngrace = 1\n")
    return path


def settled(path: Path) -> ConfigFile:
    """As it is once it has been looked at a second time."""
    file = ConfigFile(path)
    assert file.poll() is None
    return file


def test_an_unchanged_file_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = settled(path)
    monkeypatch.setattr(config_file, "_read", lambda _: pytest.fail("was read"))
    assert file.poll() is None


def test_a_change_is_in_force_at_the_next_poll(path: Path) -> None:
    file = settled(path)
    path.write_text("[streams]\ngrace = 22\n")
    new = file.poll()
    assert new is file.config
    assert new is not None
    assert new.streams.grace == 22
    assert file.poll() is None


def test_a_file_replaced_as_editors_do_is_a_change(path: Path) -> None:
    file = settled(path)
    other = path.with_suffix(".new")
    other.write_text("[streams]\ngrace = 2\n")
    other.replace(path)
    new = file.poll()
    assert new is not None
    assert new.streams.grace == 2


def test_a_touched_file_is_no_change(path: Path) -> None:
    file = settled(path)
    os.utime(path, (1, 1))
    assert file.poll() is None


def test_a_second_change_within_one_tick_of_the_clock_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConfigFile, "_look", lambda _: (1, path.stat().st_size))
    file = settled(path)
    path.write_text("[streams]\ngrace = 22\n")
    assert file.poll() is not None
    path.write_text("[streams]\ngrace = 33\n")
    new = file.poll()
    assert new is not None
    assert new.streams.grace == 33


def test_a_broken_change_is_logged_once_and_the_old_stays_in_force(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = settled(path)
    before = file.config
    path.write_text("[streams]\ngrace = 'x'\n")
    assert [file.poll() for _ in range(4)] == [None] * 4
    assert file.config is before
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"{path}:2: streams.grace" in record.getMessage()
    path.write_text("[streams]\ngrace = 'yy'\n")
    file.poll()
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2
    path.write_text("[streams]\ngrace = 3\n")
    new = file.poll()
    assert new is not None
    assert new.streams.grace == 3


def test_a_broken_change_taken_back_leaves_everything_as_it_was(path: Path) -> None:
    file = settled(path)
    before, text = file.config, path.read_text()
    path.write_text("[streams")
    assert file.poll() is None
    path.write_text(text)
    file.poll()
    assert file.config == before


def test_a_file_that_is_gone_changes_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = settled(path)
    text = path.read_text()
    path.unlink()
    assert [file.poll() for _ in range(3)] == [None] * 3
    assert file.config.streams.grace == 1
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    path.write_text(text)
    assert file.poll() is None
    path.write_text("[streams]\ngrace = 9\n")
    assert file.poll() is not None


def test_an_emptied_file_is_believed_at_the_second_look(path: Path) -> None:
    file = settled(path)
    path.write_text("")
    assert file.poll() is None
    assert file.poll() == Config.default()


def test_a_file_broken_from_the_start_is_an_error(path: Path) -> None:
    path.write_text("nonsense")
    with pytest.raises(ConfigError):
        ConfigFile(path)


def test_check_finds_nothing_in_a_good_file(path: Path) -> None:
    assert check(path) == []


def test_check_lists_what_will_go_wrong_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUR_KEY", raising=False)
    path.write_text(
        f"""
[providers.openai]
api_key = "env:OUR_KEY"
[providers.groq]
api_key = "literal"
[[routes]]
model = "gpt-*"
[[routes]]
provider = "openai"
model = "gpt-*"
[[routes]]
model = "gpt-4"
[streams]
spool_dir = "{path.parent}/none"
[keys.old]
sha256 = "{DIGEST}"
expires = 2020-01-01
"""
    )
    path.chmod(0o644)
    found = "\n".join(check(path))
    assert "provider openai: the environment variable OUR_KEY" in found
    assert "keys.old: expired on 2020-01-01" in found
    assert "routes[1]: never used, routes[0] before it" in found
    assert "routes[2]" not in found
    assert "chmod 600" in found
    assert "streams.spool_dir" in found
    path.chmod(0o600)
    assert "chmod" not in "\n".join(check(path))


def test_check_lists_the_errors_of_a_broken_file(path: Path) -> None:
    path.write_text("[streams]\ngrace = 'x'\nkeep = 'y'")
    assert [problem.partition(": ")[0] for problem in check(path)] == [f"{path}:2", f"{path}:3"]


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


def models(table: type[BaseModel] = Config, name: str = "") -> list[tuple[str, type[BaseModel]]]:
    """All tables, by name."""
    found = [(name, table)]
    for key in table.model_fields:
        for path in ((key,), (key, 0), (key, "NAME")):
            inner = _at(table, path)
            if inner is not None and inner is not table:
                found += models(inner, key)
    return found


def _at(table: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel] | None:
    if table is Config:
        return table_at(path)
    annotation = table.model_fields[str(path[0])].annotation
    return annotation if len(path) == 1 and isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def test_every_option_is_described_and_in_the_reference() -> None:
    page = reference()
    tables = models()
    assert {name for name, _ in tables} == {
        "",
        "providers",
        "routes",
        "backoff",
        "timeouts",
        "healing",
        "streams",
        "retention",
        "gateway",
        "keys",
    }
    for name, table in tables:
        for key, field in table.model_fields.items():
            assert field.description, f"{name}.{key}"
            assert name == "" or f"| `{key}` | " in page
    for heading in (
        "[providers.NAME]",
        "[[routes]]",
        "backoff",
        "timeouts",
        "[healing]",
        "[streams]",
        "[retention]",
        "[gateway]",
        "[keys.NAME]",
    ):
        assert f"# `{heading}`" in page
    assert all(line.count("|") == 5 for line in page.splitlines() if line.startswith("| "))


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


def test_the_reference_in_the_docs_is_the_models_own() -> None:
    """After a change: python -c 'from midstream.config.reference import reference; print(reference())' > docs/configuration.md"""
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert page.read_text().rstrip() == reference().rstrip()
