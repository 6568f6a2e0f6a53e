"""The calls of a restore: to the admin API under the gateway's lock, and to the Kubernetes API.

Each error becomes a ``Failure`` value, because the decision judges it.
"""

from __future__ import annotations

from gateway_api.contract import RestorePlan, RestoreResult
from gateway_operator.domain.gateway.grants import restart_grant_line
from gateway_operator.domain.model.actions import (
    CallCommit,
    CallPlan,
    CallReset,
    CallRestore,
    CallRollback,
    CreateSafetyBackup,
    Restart,
    RestoreAction,
)
from gateway_operator.domain.model.admin_api import Failure, RestartRequested
from gateway_operator.domain.model.identifiers import Ref
from gateway_operator.domain.model.names import BACKUP_KIND
from gateway_operator.domain.model.problem import unexpected_failure
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import Json
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.domain.restore.safety import is_usable_safety_backup, safety_backup_body
from gateway_operator.ports import ConflictError, ForbiddenError, Identity, MissingError
from gateway_operator.reconcile.gateway_lock import Priority
from gateway_operator.reconcile.gateway_lookup import call_or_failure
from gateway_operator.reconcile.restore.age_identity import as_failure, read_identity
from gateway_operator.reconcile.restore.context import RestoreContext
from gateway_operator.reconcile.status_writer import update_status


async def act(
    run: RestoreContext, restore: Restore, action: RestoreAction
) -> RestoreResult | RestorePlan | RestartRequested | Failure | None:
    """Make the call of an action. Returns its answer; None if the next observation shows the result."""
    api = run.ports.admin_api
    if isinstance(action, CallPlan):
        # Without the lock: a dry run changes nothing, and backups go on beside it.
        return await _plan(run, restore, action)
    async with run.lock_of(restore).hold(Priority.RESTORE):
        match action:
            case CreateSafetyBackup():
                return await _create_safety(run, restore, action.name)
            case CallRestore():
                return await _restore(run, restore, action)
            case CallReset():
                return await call_or_failure(api.reset(run.target, action))
            case CallCommit():
                return await call_or_failure(api.commit(run.target, action.request_id))
            case CallRollback():
                return await call_or_failure(api.rollback(run.target, action.request_id, force=action.force))
            case Restart():
                return await _restart(run, restore, action.marker)
            case _:
                raise AssertionError(f"The action {action} is not a call.")


async def _plan(run: RestoreContext, restore: Restore, action: CallPlan) -> RestorePlan | Failure:
    identity = None if isinstance(action.call, CallReset) else await _identity(run, restore, action.call)
    if isinstance(identity, Failure):
        return identity
    return await call_or_failure(run.ports.admin_api.plan(run.target, action.call, identity))


async def _restore(run: RestoreContext, restore: Restore, call: CallRestore) -> RestoreResult | Failure:
    identity = await _identity(run, restore, call)
    if isinstance(identity, Failure):
        return identity
    return await call_or_failure(run.ports.admin_api.restore(run.target, call, identity))


async def _identity(run: RestoreContext, restore: Restore, call: CallRestore) -> Identity | Failure | None:
    """The age identity for one call; None if it needs none. It is read for each call and kept nowhere."""
    if call.identity is None:
        return None
    result = await read_identity(run.ports, run.ref.namespace, restore.gateway, call.identity, run.target)
    if isinstance(result, Identity):
        return result
    return None if call.identity_optional else as_failure(result)


async def _restart(run: RestoreContext, restore: Restore, mark: str) -> RestartRequested | Failure | None:
    if run.resolved is None or run.resolved.workload is None:
        raise AssertionError("The decision restarts the workload, but no workload was resolved.")
    try:
        await run.ports.cluster.restart(run.resolved.workload, mark)
    except ForbiddenError as error:
        line = restart_grant_line(run.ref.namespace, restore.gateway, run.ports.operator)
        return Failure(Reason.NotAuthorized, f"{error}. To grant it: {line}", retryable=True)
    except ConflictError:
        # The workload has changed since it was observed, perhaps by another restart: observe and decide again.
        return None
    except MissingError:
        return Failure(Reason.GatewayNotFound, f"{restore.gateway} no longer exists.", retryable=True)
    except Exception as error:
        # A value, and not an exception: the decision judges the time limit of the restart.
        run.log.exception("The restart failed with an unexpected error.")
        return unexpected_failure(error)
    return RestartRequested(tuple(str(pod["metadata"].get("uid")) for pod in run.resolved.owned))


async def _create_safety(run: RestoreContext, restore: Restore, name: str) -> Failure | None:
    body = safety_backup_body(restore)
    # Before the backup exists: it goes ahead of all backups that wait for this gateway.
    run.lock_of(restore).safety_backups.add(name)
    try:
        created: Json | None = await run.ports.cluster.create_ours(BACKUP_KIND, run.ref.namespace, body)
    except ConflictError:
        # An earlier run created it and crashed before its status write. Any other object of this name is an error.
        created = await run.ports.cluster.read(Ref(BACKUP_KIND, run.ref.namespace, name, ""))
        if created is not None and not is_usable_safety_backup(restore, created):
            message = f"GatewayBackup {name} exists and is not the one that this restore creates: delete it."
            return Failure(Reason.SafetyBackupFailed, message, retryable=False)
    except ForbiddenError as error:
        return Failure(Reason.NotAuthorized, str(error), retryable=True)
    except Exception as error:
        run.log.exception("The creation of the safety backup failed with an unexpected error.")
        return unexpected_failure(error)
    if created is not None:
        # Durable before the restore relies on it. The backup waits for this record: with it, its origin is Restore.
        status = {"safetyBackupUID": str(created["metadata"]["uid"])}
        await update_status(run.ports, Restore.parse, restore, status, None, run.log)
    return None
