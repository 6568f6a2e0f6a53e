"""Runs the real gateway from the package index, unchanged, with its own admin API on a generated config.

The package is installed once into the cache outside the work tree. The path of its config is fixed in the package, so a
launcher sets it before any other module reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.api.support.admin_process import free_port
from tests.cluster.locks import locked
from tests.cluster.paths import HERE, cache_dir

LOCK = HERE / "gateway_image" / "requirements.txt"
LAUNCHER = """
import os, sys
import secure_mcp_gateway.consts as consts
consts.CONFIG_PATH = consts.DOCKER_CONFIG_PATH = os.environ["CONFIG"]
from secure_mcp_gateway import cli
if sys.argv[1] == "generate":
    import json
    with open(os.environ["CONFIG"], "w") as file:
        json.dump(cli.generate_default_config(), file, indent=2)
else:
    cli.start_api_server(host="127.0.0.1", port=int(sys.argv[2]))
"""


def python() -> str:
    """The Python interpreter with the gateway; the first call installs it, which takes about a minute."""
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache_dir() / f"upstream-{digest}"
    with locked(cache_dir() / "upstream.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
            uv = Path(sys.executable).with_name("uv")
            words = [str(uv), "pip", "install", "-q", "--python", str(folder / "bin" / "python")]
            subprocess.run([*words, "--require-hashes", "--no-deps", "-r", str(LOCK)], check=True)
            (folder / "complete").touch()
    return str(folder / "bin" / "python")


@dataclass
class Upstream:
    """The real gateway in a folder: its config and its own admin API."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        """The live config, which the gateway writes in place."""
        return self.folder / "enkrypt_mcp_config.json"

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        environ = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "CONFIG": str(self.config),
            "HOST_OS": "linux",
            "HOST_ENKRYPT_HOME": str(self.folder),
            "HOME": str(self.folder),
            "SKIP_DEPENDENCY_INSTALL": "true",
        }
        with (self.folder / "upstream.log").open("ab") as log:
            return subprocess.Popen(
                [python(), "-c", LAUNCHER, *words], cwd=self.folder, env=environ, stdout=log, stderr=log
            )

    def generate(self) -> None:
        """Writes the first config that the gateway's command line generates."""
        assert self._run("generate").wait(120) == 0, (self.folder / "upstream.log").read_text()[-2000:]

    def start(self) -> None:
        """Starts the gateway's admin API; returns once its `/health` answers."""
        self.process = self._run("serve", str(self.port))
        end = time.monotonic() + 90
        while time.monotonic() < end:
            if self.alive:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"the gateway does not start: {(self.folder / 'upstream.log').read_text()[-2000:]}")

    @property
    def alive(self) -> bool:
        """Whether the gateway's `/health` answers."""
        url = f"http://127.0.0.1:{self.port}/health"
        with contextlib.suppress(httpx.TransportError):
            # verify=False: for plain HTTP too, each call would load the machine's CA certificates, which takes 20 ms.
            return httpx.get(url, timeout=5, trust_env=False, verify=False).status_code == 200
        return False

    def stop(self) -> None:
        """Terminates the gateway; kills it after 5 s."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            self.process = None

    def client(self, key: str) -> httpx.Client:
        """A client of the gateway's own API; the caller closes it."""
        url = f"http://127.0.0.1:{self.port}/api/v1"
        return httpx.Client(base_url=url, headers={"apikey": key}, timeout=20, trust_env=False)

    def __enter__(self) -> Upstream:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
