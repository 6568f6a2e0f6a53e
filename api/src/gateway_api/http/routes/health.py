"""Routes for probes and monitoring, which need no admin key, and the detailed health, which needs one."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from gateway_api import __version__
from gateway_api.auth import KIND_BEFORE_RESTORE
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
from gateway_api.http.routes.dependencies import RequestedBy, ServiceDep, envelope
from gateway_api.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])


@router.get(HEALTH_PATH, responses=declares(), summary="Liveness")
async def health(service: ServiceDep) -> Envelope[HealthData]:
    """Returns 200 while the server runs. Needs no admin key and reads no file, so it is fast during backups too."""
    data = HealthData(version=__version__, config_path=str(service.settings.config_file))
    return envelope("API server is healthy", data)


@router.get(READY_PATH, responses=declares(ErrorCode.NotReady), summary="Readiness for a backup")
async def ready(service: ServiceDep) -> Envelope[ReadyData]:
    """Returns 200 if a backup is possible now, else 503 with the reason. Needs no admin key.

    The result is cached for at most five seconds.
    """
    problem = await service.readiness_problem()
    if problem is not None:
        raise ApiError(ErrorCode.NotReady, problem)
    return envelope("A backup is possible now", ReadyData())


@router.get(
    METRICS_PATH, response_class=PlainTextResponse, responses=declares_beside_bytes(), summary="Prometheus metrics"
)
async def metrics(service: ServiceDep) -> PlainTextResponse:
    """Returns the metrics in the Prometheus text format. Needs no admin key and contains no secret.

    The values are cached for at most five seconds.
    """
    return PlainTextResponse(await service.render_metrics(), media_type=CONTENT_TYPE)


@router.get(SYSTEM_HEALTH_PATH, responses=declares(*KEYED), dependencies=KEY_NEEDED, summary="Detailed health")
async def system_health(service: ServiceDep, requested_by: RequestedBy) -> Envelope[SystemHealthData]:
    """Returns the state of the config and the volume. The status is 200 even if the config is missing or invalid."""
    data = await service.health()
    if data.pending_restore is not None:
        ends = requested_by == KIND_BEFORE_RESTORE
        pending = data.pending_restore.model_copy(update={"key_ends_with_commit": ends})
        data = data.model_copy(update={"pending_restore": pending})
    return envelope("System health check completed", data)
