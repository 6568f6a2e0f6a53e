"""kopf stores no data and no finalizer on our objects."""

from __future__ import annotations

import kopf

from gateway_operator.handlers.kopf_settings import configure
from gateway_operator.handlers.kopf_storage import NoDiffBase


def test_nothing_is_compared_and_nothing_is_stored() -> None:
    storage, patch = NoDiffBase(), kopf.Patch()
    body = kopf.Body({"kind": "GatewayBackup", "metadata": {"name": "b"}, "spec": {"a": 1}})
    storage.store(body=body, patch=patch, essence=storage.build(body=body))
    assert storage.fetch(body=body) is None
    assert storage.build(body=body) == {}
    assert not patch


def test_kopf_does_not_own_our_finalizer() -> None:
    """kopf would remove it, because none of kopf's own handlers needs a finalizer."""
    settings = kopf.OperatorSettings()
    configure(settings)
    assert not settings.persistence.finalizer.startswith("mcpgateway.dev/")
