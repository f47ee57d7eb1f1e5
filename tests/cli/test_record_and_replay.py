"""Recording and replay as docs/recording.md has them: everything loaded, `midstream run`'s set of addons with the relay in it."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from cli.process import Cli, command
from midstream.locate import recordings_path
from midstream.recording import read

FILE = recordings_path() / "openai_chat" / "plain_text.jsonl"
REQUEST = json.dumps({"model": "gpt-4o", "stream": True, "messages": []})

ASK = f"""
import sys, urllib.request
headers = {{"content-type": "application/json", "authorization": "Bearer sk-0123456789abcdefghijklmnop"}}
request = urllib.request.Request("https://api.openai.com/v1/chat/completions", {REQUEST.encode()!r}, headers)
sys.stdout.buffer.write(urllib.request.urlopen(request).read())
"""


@contextlib.contextmanager
def replaying(environment: dict[str, str], *arguments: str) -> Iterator[int]:
    """`midstream replay` on a free port, for the time of the block."""
    line = [*command(), "replay", "--speed", "0", "--port", "0", *arguments]
    server = subprocess.Popen(
        line, env=environment | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, encoding="utf-8"
    )
    try:
        assert server.stdout is not None
        match = re.search(r"serving 1 recordings on https?://127\.0\.0\.1:(\d+)", server.stdout.readline())
        assert match is not None
        if "--tls" in arguments:
            assert any("trust this CA" in line for line in iter(server.stdout.readline, ""))
        yield int(match[1])
    finally:
        server.terminate()
        server.communicate(timeout=20)


def test_what_comes_through_everything_is_recorded_and_replays(
    cli: Cli, environment: dict[str, str], tmp_path: Path
) -> None:
    folder, ca = tmp_path / "recorded", tmp_path / "provider-ca.pem"
    with replaying(environment, str(FILE), "--tls", "--ca-file", str(ca)) as port:
        options = (
            f"midstream_recordings={folder}",
            f"midstream_connect_to=api.openai.com:443:127.0.0.1:{port}",
            f"ssl_verify_upstream_trusted_ca={ca}",
        )
        settings = [part for option in options for part in ("--set", option)]
        done = cli("exec", *settings, "--", sys.executable, "-c", ASK)
    said = read(FILE).body
    assert (done.returncode, done.stdout.encode()) == (0, said), done.stderr
    [file] = folder.rglob("*.jsonl")
    recording = read(file)
    assert (recording.body, recording.end) == (said, "complete")
    assert recording.header.response.headers["content-type"].startswith("text/event-stream")
    assert "sk-0123456789" not in file.read_text(encoding="utf-8")
    [row] = json.loads(cli("streams", "--json").stdout)
    assert file.stem.endswith(row["id"])
    with replaying(environment, str(folder)) as port:
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", REQUEST.encode())
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=20) as answer:
            assert answer.read() == said
