"""The kubectl commands that grant a missing permission. Messages contain them, ready to copy.

Each command may run again. ``kubectl apply`` changes an existing binding to the operator's current ServiceAccount,
where ``kubectl create`` would end with "already exists". Each has a Role of its own, so it changes no Role of a chart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway_operator.domain.model.identifiers import GatewayRef
from gateway_operator.domain.model.names import (
    GROUP,
    backup_account,
)

_UNKNOWN_OPERATOR: Final = "NAMESPACE:SERVICEACCOUNT"
"""A placeholder. Outside a pod the operator does not know its ServiceAccount."""
OPERATOR_CHART: Final = "The operator's chart grants it: repeat its `helm upgrade`, and compare the RBAC objects."


def secrets_grant_line(namespace: str, gateway: str, secrets: Iterable[str], operator: str) -> str:
    """The commands that let the operator read the Secrets with a gateway's admin key and CA.

    ``operator`` is its ServiceAccount as NAMESPACE:NAME.
    """
    return _grant(namespace, f"{gateway}-backup-secrets", "get", "secrets", secrets, operator)


def identity_grant_line(namespace: str, gateway: str, secret: str, operator: str) -> str:
    """The commands that let the operator read one Secret with an age identity. ``operator`` as above."""
    return _grant(namespace, f"{gateway}-identity-{secret}", "get", "secrets", [secret], operator)


def restart_grant_line(namespace: str, ref: GatewayRef, operator: str) -> str:
    """The commands that let the operator restart a workload after a restore. ``operator`` as above."""
    resource = f"{ref.kind.lower()}s.apps"
    return _grant(namespace, f"{ref.name}-backup-restart", "patch", resource, [ref.name], operator)


def drills_grant_line(namespace: str, gateway: str, operator: str) -> str:
    """The commands that let the operator run drills in a namespace. ``operator`` as above."""
    pods = _grant(namespace, f"{gateway}-backup-drill-pods", "create,delete", "pods", [], operator)
    policies = "networkpolicies.networking.k8s.io"
    return f"{pods} && {_grant(namespace, f'{gateway}-backup-drills', 'get,create,delete', policies, [], operator)}"


def schedules_grant_line(namespace: str, gateway: str, operator: str) -> str:
    """The commands that let the operator write CronJobs with a gateway's ServiceAccount. ``operator`` as above."""
    cron_jobs = _grant(namespace, f"{gateway}-backup-schedules", "create,patch,delete", "cronjobs.batch", [], operator)
    account = backup_account(gateway)
    return f"{cron_jobs} && {_grant(namespace, f'{account}-account', 'get', 'serviceaccounts', [account], operator)}"


def volumes_grant_line(operator: str) -> str:
    """The commands that let the operator read PersistentVolumes. ``operator`` as above."""
    account = operator or _UNKNOWN_OPERATOR
    # The name contains the account, so that the operators of several namespaces keep their permission.
    role = f"gateway-backup-volumes:{account}"
    bind = f"kubectl create clusterrolebinding {role} --clusterrole={role} --serviceaccount={account}"
    create = f"kubectl create clusterrole {role} --verb=get --resource=persistentvolumes"
    return f"{_applied(create)} && {_applied(bind)}"


def account_line(namespace: str, gateway: str) -> str:
    """The commands that create the ServiceAccount of a gateway's schedules, with the permissions of its pods."""
    name = backup_account(gateway)
    create = _applied(f"kubectl -n {namespace} create serviceaccount {name}")
    grant = _grant(namespace, name, "create,get,watch", f"gatewaybackups.{GROUP}", [], f"{namespace}:{name}")
    return f"{create} && {grant}"


def _grant(namespace: str, role: str, verbs: str, resource: str, names: Iterable[str], operator: str) -> str:
    """The commands that create a Role with one rule and bind it to a ServiceAccount. No names: all objects."""
    only = "".join(f" --resource-name={name}" for name in names)
    create = f"kubectl -n {namespace} create"
    account = operator or _UNKNOWN_OPERATOR
    return " && ".join(
        (
            _applied(f"{create} role {role} --verb={verbs} --resource={resource}{only}"),
            _applied(f"{create} rolebinding {role} --role={role} --serviceaccount={account}"),
        )
    )


def _applied(command: str) -> str:
    return f"{command} --dry-run=client -o yaml | kubectl apply -f -"
