"""The calls of a drill: objects of the cluster, and requests to the admin API in the drill's pod.

Each returns the failure, or None. All may be repeated after a crash.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from gateway_api.contract import BackupRecord
from gateway_operator.domain.drill import decide as decisions
from gateway_operator.domain.drill.actions import (
    CommitInPod,
    CreatePod,
    CreatePolicy,
    DeleteObjects,
    DrillAction,
    MarkBackup,
    RestoreInPod,
)
from gateway_operator.domain.drill.pod import DrillPlan, build_pod, build_policy, live_targets
from gateway_operator.domain.drill.pod_state import belongs_to
from gateway_operator.domain.drill.status import request_id_of
from gateway_operator.domain.gateway.grants import drills_grant_line
from gateway_operator.domain.model.actions import CallRestore
from gateway_operator.domain.model.admin_api import Failure, NotFound
from gateway_operator.domain.model.problem import unexpected_failure
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Backup
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.ports import (
    AdminTarget,
    ClusterError,
    ConflictError,
    ForbiddenError,
    Identity,
    InvalidError,
)
from gateway_operator.reconcile.drill.context import DrillContext
from gateway_operator.reconcile.gateway_lookup import call_or_failure
from gateway_operator.reconcile.restore.age_identity import as_failure, read_identity
from gateway_operator.reconcile.status_writer import update_status

_MISSING_PERMISSION: Final = " cannot "
"""In the text of a 403 from RBAC. A quota or pod security also answers 403, and then no permission is missing."""


async def act(run: DrillContext, restore: Restore, action: DrillAction) -> Failure | None:
    """Make the call that the decision requests."""
    match action:
        case CreatePolicy():
            policy = build_policy(_plan(run, restore))
            return await _create(run, restore, run.objects.create_policy(run.ref.namespace, policy), _policy_conflict)
        case CreatePod():
            pod = build_pod(_plan(run, restore))
            return await _create(run, restore, run.objects.create_pod(run.ref.namespace, pod), _pod_conflict)
        case RestoreInPod():
            return await _restore(run, restore, run.drill_target, action.timeout)
        case CommitInPod():
            call = run.ports.admin_api.commit(run.drill_target, request_id_of(restore))
            return _failure(await call_or_failure(call))
        case MarkBackup():
            status = {"verification": action.verification}
            # Before the pod is deleted. After a crash in between, the outcome in the drill's status repeats this write.
            await update_status(run.ports, Backup.parse, action.backup, status, None, run.log)
            return None
        case DeleteObjects():
            return await delete_objects(run)
        case _:
            raise AssertionError(f"The action {action} is not a call.")


def _plan(run: DrillContext, restore: Restore) -> DrillPlan:
    if run.resolved is None or run.resolved.workload is None:
        raise AssertionError("The decision creates an object, but no workload was resolved.")
    return DrillPlan(
        restore=restore.meta.ref,
        workload=run.resolved.workload,
        config_path=run.config_path,
        request_id=request_id_of(restore),
        targets=live_targets(run.resolved.pod or {}),
        seconds=decisions.plan_seconds(restore),
        operator=run.ports.operator,
    )


async def _pod_conflict(run: DrillContext) -> None:
    """An earlier run created the pod and crashed, or the name is taken: the next observation tells which."""


async def _policy_conflict(run: DrillContext) -> Failure | None:
    policy = await run.objects.policy(run.ref.namespace, run.name)
    if policy is None or belongs_to(policy, run.ref.uid):
        return None
    message = (
        f"A NetworkPolicy {run.name} exists that this drill did not create: delete it, and create the drill again."
    )
    return Failure(Reason.DrillPodRejected, message, retryable=False)


async def _create(
    run: DrillContext,
    restore: Restore,
    request: Awaitable[None],
    on_conflict: Callable[[DrillContext], Awaitable[Failure | None]],
) -> Failure | None:
    try:
        try:
            await request
        except ConflictError:
            return await on_conflict(run)
    except ForbiddenError as error:
        if _MISSING_PERMISSION not in str(error):
            return Failure(Reason.DrillPodRejected, str(error), retryable=True)
        line = drills_grant_line(run.ref.namespace, restore.gateway.name, run.ports.operator)
        message = f"{error}. The gateway's chart grants it with restore.drills: true; by hand: {line}"
        return Failure(Reason.NotAuthorized, message, retryable=True)
    except InvalidError as error:
        return Failure(Reason.DrillPodRejected, str(error), retryable=False)
    except ClusterError as error:
        return Failure(Reason.KubernetesError, str(error), retryable=True)
    return None


async def _restore(run: DrillContext, restore: Restore, target: AdminTarget, seconds: float) -> Failure | None:
    """Upload the backup and restore it. A repeated upload and a repeated request id change nothing."""
    admin_api, live = run.ports.admin_api, run.resolved.target if run.resolved is not None else None
    if live is None:
        return Failure(Reason.NoReadyPod, "The gateway that has the backup cannot be called now.", retryable=True)
    backup_id = await _backup_id(run, restore, live)
    if isinstance(backup_id, Failure):
        return backup_id
    copied = await call_or_failure(admin_api.copy_backup(live, target, backup_id, seconds))
    if isinstance(copied, Failure):
        return copied
    identity = None
    if restore.needed_identity is not None:
        read = await read_identity(run.ports, run.ref.namespace, restore.gateway, restore.needed_identity, target)
        if not isinstance(read, Identity):
            return as_failure(read)
        identity = read
    call = CallRestore(
        request_id=request_id_of(restore),
        backup_id=backup_id,
        path=None,
        expected_sha256=restore.source.get("sha256"),
        safety_backup=False,
        timeout=seconds,
        accept_unsigned=restore.accept_unsigned,
    )
    return _failure(await call_or_failure(admin_api.restore(target, call, identity)))


async def _backup_id(run: DrillContext, restore: Restore, live: AdminTarget) -> str | Failure:
    recorded, path = restore.source.get("backupID"), str(restore.source.get("path") or "")
    if recorded:
        return str(recorded)
    file = await call_or_failure(run.ports.admin_api.find_file(live, path))
    if isinstance(file, Failure):
        return file
    if isinstance(file, BackupRecord):
        return file.backup_id
    if isinstance(file, NotFound):
        return Failure(Reason.FileNotFound, f"There is no file {path} on the gateway's volume.", retryable=False)
    message = f"{path} has no manifest, and only a file with its manifest can be brought into a drill pod."
    return Failure(Reason.DrillNotPossible, message, retryable=False)


async def delete_objects(run: DrillContext) -> Failure | None:
    """Delete the pod and the NetworkPolicy, if this restore created them."""
    namespace, name = run.ref.namespace, run.name
    try:
        pod = await run.ports.cluster.pod(namespace, name)
        if pod is not None and belongs_to(pod, run.ref.uid):
            await run.objects.delete_pod(namespace, name, str(pod["metadata"]["uid"]))
        policy = await run.objects.policy(namespace, name)
        if policy is not None and belongs_to(policy, run.ref.uid):
            await run.objects.delete_policy(namespace, name, str(policy["metadata"]["uid"]))
    except ClusterError as error:
        return Failure(Reason.KubernetesError, str(error), retryable=True)
    except Exception as error:
        run.log.exception("The objects of the drill could not be deleted.")
        return unexpected_failure(error)
    return None


def _failure(answer: object) -> Failure | None:
    return answer if isinstance(answer, Failure) else None
