"""`make bench-api`: a durable, compressed, encrypted, signed and verified backup by a real gateway-admin process, next
to what people do without it, in one run; and what a probe notices of it. Prints ratios of medians; asserts no time.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pyrage

from tests.api.support.admin_process import AdminProcess, admin_key
from tests.api.support.responses import assert_ok
from tests.bench.api.configs import config_of
from tests.bench.api.measure import PACE_SECONDS, Answers, Memory, percentile, probing

SIZES = {"10 kB": 10_000, "1 MB": 1_000_000, "64 MB": 64 * 1024 * 1024}
SCRIPT = Path(__file__).resolve().parents[2] / "api" / "upstream" / "documented_scripts" / "automated-backup.sh"
PREFIX = "/api/v1/system"
SETTLED_SECONDS = 2.2
IDLE_SECONDS = 5.0


class Ground:
    """A config of one size, a server for it, and everything that it is compared with, on one disk."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.key = admin_key()
        self.config = folder / "config" / "config.json"
        self.backups = folder / "backups"
        self.config.parent.mkdir(parents=True)
        self.backups.mkdir()
        self.data = config_of(size, self.key)
        self.config.write_bytes(self.data)
        self.identity = pyrage.x25519.Identity.generate()
        self.recipient = str(self.identity.to_public())
        self.round = 0
        self.environ = {**os.environ, "RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(folder / "cache")}
        self._run("restic", "init", "-q", "-r", str(folder / "restic"))

    def server(self) -> AdminProcess:
        return AdminProcess(self.config, self.backups, age_recipient=self.recipient, encryption="allow")

    def change(self) -> None:
        """Another config of the same size: half of it is as it was, as far as a deduplicating tool can see."""
        self.round += 1
        half = len(self.data) // 2
        changed = self.data[half:].replace(b'"created_at": "2026-', f'"created_at": "{2026 + self.round}-'.encode())
        assert changed != self.data[half:]
        self.config.write_bytes(self.data[:half] + changed)
        os.sync()

    def _run(self, *words: str) -> None:
        subprocess.run(words, check=True, env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ours(self, client: httpx.Client) -> None:
        body = {"path": f"ours/{self.round}-{time.monotonic_ns()}.json.zst.age"}
        made = assert_ok(client.post(f"{PREFIX}/backup", json=body))
        assert (made["level"], made["proof"]) == ("Verified", "payload")
        assert made["signed_by"]

    def script(self, server: AdminProcess) -> Callable[[], None]:
        """The guide's own script, unchanged but for the URL, the key and the folder."""
        changes = {
            "http://localhost:8001": server.base_url,
            "your-admin-api-key": self.key,
            "/backups/gateway": str(self.backups / "script"),
        }
        text = SCRIPT.read_text()
        for old, new in changes.items():
            text = text.replace(old, new)
        script = self.folder / "script.sh"
        script.write_text(text)
        return lambda: self._run("bash", str(script))

    def restic(self) -> None:
        repository = str(self.folder / "restic")
        self._run("restic", "backup", "-q", "-r", repository, str(self.config))
        self._run("restic", "check", "-q", "--read-data-subset=100%", "-r", repository)

    def pipe(self) -> None:
        target = self.folder / f"pipe-{self.round}"
        command = f"zstd -q -c '{self.config}' | age -r {self.recipient} > '{target}' && sync '{target}'"
        self._run("bash", "-o", "pipefail", "-c", command)


def _timed(call: Callable[[], None]) -> float:
    os.sync()
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare(ground: Ground, rounds: int) -> dict[str, float]:
    """Medians in seconds and of the ratios to ours, and peak memory in MiB."""
    times: dict[str, list[float]] = {name: [] for name in ("ours", "unseen", "script", "restic", "pipe")}
    peaks: list[tuple[float, float]] = []
    with ground.server() as server, server.client(ground.key, timeout=120) as client, Memory(server) as memory:
        script = ground.script(server)
        ground.ours(client)
        for _ in range(rounds):
            ground.change()
            time.sleep(SETTLED_SECONDS)
            memory.reset()
            times["unseen"].append(_timed(lambda: ground.ours(client)))
            peaks.append(memory.peaks())
            ground.change()
            time.sleep(SETTLED_SECONDS)
            assert_ok(
                client.get(f"{PREFIX}/health")
            )  # as the operator asks before each backup: the server has seen this config
            times["ours"].append(_timed(lambda: ground.ours(client)))
            times["script"].append(_timed(script))
            times["restic"].append(_timed(ground.restic))
            times["pipe"].append(_timed(ground.pipe))
    found = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        # Pair by pair: what else the machine does weighs on both alike.
        ratios = (value / ours for value, ours in zip(values, times["ours"], strict=True))
        found[f"{name}/ours"] = statistics.median(ratios)
    found["server"], found["worker"] = (max(one[n] for one in peaks) for n in (0, 1))
    return found


def responsiveness(ground: Ground) -> dict[str, tuple[float, float, float]]:
    """Requests per second of a closed loop, p50 and p99 in milliseconds at a pace: idle, and while each thing runs."""
    found: dict[str, tuple[float, float, float]] = {}
    with ground.server() as server, server.client(ground.key, timeout=120) as client:
        made = assert_ok(client.post(f"{PREFIX}/backup", json={"path": "seen.json.zst.age"}))
        identity = {"identity": str(ground.identity)}

        def backup() -> None:
            ground.ours(client)

        def restore() -> None:
            assert_ok(client.post(f"{PREFIX}/restore", json={"backup_id": made["backup_id"], **identity}))

        def verify() -> None:
            assert_ok(client.post(f"{PREFIX}/backups/{made['backup_id']}/verify", json=identity))

        def health() -> None:
            assert_ok(client.get(f"{PREFIX}/health"))

        runs = {
            "idle": lambda: time.sleep(IDLE_SECONDS),
            "backup": backup,
            "restore": restore,
            "verify": verify,
            "system health": health,
        }
        for name, call in runs.items():
            paced, spans = _probed(ground, server, name, call, PACE_SECONDS)
            times = paced.between(spans)
            rate = math.nan
            if name in ("idle", "backup"):
                closed, spans = _probed(ground, server, name, call, 0.0)
                rate = len(closed.between(spans)) / sum(end - begin for begin, end in spans)
            found[name] = (rate, 1000 * percentile(times, 0.5), 1000 * percentile(times, 0.99))
    return found


def _probed(
    ground: Ground, server: AdminProcess, name: str, call: Callable[[], None], pause: float
) -> tuple[Answers, list[tuple[float, float]]]:
    """What `/health` answered, and when the thing ran: three times, on a config that the server has never seen where it
    reads the config."""
    spans = []
    with probing(server, pause) as answers:
        for _ in range(1 if name == "idle" else 3):
            if name in ("backup", "system health"):
                ground.change()
                time.sleep(SETTLED_SECONDS)
            began = time.monotonic()
            call()
            spans.append((began, time.monotonic()))
    return answers, spans


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--skip", choices=["times", "probes"])
    options = parser.parse_args()
    missing = [name for name in ("restic", "age", "zstd", "curl", "gzip") if shutil.which(name) is None]
    if missing:
        parser.exit(2, f"this bench needs {', '.join(missing)}: install the packages of these names\n")
    for name in options.sizes:
        folder = Path(tempfile.mkdtemp(prefix="bench-api-"))
        try:
            ground = Ground(folder, SIZES[name])
            if options.skip != "times":
                _report(name, len(ground.data), compare(ground, options.rounds))
            if name == options.sizes[-1] and options.skip != "probes":
                _report_probes(name, responsiveness(ground))
        finally:
            shutil.rmtree(folder)


def _report(name: str, size: int, found: dict[str, float]) -> None:
    print(f"\nconfig of {name} ({size} bytes): medians, and how many times longer than ours they take")
    rows = {
        "ours": "ours",
        "unseen": "ours, never seen yet",
        "script": "the guide's script",
        "restic": "restic and check",
        "pipe": "zstd | age, synced",
    }
    aims = {"script": "aim: 5 at 64 MB", "restic": "aim: 2", "pipe": "aim: 0.8"}
    for key, text in rows.items():
        print(f"  {text:20} {found[key]:8.3f} s {found[f'{key}/ours']:7.2f}  {aims.get(key, '')}".rstrip())
    print(f"  peak memory          server {found['server']:.0f} MiB, worker {found['worker']:.0f} MiB", flush=True)


def _report_probes(name: str, found: dict[str, tuple[float, float, float]]) -> None:
    idle = found["idle"][2]
    print(f"\n/health while it works on {name}: closed loop; then one question every few milliseconds")
    for what, (rate, p50, p99) in found.items():
        ratio = p99 / idle
        each = "        " if math.isnan(rate) else f"{rate:6.0f}/s"
        print(f"  {what:14} {each}  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  {ratio:5.1f} times idle (aim: 3)")


if __name__ == "__main__":
    main()
