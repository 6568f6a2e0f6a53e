"""Creates the missing Secrets of a gateway and renews its certificate. No other existing key is ever replaced.

The Secret with the certificate is written first and contains the CA as well. The CA in the Secret with the admin key
is a copy of it. After a crash between the two writes, the next run copies it from the first Secret.

A renewal has two steps, so that no call fails. First both Secrets get a second CA. Only after a pause, when every
client trusts both, the certificate is replaced. After a crash in between, the next run begins again.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.conflicts import retry_on_conflict
from gateway_operator.adapters.kubernetes_api import MERGE, OPERATOR_AGENT
from gateway_operator.domain.model.names import ADMIN_KEY_FIELD, CA_FIELD
from gateway_operator.domain.model.resources import Json
from gateway_operator.jobs.certificates import CertificateBundle, is_renewal_due, make, trust_during_renewal
from gateway_operator.jobs.signing_keys import BadKeyError, new_private_key, public_key
from gateway_operator.ports import MissingError

KEY_BYTES: Final = 48
"""Random bytes of an admin key: 64 characters of URL-safe text. The admin API requires at least 32 characters."""
_TLS_FIELDS: Final = ("tls.crt", "tls.key", CA_FIELD)
SIGNING_FIELD: Final = "signing-key.pem"
PUBLIC_FIELD: Final = "public-key.pem"
KEY_ID_FIELD: Final = "key-id"

log = logging.getLogger("gateway_operator.make_secrets")


async def run(arguments: argparse.Namespace) -> int:
    """The command ``make-secrets``."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    labels = dict(label.split("=", 1) for label in arguments.label)
    cluster = await KubernetesCluster.connect(f"{OPERATOR_AGENT}/make-secrets")
    try:
        provisioner = SecretProvisioner(cluster, arguments.namespace, labels)
        tls = TlsState()
        # The certificate before the admin key: the second Secret gets a copy of the CA in the first one.
        if arguments.tls_secret:
            tls = await provisioner.tls(arguments.tls_secret, arguments.workload, datetime.now(UTC))
        if arguments.admin_secret:
            await provisioner.admin(arguments.admin_secret, tls.trusted)
        if arguments.signing_secret:
            await provisioner.signing(arguments.signing_secret)
        if tls.renewal is not None:
            # Every client must have read the new CA before a server presents a certificate of it.
            await asyncio.sleep(arguments.renewal_pause_seconds)
            await provisioner.replace_certificate(arguments.tls_secret, tls.renewal, tls.certificate)
    finally:
        await cluster.close()
    return 0


@dataclass(frozen=True, slots=True)
class TlsState:
    """The CAs that clients must trust, and the certificate to replace if a renewal is due."""

    trusted: str | None = None
    certificate: str = ""
    renewal: CertificateBundle | None = None


class SecretProvisioner:
    """Creates and completes Secrets in one namespace. ``labels`` are set on created objects."""

    def __init__(self, cluster: KubernetesCluster, namespace: str, labels: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._labels = dict(labels)

    async def tls(self, name: str, workload: str, now: datetime) -> TlsState:
        """Create the Secret with the certificate if it is missing. If a renewal is due, add the next CA to it."""
        bundle = make(workload, self._namespace, now)
        new = dict(zip(_TLS_FIELDS, (bundle.certificate, bundle.key, bundle.ca), strict=True))

        async def complete(existing: Json | None) -> TlsState:
            fields = _fields(existing or {})
            certificate, trusted = fields.get("tls.crt"), fields.get(CA_FIELD)
            if not fields.get("tls.key") or not certificate:
                await self._write(name, existing, new, "kubernetes.io/tls")
                return TlsState(bundle.ca)
            if is_renewal_due(certificate, workload, now):
                trusted = trust_during_renewal(bundle, certificate, trusted or "")
                await self._write(name, existing, {CA_FIELD: trusted})
                return TlsState(trusted, certificate, bundle)
            log.info("Secret %s already has a certificate and is not changed.", name)
            if not trusted:
                log.warning("Secret %s has no %s, so the operator cannot verify this gateway.", name, CA_FIELD)
            return TlsState(trusted)

        return await retry_on_conflict(partial(self._read, name), complete)

    async def replace_certificate(self, name: str, new: CertificateBundle, current: str) -> None:
        """Replace certificate and key in one write, unless the certificate is no longer ``current``."""

        async def replace(existing: Json | None) -> None:
            fields = _fields(existing or {})
            # Another run may have renewed it meanwhile, with a CA that is not ours.
            if fields.get("tls.crt") == current and new.ca in (fields.get(CA_FIELD) or ""):
                await self._write(name, existing, {"tls.crt": new.certificate, "tls.key": new.key})

        await retry_on_conflict(partial(self._read, name), replace)

    async def admin(self, name: str, ca: str | None) -> None:
        """Create the Secret with the admin key if it is missing. If its CA differs from ``ca``, it is replaced."""

        async def complete(existing: Json | None) -> None:
            fields = _fields(existing or {})
            new: dict[str, str] = {}
            if not fields.get(ADMIN_KEY_FIELD):
                new[ADMIN_KEY_FIELD] = secrets.token_urlsafe(KEY_BYTES)
            if ca and fields.get(CA_FIELD) != ca:
                new[CA_FIELD] = ca
            if new:
                await self._write(name, existing, new)
            else:
                log.info("Secret %s already has an admin key and is not changed.", name)

        await retry_on_conflict(partial(self._read, name), complete)

    async def signing(self, name: str) -> None:
        """Create the Secret with the signing key if it is missing, and a ConfigMap of this name with its public key."""

        async def complete(existing: Json | None) -> str:
            pem = _fields(existing or {}).get(SIGNING_FIELD)
            if pem:
                log.info("Secret %s already has a signing key and is not changed.", name)
                return pem
            pem = new_private_key()
            await self._write(name, existing, {SIGNING_FIELD: pem})
            return pem

        # The private key before the public key: the ConfigMap must never name a key that does not exist.
        await self._publish(name, await retry_on_conflict(partial(self._read, name), complete))

    async def _publish(self, name: str, pem: str) -> None:
        """Write the public key to the ConfigMap if it differs, also after a crash or a change of the private key."""
        try:
            public, key_id = public_key(pem)
        except BadKeyError as error:
            log.warning(
                "Secret %s has an invalid key %s: %s. The admin API cannot start with it.", name, SIGNING_FIELD, error
            )
            return
        data = {PUBLIC_FIELD: public, KEY_ID_FIELD: key_id}

        async def complete(existing: Json | None) -> None:
            if existing is None:
                body = {"metadata": {"name": name, "labels": self._labels}, "data": data}
                await self._cluster.request("POST", self._path("", "configmaps"), body)
            elif data.items() <= (existing.get("data") or {}).items():
                return
            else:
                version = existing["metadata"]["resourceVersion"]
                body = {"metadata": {"resourceVersion": version}, "data": data}
                await self._cluster.request("PATCH", self._path(name, "configmaps"), body, content_type=MERGE)
            log.info("Wrote the public key %s to ConfigMap %s.", key_id, name)

        await retry_on_conflict(partial(self._read, name, "configmaps"), complete)

    def _path(self, name: str = "", resource: str = "secrets") -> str:
        return f"/api/v1/namespaces/{self._namespace}/{resource}{f'/{name}' if name else ''}"

    async def _read(self, name: str, resource: str = "secrets") -> Json | None:
        try:
            return await self._cluster.request("GET", self._path(name, resource))
        except MissingError:
            return None

    async def _write(self, name: str, existing: Json | None, fields: Mapping[str, str], kind: str = "Opaque") -> None:
        if existing is None:
            body = {"metadata": {"name": name, "labels": self._labels}, "type": kind, "stringData": dict(fields)}
            await self._cluster.request("POST", self._path(), body)
            log.info("Created Secret %s with %s.", name, ", ".join(fields))
            return
        # The patch names the version that was read: a key that another run wrote in between is not replaced.
        data = {key: base64.b64encode(value.encode()).decode() for key, value in fields.items()}
        version = existing["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "data": data}
        await self._cluster.request("PATCH", self._path(name), body, content_type=MERGE)
        log.info("Added %s to Secret %s.", ", ".join(fields), name)


def _fields(body: Json) -> dict[str, str]:
    return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in (body.get("data") or {}).items()}
