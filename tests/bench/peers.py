"""What else a user could put there: gateways that install from PyPI or npm, each in a folder of its own, outside the project.

    python tests/bench/peers.py install         # or: just bench-peers
    python tests/bench/peers.py where

They are no dependency of midstream's: what is not installed is left out of the table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HOME = Path(
    os.environ.get("MIDSTREAM_BENCH_PEERS") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
) / ("midstream-bench")
"""Where they are installed."""

LITELLM = "litellm[proxy]>=1.108,<2"
PORTKEY = {
    "private": True,
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    # With a newer one each streamed answer is a 500: it hands the provider's read-only headers to a gateway that adds to them.
    "overrides": {"@hono/node-server": "1.13.8"},
}

KEY = "sk-bench-0123456789abcdef0123456789abcdef"
"""LiteLLM does not start with a short one; nobody checks it at the provider."""

LITELLM_CONFIG = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: http://127.0.0.1:{provider}/v1
      api_key: sk-none
"""


@dataclass(frozen=True)
class Peer:
    """needs: the file that is there once it is installed. command: of a folder for its files, its port, the provider's port.
    fields: headers that its requests carry, of the provider's port."""

    needs: Path
    install: Callable[[], None]
    command: Callable[[Path, int, int], Sequence[str]]
    fields: Callable[[int], tuple[str, ...]]
    environment: Mapping[str, str]

    @property
    def installed(self) -> bool:
        return self.needs.exists()


def _install_litellm() -> None:
    folder = HOME / "litellm"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", LITELLM], check=True)


def _litellm(folder: Path, port: int, provider: int) -> Sequence[str]:
    config = folder / "litellm.yaml"
    config.write_text(LITELLM_CONFIG.format(provider=provider))
    program = str(HOME / "litellm" / "bin" / "litellm")
    return [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]


def _install_portkey() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("portkey: there is no npm to install it with")
    folder = HOME / "portkey"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(json.dumps(PORTKEY))
    subprocess.run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)


_PORTKEY = HOME / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"

PEERS: Mapping[str, Peer] = {
    "litellm": Peer(
        needs=HOME / "litellm" / "bin" / "litellm",
        install=_install_litellm,
        command=_litellm,
        fields=lambda provider: (f"authorization: Bearer {KEY}",),
        environment={
            "LITELLM_MASTER_KEY": KEY,
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network at its start
            "DISABLE_ADMIN_UI": "True",
        },
    ),
    "portkey": Peer(
        needs=_PORTKEY,
        install=_install_portkey,
        command=lambda folder, port, provider: ["node", str(_PORTKEY), "--headless", f"--port={port}"],
        fields=lambda provider: (
            "authorization: Bearer sk-none",
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: http://127.0.0.1:{provider}/v1",
        ),
        environment={"NODE_ENV": "production"},
    ),
}
"""By the name of its column."""


def present() -> tuple[str, ...]:
    return tuple(name for name, peer in PEERS.items() if peer.installed)


def main() -> None:
    if sys.argv[1:] == ["where"]:
        print(HOME)
        return
    if sys.argv[1:] != ["install"]:
        raise SystemExit(__doc__)
    for name, peer in PEERS.items():
        print(f"{name}: {'is installed' if peer.installed else 'installing'}", file=sys.stderr)
        if not peer.installed:
            peer.install()


if __name__ == "__main__":
    main()
