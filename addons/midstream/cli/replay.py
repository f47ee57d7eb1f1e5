"""`midstream replay`: recordings as a provider."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from midstream.cli.endings import as_interrupt, told_to_end
from midstream.locate import recordings_path
from midstream.recording import Recording, read
from midstream.replay.server import ReplayServer
from midstream.replay.throwaway_ca import ThrowawayCA


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--speed", type=click.FloatRange(min=0), default=1.0, show_default=True, help="2: twice as fast; 0: no pauses."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8800, show_default=True, help="0: any free one.")
@click.option("--tls", is_flag=True, help="Serve HTTPS, with certificates of a CA made for this run.")
@click.option(
    "--ca-file", type=click.Path(dir_okay=False, path_type=Path), help="Where to write that CA's certificate."
)
def replay(files: Sequence[Path], speed: float, host: str, port: int, tls: bool, ca_file: Path | None) -> None:
    """Serve recordings as an LLM provider would, with their pauses and chunk edges.

    A FILE may be a folder; with none, the recordings that midstream comes with are served. A request is matched by method and
    path, then preferably by host, model and query; several recordings that fit take turns.

    \b
    midstream replay                                 the recordings that midstream comes with
    midstream replay ./recorded --speed 2
    midstream replay answer.jsonl --tls --ca-file ./provider-ca.pem
    """
    recordings = load(files)
    ca = ThrowawayCA() if tls or ca_file else None
    server = ReplayServer(recordings, speed=speed, host=host, port=port, ca=ca, served=_report)
    with contextlib.suppress(KeyboardInterrupt), told_to_end(as_interrupt), contextlib.ExitStack() as stack:
        if ca and ca_file is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="midstream-replay-"))
            ca_file = Path(folder) / "ca.pem"
        asyncio.run(_serve(server, host, ca, ca_file))


def load(files: Sequence[Path]) -> list[Recording]:
    """Read files, and folders' `*.jsonl`. Raises click.ClickException."""
    try:
        paths = [path for file in files or [recordings_path()] for path in _inside(file)]
        recordings = [read(path) for path in paths]
    except (OSError, ValueError) as e:
        raise click.ClickException(str(e)) from e
    if not recordings:
        raise click.ClickException(f"no recordings (*.jsonl) in {', '.join(map(str, files))}")
    return recordings


def _inside(path: Path) -> list[Path]:
    return sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]


async def _serve(server: ReplayServer, host: str, ca: ThrowawayCA | None, ca_file: Path | None) -> None:
    try:
        await server.start()
    except OSError as e:
        raise click.ClickException(f"cannot listen on {host}:{server.port}: {e.strerror or e}") from e
    scheme = "https" if ca else "http"
    click.echo(f"serving {len(server.catalogue.listing())} recordings on {scheme}://{host}:{server.port}")
    click.echo(f"of the hosts {', '.join(server.catalogue.hosts)}")
    if ca is not None and ca_file is not None:
        ca.write(ca_file)
        click.echo(f"trust this CA: {ca_file}")
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop()


def _report(method: str, path: str, recording: Recording | None) -> None:
    click.echo(f"{method} {path.partition('?')[0]} → {recording.name if recording else 'no recording: 404'}")
