"""A gateway Deployment with the real admin API as a local process: plain HTTP, TLS, or with encrypted backups.

The pod's address is the loopback address of that process. Config and backups are folders of the test.
"""

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
from tests.operator.support.workloads import GatewayDeployment, Kube, random_loopback_address


@dataclass
class RealGateway:
    """The admin API process, its files, and the Deployment whose pod has its address."""

    process: AdminProcess
    gateway: GatewayDeployment
    config: Path
    backups: Path
    key: str

    def count_users(self) -> int:
        return len(json.loads(self.config.read_text())["users"])

    def write_config(self, users: int) -> None:
        """Write a config with this number of users in place, as the gateway does."""
        self.config.write_text(json.dumps(config_with_users(self.key, users)))

    def backup_files(self) -> list[Path]:
        """The unencrypted backups on the volume, sorted by path."""
        return sorted(self.backups.rglob("*.json.zst"))

    def get_restore(self, request_id: str) -> dict[str, Any]:
        """The admin API's answer about a restore, with `data` or an error `code`."""
        scheme = "https" if self.gateway.ca else "http"
        url = f"{scheme}://{self.process.host}:{self.gateway.port}/api/v1/system/restores/{request_id}"
        with self.process.client(self.key) as client:
            body: dict[str, Any] = client.get(url).json()
        return body


def config_with_users(key: str, users: int) -> dict[str, Any]:
    """A valid config with this number of users."""
    return gateway_config(key, projects=2, users=users)


@contextmanager
def real_gateway(kube: Kube, folder: Path, *, create: bool = True, **settings: Any) -> Iterator[RealGateway]:
    """Start an admin API and, with `create`, create its Deployment.

    Settings that begin with ``admin_`` are settings of the admin API; all others are fields of `GatewayDeployment`.
    """
    given = {name[6:]: settings.pop(name) for name in list(settings) if name.startswith("admin_")}
    key = admin_key()
    config, backups, key_file = folder / "config" / "config.json", folder / "backups", folder / "admin-key"
    config.parent.mkdir()
    backups.mkdir()
    key_file.write_text(key)
    config.write_text(json.dumps(config_with_users(key, 2)))
    host = random_loopback_address()
    settings.setdefault("config_folder", str(config.parent))
    settings.setdefault("backup_folder", str(backups))
    # None switches a setting off, for example the key file.
    admin_settings = {name: value for name, value in {"admin_key_file": key_file, **given}.items() if value is not None}
    with AdminProcess(config, backups, host, 8001, **admin_settings) as process:
        gateway = GatewayDeployment(kube, host, key, **settings)
        if create:
            gateway.create()
        yield RealGateway(process, gateway, config, backups, key)


@contextmanager
def tls_gateway(kube: Kube, folder: Path, *, create: bool = True, **settings: Any) -> Iterator[RealGateway]:
    """`real_gateway` with TLS, and with a certificate and a CA as the chart's hook creates them."""
    bundle = make(settings.get("name", "gw"), kube.namespace, datetime.now(UTC))
    (folder / "tls.crt").write_text(bundle.certificate)
    (folder / "tls.key").write_text(bundle.key)
    with real_gateway(
        kube, folder, create=create, port=8443, port_name="admin-tls", ca=bundle.ca,
        admin_tls_cert=folder / "tls.crt", admin_tls_key=folder / "tls.key", admin_tls_port=8443, **settings,
    ) as running:  # fmt: skip
        yield running


@dataclass(frozen=True)
class AgeKey:
    """A key pair from age-keygen, and its file."""

    file: Path
    recipient: str
    secret: str

    @classmethod
    def generate(cls, file: Path) -> AgeKey:
        """Run age-keygen with this output file."""
        subprocess.run(["age-keygen", "-o", str(file)], check=True, capture_output=True)
        lines = file.read_text().splitlines()
        recipient = next(line.rpartition(" ")[2] for line in lines if line.startswith("# public key:"))
        return cls(file, recipient, next(line for line in lines if line.startswith("AGE-SECRET-KEY-1")))


@contextmanager
def encrypted_gateway(kube: Kube, folder: Path, key: AgeKey, **settings: Any) -> Iterator[RealGateway]:
    """`tls_gateway` that encrypts to the key and requires signatures. The recipients are in the file ``recipients``."""
    recipients = folder / "recipients"
    recipients.write_text(f"{key.recipient}\n")
    settings = {"admin_age_recipients_file": recipients, "admin_signature_policy": "require", **settings}
    with tls_gateway(kube, folder, **settings) as running:
        yield running
