"""Reads the age identity (a private key) with which a restore opens an encrypted backup.

The Secret is read immediately before each call that needs it. The identity is not cached, logged or written anywhere.
"""

from __future__ import annotations

from gateway_operator.domain.gateway.grants import identity_grant_line
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.identifiers import GatewayRef, IdentityRef
from gateway_operator.domain.model.names import ADMIN_CA_SECRET, GATEWAY_LABEL
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.restore_resource import Restore
from gateway_operator.ports import AdminTarget, ForbiddenError, Identity, Ports
from gateway_operator.reconcile.gateway_lookup import lookup_problem


async def read_identity(
    ports: Ports, namespace: str, gateway: GatewayRef, identity_ref: IdentityRef, target: AdminTarget
) -> Identity | GatewayProblem:
    """Read the identity from its Secret. Returns a problem if it is missing or must not be used for this gateway."""
    # Before the Secret is read: an identity that cannot be sent safely is not even loaded into memory.
    if not target.proven:
        message = (
            f"The admin API of {gateway} has no TLS certificate of a known CA (annotation {ADMIN_CA_SECRET}). "
            "An identity is never sent over plain HTTP."
        )
        return GatewayProblem(Reason.IdentityNeedsTLS, message)
    try:
        secret = await ports.cluster.secret(namespace, identity_ref.name)
    except ForbiddenError as error:
        line = identity_grant_line(namespace, gateway.name, identity_ref.name, ports.operator)
        message = (
            f"{error}. To grant it, list the Secret in restore.ageIdentitySecrets of the gateway's chart, or: {line}"
        )
        return GatewayProblem(Reason.NotAuthorized, message, forbidden=True)
    except Exception as error:
        return lookup_problem(error)
    if secret is None:
        message = f"Secret {identity_ref.name}, named in spec.identitySecretRef, does not exist."
        return GatewayProblem(Reason.IdentityMissing, message)
    # The label is the Secret owner's consent: a restore must not be able to read any Secret of the namespace.
    if secret.labels.get(GATEWAY_LABEL) != gateway.name:
        message = (
            f"Secret {identity_ref.name} does not have the label {GATEWAY_LABEL}={gateway.name}, which permits "
            "restores of this gateway to use it."
        )
        return GatewayProblem(Reason.IdentityNotAllowed, message)
    text = secret.fields.get(identity_ref.key)
    if not text:
        message = f"Secret {identity_ref.name} has no key {identity_ref.key} with an age identity."
        return GatewayProblem(Reason.IdentityMissing, message)
    return Identity(text)


async def identity_problem(ports: Ports, restore: Restore, target: AdminTarget | None) -> GatewayProblem | None:
    """Why the identity cannot be read, before the restore changes anything. None outside Validating.

    The identity itself is discarded here, and read again for the call.
    """
    identity_ref = restore.needed_identity
    if restore.phase != "Validating" or identity_ref is None or target is None:
        return None
    result = await read_identity(ports, restore.meta.ref.namespace, restore.gateway, identity_ref, target)
    return result if isinstance(result, GatewayProblem) else None


def as_failure(problem: GatewayProblem) -> Failure:
    """Convert the problem to the result of the call that needed the identity.

    It is retryable if a user can fix it while the restore waits: a missing permission, Secret or key.
    """
    retryable = problem.may_pass
    return Failure(problem.reason, problem.message, retryable=retryable)
