"""A gateway with the real admin API: a config, a backup directory and a process that stands in for the pod."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway_operator.jobs.certificates import make
from tests.api.support.admin_process import AdminProcess, admin_key, gateway_config
from tests.operator.support.workloads import Gateway, Kube, loopback


@dataclass
class RealGateway:
    """The process, its files, and the Deployment that leads to it."""

    process: AdminProcess
    gateway: Gateway
    config: Path
    backups: Path
    key: str

    def users(self) -> int:
        """How many users the live config has."""
        return len(json.loads(self.config.read_text())["users"])

    def write(self, users: int) -> None:
        """Another config, as the gateway writes it: in place."""
        self.config.write_text(json.dumps(config_with(self.key, users)))

    def files(self) -> list[Path]:
        """The backups on the volume."""
        return sorted(self.backups.rglob("*.json.zst"))

    def journal(self, request_id: str) -> dict[str, Any]:
        """What the admin API says of a restore."""
        scheme = "https" if self.gateway.ca else "http"
        url = f"{scheme}://{self.process.host}:{self.gateway.port}/api/v1/system/restores/{request_id}"
        with self.process.client(self.key) as client:
            body: dict[str, Any] = client.get(url).json()
        return body


def config_with(key: str, users: int) -> dict[str, Any]:
    """A whole config with so many users."""
    return gateway_config(key, projects=2, users=users)


@contextmanager
def real_gateway(kube: Kube, folder: Path, *, create: bool = True, **settings: Any) -> Iterator[RealGateway]:
    """All of it. ``settings`` go to the Deployment's side; those that begin with ``admin_`` to the process."""
    for_process = {name[6:]: settings.pop(name) for name in list(settings) if name.startswith("admin_")}
    key = admin_key()
    config, backups, key_file = folder / "config" / "config.json", folder / "backups", folder / "admin-key"
    config.parent.mkdir()
    backups.mkdir()
    key_file.write_text(key)
    config.write_text(json.dumps(config_with(key, 2)))
    host = loopback()
    settings.setdefault("config_folder", str(config.parent))
    with AdminProcess(config, backups, host, 8001, admin_key_file=key_file, **for_process) as process:
        gateway = Gateway(kube, host, key, **settings)
        if create:
            gateway.create()
        yield RealGateway(process, gateway, config, backups, key)


@contextmanager
def tls_gateway(kube: Kube, folder: Path, *, create: bool = True, **settings: Any) -> Iterator[RealGateway]:
    """The same, with the admin API behind TLS and the Secrets that the chart's hook makes."""
    bundle = make(settings.get("name", "gw"), kube.namespace, datetime.now(UTC))
    (folder / "tls.crt").write_text(bundle.certificate)
    (folder / "tls.key").write_text(bundle.key)
    with real_gateway(
        kube, folder, create=create, port=8443, port_name="admin-tls", ca=bundle.ca,
        admin_tls_cert=folder / "tls.crt", admin_tls_key=folder / "tls.key", admin_tls_port=8443, **settings,
    ) as found:  # fmt: skip
        yield found


@dataclass(frozen=True)
class AgeKey:
    """A pair that age-keygen made, and its file."""

    file: Path
    recipient: str
    secret: str

    @classmethod
    def make(cls, file: Path) -> AgeKey:
        """A new pair in a new file."""
        subprocess.run(["age-keygen", "-o", str(file)], check=True, capture_output=True)
        lines = file.read_text().splitlines()
        recipient = next(line.rpartition(" ")[2] for line in lines if line.startswith("# public key:"))
        return cls(file, recipient, next(line for line in lines if line.startswith("AGE-SECRET-KEY-1")))


@contextmanager
def encrypted_gateway(kube: Kube, folder: Path, key: AgeKey, **settings: Any) -> Iterator[RealGateway]:
    """With TLS, and as the chart's `encryption.recipients` makes it; they are in the file ``recipients``."""
    recipients = folder / "recipients"
    recipients.write_text(f"{key.recipient}\n")
    settings = {"admin_age_recipients_file": recipients, "admin_signature_policy": "require", **settings}
    with tls_gateway(kube, folder, **settings) as found:
        yield found
