"""Creates the missing Secrets of a gateway. An existing key is never replaced.

The Secret with the certificate is written first and contains the CA as well. The CA in the Secret with the admin key
is a copy of it. After a crash between the two writes, the next run copies it from the first Secret.
"""

from __future__ import annotations

import argparse
import base64
import logging
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final

from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.conflicts import retry_on_conflict
from gateway_operator.adapters.kubernetes_api import MERGE
from gateway_operator.domain.model.names import ADMIN_KEY_FIELD, CA_FIELD
from gateway_operator.domain.model.resources import Json
from gateway_operator.jobs.certificates import make
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
    cluster = await KubernetesCluster.connect()
    try:
        provisioner = SecretProvisioner(cluster, arguments.namespace, labels)
        ca = None
        # The certificate before the admin key: the second Secret gets a copy of the CA in the first one.
        if arguments.tls_secret:
            ca = await provisioner.tls(arguments.tls_secret, arguments.workload)
        if arguments.admin_secret:
            await provisioner.admin(arguments.admin_secret, ca)
        if arguments.signing_secret:
            await provisioner.signing(arguments.signing_secret)
    finally:
        await cluster.close()
    return 0


class SecretProvisioner:
    """Creates and completes Secrets in one namespace. ``labels`` are set on created objects."""

    def __init__(self, cluster: KubernetesCluster, namespace: str, labels: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._labels = dict(labels)

    async def tls(self, name: str, workload: str) -> str | None:
        """Create the Secret with the certificate if it is missing. Returns the CA in it; None if it has no CA."""
        bundle = make(workload, self._namespace, datetime.now(UTC))
        new = dict(zip(_TLS_FIELDS, (bundle.certificate, bundle.key, bundle.ca), strict=True))

        async def complete(existing: Json | None) -> str | None:
            fields = _fields(existing or {})
            if not fields.get("tls.key") or not fields.get("tls.crt"):
                await self._write(name, existing, new, "kubernetes.io/tls")
                return bundle.ca
            log.info("Secret %s already has a certificate and is not changed.", name)
            if not fields.get(CA_FIELD):
                log.warning("Secret %s has no %s, so the operator cannot verify this gateway.", name, CA_FIELD)
            return fields.get(CA_FIELD)

        return await retry_on_conflict(partial(self._read, name), complete)

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
