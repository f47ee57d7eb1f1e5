"""What is said of a midstream.toml that is wrong: where, what, and what would be right."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from midstream.config import Config, ConfigError
from midstream.config.file import parse
from midstream.config.lines import Lines
from midstream.config.problems import contradictions, of_pydantic

DIGEST = "0123456789abcdef" * 4


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "m.toml")
    return caught.value.problems


def test_a_provider_that_is_not_built_in_needs_a_dialect_and_a_base_url() -> None:
    problems = problems_of("\n[providers.mine]\nprefill = true")
    assert [problem.split(": ")[:3] for problem in problems] == [
        ["m.toml:2", "providers.mine.dialect", "missing"],
        ["m.toml:2", "providers.mine.base_url", "missing"],
    ]


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
