"""The age identity of a restore: read when it is needed, for the one call that needs it, and kept nowhere."""

from __future__ import annotations

from gateway_operator.domain.gateway.grants import identity_grant_line
from gateway_operator.domain.model.admin_api import Failure
from gateway_operator.domain.model.names import ADMIN_CA_SECRET, GATEWAY_LABEL
from gateway_operator.domain.model.problem import GatewayProblem
from gateway_operator.domain.model.reasons import Reason
from gateway_operator.domain.model.resources import GatewayRef, IdentityRef
from gateway_operator.ports import AdminTarget, ForbiddenError, Identity, Ports


async def read_identity(
    ports: Ports, namespace: str, gateway: GatewayRef, wanted: IdentityRef, target: AdminTarget
) -> Identity | GatewayProblem:
    """The identity, or why it cannot be used. The Secret is not even read where it could not be sent."""
    if not target.proven:
        said = (
            f"The admin API of {gateway} is not proven by a CA (annotation {ADMIN_CA_SECRET}), and an identity never "
            "crosses plain HTTP."
        )
        return GatewayProblem(Reason.IdentityNeedsTLS, said)
    try:
        secret = await ports.cluster.secret(namespace, wanted.name)
    except ForbiddenError as error:
        line = identity_grant_line(namespace, gateway.name, wanted.name, ports.operator)
        said = f"{error}. To grant it, name it in restore.ageIdentitySecrets of the gateway's chart, or: {line}"
        return GatewayProblem(Reason.NotAuthorized, said, forbidden=True)
    if secret is None:
        said = f"Secret {wanted.name}, which spec.identitySecretRef names, does not exist."
        return GatewayProblem(Reason.IdentityMissing, said)
    if secret.labels.get(GATEWAY_LABEL) != gateway.name:
        said = (
            f"Secret {wanted.name} is not labelled {GATEWAY_LABEL}={gateway.name}: it is not meant for restores of "
            "this gateway."
        )
        return GatewayProblem(Reason.IdentityNotAllowed, said)
    text = secret.fields.get(wanted.key)
    if not text:
        said = f"Secret {wanted.name} has no key {wanted.key} with an age identity in it."
        return GatewayProblem(Reason.IdentityMissing, said)
    return Identity(text)


def as_failure(problem: GatewayProblem) -> Failure:
    """The problem as the answer of the call that it stood in the way of."""
    passes = problem.forbidden or problem.reason == Reason.IdentityMissing
    return Failure(problem.reason, problem.message, retryable=passes)
