"""Runs a real Prometheus that scrapes pods every second, with the chart's alert rules.

Debian's package cannot discover pods, so the tests write the targets into the files that Prometheus watches.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.api.support.admin_process import free_port
from tests.cluster.output import wait_until
from tests.unit.monitoring.rules import RULES_FILE

Sample = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One scraped address. The labels are those that the Prometheus operator sets."""

    address: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Prometheus:
    """The HTTP API of a running Prometheus, and the folder with the files of its targets."""

    client: httpx.Client
    folder: Path

    def discover(self, targets: Mapping[str, Sequence[Target]]) -> None:
        """Replace the targets of each job, and wait until all of them are scraped and no other one is left."""
        for job, found in targets.items():
            unfinished = self.folder / "unfinished"
            unfinished.write_text(json.dumps([{"targets": [one.address], "labels": dict(one.labels)} for one in found]))
            unfinished.replace(_targets_file(self.folder, job))
        expected = {one.address for found in targets.values() for one in found}

        def all_up() -> bool:
            states = {one["metric"]["instance"]: one["value"][1] for one in self.query("up")}
            return states == dict.fromkeys(expected, "1")

        wait_until(all_up, f"{sorted(expected)} are scraped", timeout=60, pause=0.3)

    def get(self, path: str, **parameters: str) -> Any:
        """The field `data` of an answer. It is an AssertionError if Prometheus reports an error."""
        body = self.client.get(f"/api/v1/{path}", params=parameters).json()
        assert body["status"] == "success", body
        return body["data"]

    def query(self, expression: str) -> list[Sample]:
        """The samples of an instant query."""
        result: list[Sample] = self.get("query", query=expression)["result"]
        return result

    def value(self, expression: str) -> float | None:
        """The value of a query with one sample; None if there is no sample or more than one."""
        samples = self.query(expression)
        return float(samples[0]["value"][1]) if len(samples) == 1 else None

    def rules(self) -> list[dict[str, Any]]:
        """All alert rules with their health."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """The pending and the firing alerts."""
        found: list[dict[str, Any]] = self.get("alerts")["alerts"]
        return found


@contextmanager
def running_prometheus(folder: Path, jobs: Mapping[str, bool]) -> Iterator[Prometheus]:
    """Start Prometheus and stop it at the end. ``jobs``: the value of `honor_labels` by name. None has targets yet."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs the program prometheus: install the package prometheus")
    scrapes = []
    for job, honor_labels in jobs.items():
        file = _targets_file(folder, job)
        file.write_text("[]")
        scrapes.append({"job_name": job, "honor_labels": honor_labels, "file_sd_configs": [{"files": [str(file)]}]})
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES_FILE)],
        "scrape_configs": scrapes,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address={address}", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    # One client: a new one for each of hundreds of queries would load the certificates of the machine each time.
    client = httpx.Client(base_url=f"http://{address}", timeout=10, trust_env=False)
    try:

        def ready() -> bool:
            assert process.poll() is None, (folder / "prometheus.log").read_text()[-4000:]
            with suppress(httpx.TransportError):
                return client.get("/-/ready").status_code == httpx.codes.OK
            return False

        wait_until(ready, "Prometheus is ready", timeout=60)
        yield Prometheus(client, folder)
    finally:
        client.close()
        process.terminate()
        process.wait(30)


def _targets_file(folder: Path, job: str) -> Path:
    return folder / f"targets-{job}.json"
