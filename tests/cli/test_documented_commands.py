"""Each command of a shell block in README.md and docs/ is typed as it stands there, and does what it is for.

What wants more than a folder of its own is named in ELSEWHERE, with the file that shows it at work.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.process import TIMEOUT
from cli.test_docs import PAGES, ROOT
from databases import finished
from midstream.cli.proxy import free_port
from midstream.config.file import load
from midstream.records import AttemptRecord
from midstream.store.database import StoreWriter, open_reader

ELSEWHERE = {
    "pip install uv && uv run pytest": ".ci/run",
    "pip install uv && uv run midstream demo": "tests/cli/test_demo.py",
    "midstream tail": "tests/cli/test_tables.py",
    "midstream datasette": "tests/cli/test_datasette.py",
    "midstream run --config midstream.toml --mode regular": "tests/end_to_end/test_gateway_listeners.py",
    "mitmdump -nr saved.flows": "tests/end_to_end/test_render.py",
    "mitmproxy -s": "tests/end_to_end/test_render.py",  # wants a terminal
    "mitmdump -s addons/measure_streams.py --mode local:": "docs/capture.md",  # wants sudo and cgroup v2
    "pip install 'midstream[": "pyproject.toml",
    "pip install dist/": "tests/release/check.py",
    "uv build": "tests/release/check.py",
    "uv tool install": "tests/release/check.py",
    "python3 -m venv /opt/midstream": "tests/release/deployments.py",
    "docker ": "tests/release/deployments.py",
    "systemctl ": "tests/release/deployments.py",
    "mkdir -p /etc/midstream": "docs/systemd/midstream.service",
    "install -m 600 /dev/null /etc/midstream/": "docs/systemd/midstream.service",
    "cp docs/systemd/": "docs/systemd/midstream.service",
    "curl https://llm.example.com": "tests/end_to_end/test_gateway_listeners.py",
    "python tests/bench/": "docs/performance.md",
    "just ": "justfile",  # takes minutes; the recipes are looked for below
}
"""How lines begin that are not typed here → the file that shows them at work. Nothing else than our own commands is typed."""

OURS = re.compile(r"(?:[A-Z_]+=\S+ )?(?:midstream|mitmdump|mitmweb) ")

SERVERS = re.compile(r"(?:[A-Z_]+=\S+ )?(?:mitmdump |mitmweb |midstream (?:run|replay)\b)")
"""They run until they are told to stop: a signal, once they say that they listen."""

LISTENS = re.compile(r"listening at|^serving|https?://127\.0\.0\.1:\d", re.M)

PORTS = re.compile(r"(?<=@)8081\b|(?<=-p )\d+\b|(?<=--port )\d+\b|(?<=127\.0\.0\.1:)8800\b")
"""Those that the pages name: somebody may have them here, so free ones are taken in their place."""


def lines_of(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks, without comments, continued lines joined."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if code := " ".join(re.sub(r"(^|\s)#.*", "", line).split()):
                yield code


LINES = sorted({line for page in PAGES for line in lines_of(page)})
TYPED = [line for line in LINES if not line.startswith(tuple(ELSEWHERE))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader is: a checkout, with a program, a configuration and recordings of their own."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("addons", "recordings", "docs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "recorded").mkdir()
    shutil.copy(ROOT / "recordings" / "openai_chat" / "plain_text.jsonl", folder / "recorded")
    (folder / "app.py").write_text("print('the program ran')")
    (folder / "mine.py").write_text("def request(flow):\n    pass\n")
    (folder / "midstream.toml").write_text(
        '[[routes]]\nmodel = "gpt-4o*"\ntargets = ["openai"]\non_break = "continue"\n'
    )
    return folder


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> dict[str, str]:
    """A home in which a stream has been recorded."""
    home = tmp_path_factory.mktemp("home")
    (home / ".mitmproxy").symlink_to(confdir)
    writer = StoreWriter(home / ".midstream" / "streams.db")
    writer.finished(
        finished(provider="openai", model_requested="gpt-4o", ttft_ms=120.0, started_at="2026-11-01T10:00:00.000Z")
    )
    assert writer.close()
    path = os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin"))
    return {"HOME": str(home), "PATH": path, "TERM": "dumb", "PYTHONUNBUFFERED": "1"}


def isolated(line: str) -> str:
    """The line, listening where nobody else does."""
    line = PORTS.sub(lambda _: str(free_port()), line)
    if SERVERS.match(line) and "midstream replay" not in line and not re.search(r" -p \d", line):
        line += f" --listen-host 127.0.0.1 --listen-port {free_port()}"
    if "--web" in line:
        line += f" --web-port {free_port()} --no-web-open-browser"
    if line.startswith("midstream replay") and "--port" not in line:
        line += f" --port {free_port()}"
    return line


@pytest.mark.parametrize("line", [line for line in TYPED if OURS.match(line)])
def test_a_command_is_typed(line: str, folder: Path, surroundings: dict[str, str]) -> None:
    process = subprocess.Popen(
        ["bash", "-c", f"exec env {isolated(line)}"],
        cwd=folder,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    try:
        if SERVERS.match(line):
            assert process.stdout is not None
            while not LISTENS.search(said) and (read := process.stdout.readline()):
                said += read
            assert LISTENS.search(said), said
            process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=TIMEOUT)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_every_line_is_typed_here_or_shown_elsewhere() -> None:
    assert [line for line in TYPED if not OURS.match(line)] == []
    assert [begins for begins in ELSEWHERE if not any(line.startswith(begins) for line in LINES)] == []
    assert [where for where in ELSEWHERE.values() if not (ROOT / where).exists()] == []


def test_every_recipe_a_page_names_is_there() -> None:
    recipes = re.findall(r"^([a-z-]+)[ \w*]*:", (ROOT / "justfile").read_text(encoding="utf-8"), re.M)
    named = {line.split()[1] for line in LINES if line.startswith("just ")}
    assert named
    assert named <= set(recipes)


def blocks(kind: str) -> list[str]:
    return [
        b
        for page in PAGES
        for b in re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    ]


@pytest.mark.parametrize("block", blocks("toml"))
def test_a_configuration_on_a_page_is_valid(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the keys' digests, which a page leaves out."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    file = tmp_path / "midstream.toml"
    file.write_text(block.replace('"…"', f'"{"0" * 64}"'))
    assert load(file) is not None


@pytest.mark.parametrize("question", [q.strip() for block in blocks("sql") for q in block.split(";") if q.strip()])
def test_a_question_in_sql_is_answered(question: str, tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "x.db")
    writer.finished(
        finished(),
        [AttemptRecord(stream_id="s1", n=1, provider="openai", model="gpt-4o", started_at="2026-11-01T10:00:00.000Z")],
    )
    assert writer.close()
    with open_reader(tmp_path / "x.db") as reader:
        reader.ask(question)
