"""Probes without a key, and the detailed health with one."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from gateway_api import __version__
from gateway_api.contract import (
    HEALTH_PATH,
    METRICS_PATH,
    READY_PATH,
    SYSTEM_HEALTH_PATH,
    Envelope,
    ErrorCode,
    HealthData,
    ReadyData,
    SystemHealthData,
)
from gateway_api.errors import ApiError
from gateway_api.http.openapi import KEY_NEEDED, KEYED, declares, declares_beside_bytes
from gateway_api.http.routes.dependencies import Api, envelope
from gateway_api.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])


@router.get(HEALTH_PATH, responses=declares(), summary="The server answers")
async def health(api: Api) -> Envelope[HealthData]:
    """Needs no key, reads no file, and answers within milliseconds whatever else the server is doing."""
    data = HealthData(version=__version__, config_path=str(api.settings.config_file))
    return envelope("API server is healthy", data)


@router.get(READY_PATH, responses=declares(ErrorCode.NotReady), summary="A backup could be taken now")
async def ready(api: Api) -> Envelope[ReadyData]:
    """Needs no key. The answer is at most five seconds old. 503 gives the reason."""
    why = await api.why_not_ready()
    if why is not None:
        raise ApiError(ErrorCode.NotReady, why)
    return envelope("A backup could be taken now", ReadyData())


@router.get(METRICS_PATH, response_class=PlainTextResponse, responses=declares_beside_bytes(), summary="For a monitor")
async def metrics(api: Api) -> PlainTextResponse:
    """Needs no key and holds none: counts, times and conditions, at most five seconds old, as Prometheus reads them."""
    return PlainTextResponse(await api.metrics_page(), media_type=CONTENT_TYPE)


@router.get(SYSTEM_HEALTH_PATH, responses=declares(*KEYED), dependencies=KEY_NEEDED, summary="Detailed health")
async def system_health(api: Api) -> Envelope[SystemHealthData]:
    """Always 200: the status is inside, also for a config that is missing or broken."""
    return envelope("System health check completed", await api.health())
