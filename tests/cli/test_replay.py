"""`midstream replay`: serves what it is given, and says what is wrong with it."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from midstream.cli.replay import load, replay
from midstream.locate import addon_path, recordings_path
from midstream.recording import read

ADDONS = Path(__file__).parent.parent.parent / "addons"
FILE = recordings_path() / "openai_chat" / "plain_text.jsonl"


@pytest.mark.parametrize("tls", [False, True])
def test_a_recording_is_served_byte_for_byte(tls: bool, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    options = ["--tls", "--ca-file", str(ca)] if tls else []
    command = [sys.executable, "-u", "-m", "midstream", "replay", str(FILE), "--speed", "0", "--port", "0", *options]
    server = subprocess.Popen(
        command, cwd=ADDONS, stdout=subprocess.PIPE, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"}
    )
    try:
        assert server.stdout is not None
        match = re.search(r"serving 1 recordings on (https?)://127\.0\.0\.1:(\d+)", server.stdout.readline())
        assert match is not None
        assert "api.openai.com" in server.stdout.readline()
        if tls:
            assert str(ca) in server.stdout.readline()
            context = ssl.create_default_context(cafile=str(ca))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "localhost", int(match[2]), timeout=20, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", int(match[2]), timeout=20)
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": "any", "stream": True}))
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, read(FILE).body)
        connection.close()
        assert "plain_text.jsonl" in server.stdout.readline()
    finally:
        server.terminate()
        server.wait(20)


def test_a_bad_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}\n")
    result = CliRunner().invoke(replay, [str(tmp_path)])
    assert result.exit_code == 1
    assert "bad.jsonl, line 1: not a recording" in result.output


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(replay, [str(tmp_path)])
    assert result.exit_code == 1
    assert "no recordings (*.jsonl)" in result.output


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(replay, [str(FILE), "--port", str(port)])
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.output


def test_without_files_all_that_midstream_comes_with_are_served() -> None:
    assert len(load([])) == len(list(recordings_path().rglob("*.jsonl"))) > 50


def test_an_addon_is_found_and_one_that_is_not_there_is_named() -> None:
    assert addon_path("connect_to.py").is_file()
    with pytest.raises(FileNotFoundError, match=r"nothing_here\.py"):
        addon_path("nothing_here.py")
