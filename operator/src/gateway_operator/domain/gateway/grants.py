"""The kubectl commands that grant a missing permission. Messages contain them, ready to copy."""

from __future__ import annotations

from gateway_operator.domain.model.names import (
    GROUP,
    backup_account,
)


def role_binding_line(namespace: str, gateway: str, operator: str) -> str:
    """The command that lets the operator do what a gateway needs. ``operator`` is NAMESPACE:SERVICEACCOUNT."""
    role = f"{gateway}-backup-operator"
    service_account = operator or "NAMESPACE:SERVICEACCOUNT"
    return f"kubectl create rolebinding {role} --namespace {namespace} --role {role} --serviceaccount {service_account}"


def identity_grant_line(namespace: str, gateway: str, secret: str, operator: str) -> str:
    """The commands that let the operator read one Secret with an age identity. ``operator`` as above."""
    role = f"{gateway}-identity-{secret}"
    service_account = operator or "NAMESPACE:SERVICEACCOUNT"
    return (
        f"kubectl create role {role} --namespace {namespace} --verb get --resource secrets --resource-name {secret} && "
        f"kubectl create rolebinding {role} --namespace {namespace} --role {role} --serviceaccount {service_account}"
    )


def account_line(namespace: str, gateway: str) -> str:
    """The command that makes the ServiceAccount of a gateway's schedules and grants it what its pods need."""
    name = backup_account(gateway)
    return (
        f"kubectl -n {namespace} create serviceaccount {name} && "
        f"kubectl -n {namespace} create role {name} --verb=create,get,watch --resource=gatewaybackups.{GROUP} && "
        f"kubectl -n {namespace} create rolebinding {name} --role={name} --serviceaccount={namespace}:{name}"
    )


def grant_line(namespace: str, gateway: str, operator: str) -> str:
    """The command that lets the operator write CronJobs beside a gateway. ``operator`` is NAMESPACE:SERVICEACCOUNT."""
    name = f"{gateway}-backup-schedules"
    service_account = operator or "NAMESPACE:SERVICEACCOUNT"
    return (
        f"kubectl -n {namespace} create role {name} --verb=get,list,watch,create,patch --resource=cronjobs.batch && "
        f"kubectl -n {namespace} create rolebinding {name} --role={name} --serviceaccount={service_account}"
    )
