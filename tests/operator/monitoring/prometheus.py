"""Runs a real Prometheus that scrapes the given addresses every second, with the chart's alert rules."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.api.support.admin_process import free_port
from tests.operator.support.workloads import wait_for
from tests.unit.monitoring.rules import RULES_FILE


@dataclass(frozen=True)
class Target:
    """One scraped address, as a job of Prometheus. The labels are those that the Prometheus operator sets."""

    job: str
    address: str
    labels: Mapping[str, str]
    honor_labels: bool = False


@dataclass(frozen=True)
class Prometheus:
    """The HTTP API of a running Prometheus."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """The field `data` of an answer. It is an AssertionError if Prometheus reports an error."""
        response = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10, trust_env=False)
        body = response.json()
        assert body["status"] == "success", body
        return body["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """All alert rules with their health and their active alerts."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def active_alerts(self) -> dict[str, dict[str, Any]]:
        """Pending and firing alerts by name."""
        return {alert["labels"]["alertname"]: alert for alert in self.get("alerts")["alerts"]}


@contextmanager
def running_prometheus(folder: Path, targets: list[Target]) -> Iterator[Prometheus]:
    """Start Prometheus, wait until it has scraped all targets, and stop it at the end."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs the program prometheus: install the package prometheus")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(_config(folder, targets)))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address={address}", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        prometheus = Prometheus(f"http://{address}")

        def all_up() -> bool:
            assert process.poll() is None, (folder / "prometheus.log").read_text()[-4000:]
            with suppress(httpx.TransportError):
                # Before that it answers with a text instead of JSON.
                ready = httpx.get(f"http://{address}/-/ready", timeout=10, trust_env=False).status_code == 200
                return ready and len(prometheus.query("up == 1")) == len(targets)
            return False

        wait_for("all targets scraped", all_up)
        yield prometheus
    finally:
        process.terminate()
        process.wait(30)


def _config(folder: Path, targets: list[Target]) -> dict[str, Any]:
    scrapes = []
    for number, target in enumerate(targets):
        file = folder / f"targets-{number}.json"
        file.write_text(json.dumps([{"targets": [target.address], "labels": dict(target.labels)}]))
        scrapes.append(
            {
                "job_name": target.job,
                "honor_labels": target.honor_labels,
                "file_sd_configs": [{"files": [str(file)]}],
            }
        )
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES_FILE)],
        "scrape_configs": scrapes,
    }
