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
from gateway_operator.certificates import make
from gateway_operator.domain.names import ADMIN_KEY_FIELD, CA_FIELD
from gateway_operator.domain.objects import Json
from gateway_operator.ports import ConflictError, MissingError

KEY_BYTES: Final = 48
"""64 characters of URL-safe text; the admin API wants at least 32."""
_TLS_FIELDS: Final = ("tls.crt", "tls.key", CA_FIELD)
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

    def _path(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{self._namespace}/secrets{f'/{name}' if name else ''}"

    async def _read(self, name: str) -> Json | None:
        try:
            return await self._cluster.request("GET", self._path(name))
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
            await self._cluster.request("PATCH", self._path(name), body, content_type="application/merge-patch+json")
        except ConflictError:
            return False
        log.info("Secret %s is given %s.", name, ", ".join(fields))
        return True


def _fields(body: Json) -> dict[str, str]:
    return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in (body.get("data") or {}).items()}
