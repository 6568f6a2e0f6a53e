"""`make bench-api`: compares a backup by a real gateway-admin process with the alternatives, in one run.

The backup is durable, compressed, encrypted, signed and verified. The alternatives are the guide's script, restic, and
a zstd | age pipe. It also measures the response time of `/health` meanwhile. It prints medians and ratios, and asserts
nothing.
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


class Subjects:
    """A config of one size with its server and the alternatives, all on one disk."""

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
        """Write another config of the same size. Half of it is unchanged, which helps tools that deduplicate."""
        self.round += 1
        half = len(self.data) // 2
        changed = self.data[half:].replace(b'"created_at": "2026-', f'"created_at": "{2026 + self.round}-'.encode())
        assert changed != self.data[half:]
        self.config.write_bytes(self.data[:half] + changed)
        os.sync()

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def gateway_admin(self, client: httpx.Client) -> None:
        body = {"path": f"gateway-admin/{self.round}-{time.monotonic_ns()}.json.zst.age"}
        record = assert_ok(client.post(f"{PREFIX}/backup", json=body))
        assert (record["level"], record["proof"]) == ("Verified", "payload")
        assert record["signed_by"]

    def script(self, server: AdminProcess) -> Callable[[], None]:
        """The guide's script with only the URL, the key and the folder replaced."""
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


def compare(subjects: Subjects, rounds: int) -> dict[str, float]:
    """Median seconds of each subject, median ratio to gateway-admin, and peak memory in MiB."""
    times: dict[str, list[float]] = {name: [] for name in ("gateway-admin", "new config", "script", "restic", "pipe")}
    peaks: list[tuple[float, float]] = []
    with subjects.server() as server, server.client(subjects.key, timeout=120) as client, Memory(server) as memory:
        script = subjects.script(server)
        subjects.gateway_admin(client)
        for _ in range(rounds):
            subjects.change()
            time.sleep(SETTLED_SECONDS)
            memory.reset()
            times["new config"].append(_timed(lambda: subjects.gateway_admin(client)))
            peaks.append(memory.peaks())
            subjects.change()
            time.sleep(SETTLED_SECONDS)
            # The operator requests the health before each backup, so the server has already parsed this config.
            assert_ok(client.get(f"{PREFIX}/health"))
            times["gateway-admin"].append(_timed(lambda: subjects.gateway_admin(client)))
            times["script"].append(_timed(script))
            times["restic"].append(_timed(subjects.restic))
            times["pipe"].append(_timed(subjects.pipe))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        # Ratios of runs that follow each other, because other load on the machine then affects both equally.
        ratios = (value / reference for value, reference in zip(values, times["gateway-admin"], strict=True))
        medians[f"{name}/gateway-admin"] = statistics.median(ratios)
    medians["server"], medians["worker"] = (max(one[n] for one in peaks) for n in (0, 1))
    return medians


def responsiveness(subjects: Subjects) -> dict[str, tuple[float, float, float]]:
    """Requests of `/health` per second in a closed loop, and p50 and p99 in ms when paced; idle and per operation."""
    results: dict[str, tuple[float, float, float]] = {}
    with subjects.server() as server, server.client(subjects.key, timeout=120) as client:
        record = assert_ok(client.post(f"{PREFIX}/backup", json={"path": "seen.json.zst.age"}))
        identity = {"identity": str(subjects.identity)}

        def backup() -> None:
            subjects.gateway_admin(client)

        def restore() -> None:
            assert_ok(client.post(f"{PREFIX}/restore", json={"backup_id": record["backup_id"], **identity}))

        def verify() -> None:
            assert_ok(client.post(f"{PREFIX}/backups/{record['backup_id']}/verify", json=identity))

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
            paced, spans = _probed(subjects, server, name, call, PACE_SECONDS)
            times = paced.between(spans)
            rate = math.nan
            if name in ("idle", "backup"):
                closed, spans = _probed(subjects, server, name, call, 0.0)
                rate = len(closed.between(spans)) / sum(end - begin for begin, end in spans)
            results[name] = (rate, 1000 * percentile(times, 0.5), 1000 * percentile(times, 0.99))
    return results


def _probed(
    subjects: Subjects, server: AdminProcess, name: str, call: Callable[[], None], pause: float
) -> tuple[Answers, list[tuple[float, float]]]:
    """The answers of `/health`, and the start and end of each of three runs of the operation.

    Operations that read the config get a new config each time, so that the server has to parse it.
    """
    spans = []
    with probing(server, pause) as answers:
        for _ in range(1 if name == "idle" else 3):
            if name in ("backup", "system health"):
                subjects.change()
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
        parser.exit(2, f"this bench needs {', '.join(missing)}: install the packages with these names\n")
    for name in options.sizes:
        folder = Path(tempfile.mkdtemp(prefix="bench-api-"))
        try:
            subjects = Subjects(folder, SIZES[name])
            if options.skip != "times":
                _report(name, len(subjects.data), compare(subjects, options.rounds))
            if name == options.sizes[-1] and options.skip != "probes":
                _report_probes(name, responsiveness(subjects))
        finally:
            shutil.rmtree(folder)


def _report(name: str, size: int, found: dict[str, float]) -> None:
    print(f"\nconfig of {name} ({size} bytes): medians, and ratios to gateway-admin")
    rows = {
        "gateway-admin": "gateway-admin",
        "new config": "  with a new config",
        "script": "the guide's script",
        "restic": "restic and check",
        "pipe": "zstd | age, synced",
    }
    targets = {"script": "target: 5 at 64 MB", "restic": "target: 2", "pipe": "target: 0.8"}
    for key, text in rows.items():
        print(f"  {text:20} {found[key]:8.3f} s {found[f'{key}/gateway-admin']:7.2f}  {targets.get(key, '')}".rstrip())
    print(f"  peak memory          server {found['server']:.0f} MiB, worker {found['worker']:.0f} MiB", flush=True)


def _report_probes(name: str, found: dict[str, tuple[float, float, float]]) -> None:
    idle = found["idle"][2]
    print(f"\n/health during operations on {name}: closed loop; then one request every few milliseconds")
    for what, (rate, p50, p99) in found.items():
        ratio = p99 / idle
        each = "        " if math.isnan(rate) else f"{rate:6.0f}/s"
        print(f"  {what:14} {each}  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  {ratio:5.1f} times idle (target: 3)")


if __name__ == "__main__":
    main()
