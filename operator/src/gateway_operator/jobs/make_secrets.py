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
from typing import Final

from gateway_operator.adapters.cluster import KubernetesCluster
from gateway_operator.adapters.kubernetes_api import MERGE
from gateway_operator.certificates import make
from gateway_operator.domain.names import ADMIN_KEY_FIELD, CA_FIELD
from gateway_operator.domain.objects import Json
from gateway_operator.ports import ConflictError, MissingError
from gateway_operator.signing_keys import BadKeyError, new_private_key, public_half

KEY_BYTES: Final = 48
"""64 characters of URL-safe text; the admin API wants at least 32."""
_TLS_FIELDS: Final = ("tls.crt", "tls.key", CA_FIELD)
SIGNING_FIELD: Final = "signing-key.pem"
PUBLIC_FIELD: Final = "public-key.pem"
KEY_ID_FIELD: Final = "key-id"
_TRIES: Final = 5

log = logging.getLogger("gateway_operator.make_secrets")


async def run(arguments: argparse.Namespace) -> int:
    """The command ``make-secrets``."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    labels = dict(label.split("=", 1) for label in arguments.label)
    cluster = await KubernetesCluster.connect()
    try:
        maker = Maker(cluster, arguments.namespace, labels)
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


class Maker:
    """Makes Secrets in one namespace."""

    def __init__(self, cluster: KubernetesCluster, namespace: str, labels: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._labels = dict(labels)

    async def tls(self, name: str, workload: str) -> str | None:
        """The Secret with the certificate. Gives its CA."""
        bundle = make(workload, self._namespace, datetime.now(UTC))
        new = dict(zip(_TLS_FIELDS, (bundle.certificate, bundle.key, bundle.ca), strict=True))
        for _ in range(_TRIES):
            present = await self._read(name)
            if present is None:
                if await self._create(name, "kubernetes.io/tls", new):
                    return bundle.ca
                continue
            fields = _fields(present)
            if fields.get("tls.key") and fields.get("tls.crt"):
                log.info("Secret %s has a certificate and is left as it is.", name)
                if not fields.get(CA_FIELD):
                    log.warning("Secret %s has no %s: the operator cannot trust this gateway.", name, CA_FIELD)
                return fields.get(CA_FIELD)
            if await self._patch(name, present, new):
                return bundle.ca
        raise ConflictError(f"Secret {name} keeps changing")

    async def admin(self, name: str, ca: str | None) -> None:
        """The Secret with the admin key. The CA in it is a copy, and follows the one it is a copy of."""
        for _ in range(_TRIES):
            present = await self._read(name)
            fields = _fields(present or {})
            new: dict[str, str] = {}
            if not fields.get(ADMIN_KEY_FIELD):
                new[ADMIN_KEY_FIELD] = secrets.token_urlsafe(KEY_BYTES)
            if ca and fields.get(CA_FIELD) != ca:
                new[CA_FIELD] = ca
            if not new:
                log.info("Secret %s has an admin key and is left as it is.", name)
                return
            done = await (self._create(name, "Opaque", new) if present is None else self._patch(name, present, new))
            if done:
                return
        raise ConflictError(f"Secret {name} keeps changing")

    async def signing(self, name: str) -> None:
        """The Secret with the signing key, and a ConfigMap of the same name with its public half."""
        for _ in range(_TRIES):
            present = await self._read(name)
            pem = _fields(present or {}).get(SIGNING_FIELD)
            if pem:
                log.info("Secret %s has a signing key and is left as it is.", name)
                await self._publish(name, pem)
                return
            pem = new_private_key()
            new = {SIGNING_FIELD: pem}
            done = await (self._create(name, "Opaque", new) if present is None else self._patch(name, present, new))
            if done:
                await self._publish(name, pem)
                return
        raise ConflictError(f"Secret {name} keeps changing")

    async def _publish(self, name: str, pem: str) -> None:
        """The public half follows the key: after a crash between the two, and after a key that a person changed."""
        try:
            public, key_id = public_half(pem)
        except BadKeyError as problem:
            log.warning("Secret %s, %s: %s. The admin API will not start with it.", name, SIGNING_FIELD, problem)
            return
        data = {PUBLIC_FIELD: public, KEY_ID_FIELD: key_id}
        for _ in range(_TRIES):
            present = await self._read(name, "configmaps")
            if present is not None and data.items() <= (present.get("data") or {}).items():
                return
            try:
                if present is None:
                    body = {"metadata": {"name": name, "labels": self._labels}, "data": data}
                    await self._cluster.request("POST", self._path("", "configmaps"), body)
                else:
                    version = present["metadata"]["resourceVersion"]
                    body = {"metadata": {"resourceVersion": version}, "data": data}
                    path = self._path(name, "configmaps")
                    await self._cluster.request("PATCH", path, body, content_type=MERGE)
            except ConflictError:
                continue
            log.info("ConfigMap %s has the public key %s.", name, key_id)
            return
        raise ConflictError(f"ConfigMap {name} keeps changing")

    def _path(self, name: str = "", resource: str = "secrets") -> str:
        return f"/api/v1/namespaces/{self._namespace}/{resource}{f'/{name}' if name else ''}"

    async def _read(self, name: str, resource: str = "secrets") -> Json | None:
        try:
            return await self._cluster.request("GET", self._path(name, resource))
        except MissingError:
            return None

    async def _create(self, name: str, kind: str, fields: Mapping[str, str]) -> bool:
        body = {"metadata": {"name": name, "labels": self._labels}, "type": kind, "stringData": dict(fields)}
        try:
            await self._cluster.request("POST", self._path(), body)
        except ConflictError:
            return False  # somebody was faster: look at what they made
        log.info("Secret %s is made, with %s.", name, ", ".join(fields))
        return True

    async def _patch(self, name: str, present: Json, fields: Mapping[str, str]) -> bool:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in fields.items()}
        version = present["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "data": data}
        try:
            await self._cluster.request("PATCH", self._path(name), body, content_type=MERGE)
        except ConflictError:
            return False
        log.info("Secret %s is given %s.", name, ", ".join(fields))
        return True


def _fields(body: Json) -> dict[str, str]:
    return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in (body.get("data") or {}).items()}
