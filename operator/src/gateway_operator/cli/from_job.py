"""Creates the object of a Job: once, also when its pods crash, are retried or run at the same time.

The name follows from the Job's name and uid, and ``spec.job`` records both. A later pod of the Job finds the object.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from gateway_operator.adapters.conflicts import retry_on_conflict
from gateway_operator.cli.session import FailedError, Session, UsageError
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import JOB_KIND, job_backup_name
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import ClusterError, ConflictError, ForbiddenError, InvalidError, MissingError

_CREATE_ATTEMPTS: Final = 8


def named_job(environment: Mapping[str, str]) -> Ref:
    """The Job of the pod, from the downward API. UsageError outside the pod of a Job."""
    name, uid = environment.get("JOB_NAME", ""), environment.get("JOB_UID", "")
    if not name or not uid:
        raise UsageError("--from-job requires the environment variables JOB_NAME and JOB_UID, from the pod's labels")
    return Ref(JOB_KIND, "", name, uid)


def parse_template(variable: str, template: str) -> dict[str, Any]:
    """The object in an environment variable, as ``metadata`` and ``spec``. UsageError if it is none."""
    try:
        body = json.loads(template)
        return {"metadata": dict(body["metadata"]), "spec": dict(body["spec"])}
    except (ValueError, TypeError, KeyError):
        raise UsageError(f"{variable} is not the JSON of an object") from None


def of_job(body: Mapping[str, Any], job: Ref) -> dict[str, Any]:
    """The object with the name and the record of its Job."""
    metadata = {**body["metadata"], "name": job_backup_name(job.name, job.uid)}
    return {"metadata": metadata, "spec": {**body["spec"], "job": {"name": job.name, "uid": job.uid}}}


async def create_once(session: Session, kind: str, body: dict[str, Any]) -> Json:
    """Create the object of a Job, or return the one that an earlier pod of the same Job has created."""
    name, job_uid = str(body["metadata"]["name"]), str(body["spec"]["job"]["uid"])

    async def create_or_check(existing: Json | None) -> Json:
        return await session.create(kind, body) if existing is None else _owned_by_job(kind, existing, job_uid)

    for attempt in range(1, _CREATE_ATTEMPTS + 1):
        try:
            # Read before create: if the answer to a create was lost, the next attempt finds the object. The Job must
            # never make a second one.
            return await retry_on_conflict(partial(_find, session, kind, name), create_or_check)
        except (ConflictError, ForbiddenError, InvalidError, MissingError):
            raise
        except ClusterError as error:
            if attempt == _CREATE_ATTEMPTS:
                raise
            session.stderr(f"{kind} {name} could not be created and is tried again: {error}")
            await asyncio.sleep(min(15, 2**attempt / 2))
    raise AssertionError("The last attempt returns or raises.")


async def _find(session: Session, kind: str, name: str) -> Json | None:
    try:
        return await session.get(kind, name)
    except MissingError:
        return None


def _owned_by_job(kind: str, existing: Json, job_uid: str) -> Json:
    """Return the object if this Job created it; raise FailedError otherwise."""
    owner = (existing["spec"].get("job") or {}).get("uid")
    if owner != job_uid:
        creator = f"another Job of this name (uid {owner})" if owner else "another user or controller"
        name = existing["metadata"]["name"]
        raise FailedError(f"{kind} {name} already exists. It was created by {creator}, not by this Job.")
    return existing
