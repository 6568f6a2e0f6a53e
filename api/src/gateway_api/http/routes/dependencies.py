"""What the routes share: the service, who asked, and the envelope of a success."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Depends, Path, Request

from gateway_api.clock import utc_now
from gateway_api.contract import REQUEST_ID_PATTERN, Envelope
from gateway_api.service import Service

T = TypeVar("T")


async def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def _requested_by(request: Request) -> str:
    return str(getattr(request.state, "requested_by", "unknown"))


Api = Annotated[Service, Depends(_service)]
RequestedBy = Annotated[str, Depends(_requested_by)]
Id = Annotated[str, Path(pattern=REQUEST_ID_PATTERN)]


def envelope(message: str, data: T) -> Envelope[T]:
    """The body of a success, stamped now."""
    return Envelope(message=message, data=data, timestamp=utc_now())
