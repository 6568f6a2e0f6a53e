"""Waiting for an object to be finished: a watch that is taken up again whatever ends it, and an end in any case."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from gateway_operator.adapters.custom_resources import custom_resource_path
from gateway_operator.cli.session import FailedError, NotInTimeError, Session
from gateway_operator.domain.model import conditions
from gateway_operator.domain.model.resources import Json
from gateway_operator.ports import ClusterError, ForbiddenError, MissingError

_WINDOW: Final = 60.0
"""Seconds after which is looked again, should a watch say nothing."""
_PAUSE: Final = 1.0


class Waiting:
    """Follows one object."""

    def __init__(self, session: Session, kind: str, name: str, seconds: float) -> None:
        self._session = session
        self._kind = kind
        self._name = name
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._uid = ""
        self._said = ""

    async def done(self, *, appears: bool = False) -> Json:
        """The object, finished. ``appears``: it may not be there yet.

        Raises NotInTimeError at the end of the time, FailedError if the object is deleted meanwhile.
        """
        while True:
            body = await self._look(appears)
            if body is not None and self._finished(body):
                return body
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise NotInTimeError(
                    f"{self._kind} {self._name} is not finished after {self._seconds:.0f} s "
                    f"({self._said or 'there is no such object'}). It goes on; to wait again: kubectl wait "
                    f"--for=condition=Finished {self._kind.lower()}/{self._name} -n {self._session.namespace}"
                )
            found = await self._watch(body, min(left, _WINDOW)) if body is not None else None
            if found is not None:
                return found
            await asyncio.sleep(min(_PAUSE, max(0.0, left)))

    async def _look(self, appears: bool) -> Json | None:
        try:
            return await self._session.get(self._kind, self._name)
        except MissingError:
            if self._uid or not appears:
                raise FailedError(f"{self._kind} {self._name} was deleted before it was finished") from None
            return None
        except ForbiddenError:
            raise
        except ClusterError as error:  # the API server may come back
            self._tell(f"waiting for the Kubernetes API: {error}")
            return None

    async def _watch(self, body: Json, seconds: float) -> Json | None:
        query = {
            "fieldSelector": f"metadata.name={self._name}",
            "resourceVersion": str(body["metadata"]["resourceVersion"]),
        }
        path = custom_resource_path(self._kind, self._session.namespace)
        try:
            async with asyncio.timeout(seconds):
                async for event in self._session.cluster.watch(path, query, seconds):
                    if event.get("type") == "MODIFIED" and self._finished(event["object"]):
                        return dict(event["object"])
                    if event.get("type") not in ("ADDED", "MODIFIED", "BOOKMARK"):
                        return None  # deleted, or 410 Gone: look again
        except (ClusterError, TimeoutError):  # not permitted, or cut: looking now and then does as well
            return None
        return None

    def _finished(self, body: Json) -> bool:
        uid = str(body["metadata"]["uid"])
        if self._uid and self._uid != uid:
            raise FailedError(f"{self._kind} {self._name} was deleted, and another one has its name")
        self._uid = uid
        status = body.get("status") or {}
        said = ", ".join(str(status[key]) for key in ("phase", "message") if status.get(key))
        self._tell(said or "Pending")
        return bool(conditions.condition_status(status.get("conditions") or (), conditions.FINISHED))

    def _tell(self, said: str) -> None:
        if said != self._said:
            self._session.stderr(f"{self._kind} {self._name}: {said}")
        self._said = said


async def finish(session: Session, kind: str, name: str, seconds: float, *, appears: bool = False) -> Json:
    """Wait, and raise FailedError if it ended badly."""
    body = await Waiting(session, kind, name, seconds).done(appears=appears)
    status = body.get("status") or {}
    if status.get("phase") != "Completed":
        raise FailedError(f"{kind} {name} is {status.get('phase')} ({status.get('reason')}): {status.get('message')}")
    return body
