"""Dependencies and helpers that all routes use: the service, the kind of the admin key, and the success envelope."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Depends, Path, Request

from gateway_api.clock import utc_now
from gateway_api.contract import REQUEST_ID_PATTERN, Envelope
from gateway_api.service import Service

T = TypeVar("T")


async def get_service(request: Request) -> Service:
    """The service that `create_app` was called with."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def get_requested_by(request: Request) -> str:
    """The kind of admin key that `AuthMiddleware` accepted, for the audit log and the manifest."""
    return str(getattr(request.state, "requested_by", "unknown"))


async def get_key_sha256(request: Request) -> str:
    """The SHA-256 of the admin key that `AuthMiddleware` accepted."""
    return str(getattr(request.state, "key_sha256", ""))


ServiceDep = Annotated[Service, Depends(get_service)]
RequestedBy = Annotated[str, Depends(get_requested_by)]
KeySha256 = Annotated[str, Depends(get_key_sha256)]
ResourceId = Annotated[str, Path(pattern=REQUEST_ID_PATTERN)]


def envelope(message: str, data: T) -> Envelope[T]:
    """The body of a success. Its timestamp is the current time."""
    return Envelope(message=message, data=data, timestamp=utc_now())
