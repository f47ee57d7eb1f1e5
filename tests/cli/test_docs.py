"""What README.md, docs/ and the helps tell people to type is what there is."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from midstream.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "recordings" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
HELPS = [*COMMANDS, "keys new", "keys list"]


def code_of(text: str) -> Iterator[str]:
    """The lines of a page's code blocks, and its code in the text, which may run over a line's end."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    yield from (line for block in blocks for line in block.splitlines())
    prose = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.M | re.S)
    yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose))


def commands_of(text: str) -> list[str]:
    """What follows `midstream` wherever it is called."""
    called = [re.search(r"(?:^\s*|&& |uv run |\d )midstream (.+)", line) for line in code_of(text)]
    return [match[1] for match in called if match and not match[1].startswith("…")]


def parse(line: str) -> None:
    """Raises click.UsageError where the command or an option does not exist, or an argument is missing."""
    words = shlex.split(re.split(r" \| |\s{3,}|\s#|\s\\$", line)[0])
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no such command: {name}")
        command = found
    if not isinstance(command, click.Group):
        command.make_context(command.name, words)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that has the files of the examples: `replay` wants them to be there."""
    (tmp_path / "recordings").symlink_to(ROOT / "recordings")
    (tmp_path / "recorded").mkdir()
    (tmp_path / "answer.jsonl").touch()
    monkeypatch.chdir(tmp_path)


EXAMPLES = [(page.relative_to(ROOT), line) for page in PAGES for line in commands_of(page.read_text(encoding="utf-8"))]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("page", "line"), EXAMPLES)
def test_a_command_on_a_page_parses(page: Path, line: str) -> None:
    with contextlib.suppress(click.MissingParameter):  # a text may speak of `midstream exec` and of no program
        parse(line)


def test_the_pages_have_commands_of_every_kind() -> None:
    """Else the test above would have lost them."""
    used = {line.split()[0] for _, line in EXAMPLES}
    assert used >= {"demo", "exec", "run", "stats", "streams", "show", "tail", "doctor", "replay"}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", HELPS)
def test_the_examples_of_a_help_parse(name: str) -> None:
    shown = CliRunner().invoke(main, [*name.split(), "--help"], prog_name="midstream").output
    examples = re.findall(rf"^  (?:\w+=\S+ )?midstream ({name}\b.*)", shown, re.M)
    assert examples
    for line in examples:
        parse(line)


@pytest.mark.parametrize("line", ["nonsense", "stats --nonsense", "stats --by nonsense", "keys nonsense", "show"])
def test_a_command_that_is_none_does_not_parse(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line)


def test_the_readmes_test_command_is_what_has_to_be_green() -> None:
    command = re.search(r"And the tests:\n\n```sh\n(.+)\n```", README.read_text(encoding="utf-8"))
    assert command is not None
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" --quiet", "")
    assert command[1] in run.splitlines()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", text)]
    scripts = [ROOT / script for script in re.findall(r"\baddons/[\w/]+\.py\b", text)]
    assert [path for path in links + scripts if not path.exists()] == []


def test_every_option_a_page_sets_is_an_addons() -> None:
    named = {name for page in PAGES for name in re.findall(r"\bmidstream_\w+(?==)", page.read_text(encoding="utf-8"))}
    sources = [*(ROOT / "addons").glob("*.py"), ROOT / "addons" / "midstream" / "flows.py"]
    source = "".join(file.read_text(encoding="utf-8") for file in sources)
    assert named >= {"midstream_recordings", "midstream_connect_to"}
    assert [name for name in named if f'"{name}"' not in source] == []
