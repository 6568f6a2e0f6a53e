"""Making the Secrets of a gateway that are missing. A key that exists is never replaced.

The Secret with the certificate comes first and carries the CA as well: after a crash between the two, the second one
is made from the first, and both agree.
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
from gateway_operator.jobs.signing_keys import BadKeyError, new_private_key, public_half
from gateway_operator.ports import MissingError

KEY_BYTES: Final = 48
"""64 characters of URL-safe text; the admin API wants at least 32."""
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
        maker = SecretProvisioner(cluster, arguments.namespace, labels)
        ca = None
        if arguments.tls_secret:
            ca = await maker.tls(arguments.tls_secret, arguments.workload)
        if arguments.admin_secret:
            await maker.admin(arguments.admin_secret, ca)
        if arguments.signing_secret:
            await maker.signing(arguments.signing_secret)
    finally:
        await cluster.close()
    return 0


class SecretProvisioner:
    """Makes Secrets in one namespace."""

    def __init__(self, cluster: KubernetesCluster, namespace: str, labels: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._labels = dict(labels)

    async def tls(self, name: str, workload: str) -> str | None:
        """Make the Secret with the certificate if it is missing. Returns the CA in it."""
        bundle = make(workload, self._namespace, datetime.now(UTC))
        new = dict(zip(_TLS_FIELDS, (bundle.certificate, bundle.key, bundle.ca), strict=True))

        async def complete(existing: Json | None) -> str | None:
            fields = _fields(existing or {})
            if not fields.get("tls.key") or not fields.get("tls.crt"):
                await self._write(name, existing, new, "kubernetes.io/tls")
                return bundle.ca
            log.info("Secret %s has a certificate and is left as it is.", name)
            if not fields.get(CA_FIELD):
                log.warning("Secret %s has no %s: the operator cannot trust this gateway.", name, CA_FIELD)
            return fields.get(CA_FIELD)

        return await retry_on_conflict(partial(self._read, name), complete)

    async def admin(self, name: str, ca: str | None) -> None:
        """Make the Secret with the admin key if it is missing. The CA in it is a copy, and follows the original."""

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
                log.info("Secret %s has an admin key and is left as it is.", name)

        await retry_on_conflict(partial(self._read, name), complete)

    async def signing(self, name: str) -> None:
        """Make the Secret with the signing key if it is missing, and a ConfigMap of that name with its public key."""

        async def complete(existing: Json | None) -> str:
            pem = _fields(existing or {}).get(SIGNING_FIELD)
            if pem:
                log.info("Secret %s has a signing key and is left as it is.", name)
                return pem
            pem = new_private_key()
            await self._write(name, existing, {SIGNING_FIELD: pem})
            return pem

        await self._publish(name, await retry_on_conflict(partial(self._read, name), complete))

    async def _publish(self, name: str, pem: str) -> None:
        """The public key follows the private one: after a crash between the two, and after a person changed it."""
        try:
            public, key_id = public_half(pem)
        except BadKeyError as problem:
            log.warning("Secret %s, %s: %s. The admin API will not start with it.", name, SIGNING_FIELD, problem)
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
            log.info("ConfigMap %s has the public key %s.", name, key_id)

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
            log.info("Secret %s is made, with %s.", name, ", ".join(fields))
            return
        data = {key: base64.b64encode(value.encode()).decode() for key, value in fields.items()}
        version = existing["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "data": data}
        await self._cluster.request("PATCH", self._path(name), body, content_type=MERGE)
        log.info("Secret %s is given %s.", name, ", ".join(fields))


def _fields(body: Json) -> dict[str, str]:
    return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in (body.get("data") or {}).items()}
