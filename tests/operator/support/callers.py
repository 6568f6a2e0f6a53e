"""Requests to the API server with the permissions of one user or ServiceAccount, and the permissions for them.

A request returns the HTTP status and the message, because most tests expect a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.operator.support.workloads import Kube

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
OUR_KINDS = {
    "gatewaybackups": "GatewayBackup",
    "gatewayrestores": "GatewayRestore",
    "gatewaybackupschedules": "GatewayBackupSchedule",
    "gatewaybackupimports": "GatewayBackupImport",
}
_ROOTS = {
    **dict.fromkeys(OUR_KINDS, "/apis/mcpgateway.dev/v1alpha1"),
    "deployments": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "cronjobs": "/apis/batch/v1",
    "jobs": "/apis/batch/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
}


@dataclass(frozen=True)
class Answer:
    """The answer to one request."""

    status: int
    body: dict[str, Any]

    @property
    def allowed(self) -> bool:
        return self.status < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    def __str__(self) -> str:
        return f"{self.status} {self.message or json.dumps(self.body)[:300]}"


@dataclass
class Caller:
    """A user or a ServiceAccount in one namespace.

    With a token, its own requests. With a user name, requests of a cluster-admin that impersonates the user, and
    at most one group: the API server authorizes and admits them as requests of that user.
    """

    kube: Kube
    token: str = ""
    user: str = ""
    group: str = ""

    @classmethod
    def account(cls, kube: Kube, name: str) -> Caller:
        """A ServiceAccount of the namespace, with a token of its own."""
        return cls(kube, token=kube.cluster.token_for(name, kube.namespace))

    def create(self, plural: str, body: Mapping[str, Any], **query: str) -> Answer:
        return self.send("POST", plural, body=complete(plural, body), **query)

    def patch(self, plural: str, name: str, change: Mapping[str, Any]) -> Answer:
        """Send a JSON merge patch."""
        return self.send("PATCH", plural, name, body=change, content_type=MERGE)

    def send(
        self,
        method: str,
        resource: str,
        name: str = "",
        *,
        body: Any = None,
        content_type: str = "application/json",
        **query: str,
    ) -> Answer:
        """Send one request. ``resource`` is a plural; ``name`` may end in a subresource, as in ``it/status``."""
        path = f"{_ROOTS.get(resource, '/api/v1')}/namespaces/{self.kube.namespace}/{resource}"
        headers = {"Content-Type": content_type}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.user:
            headers["Impersonate-User"] = self.user
        if self.group:
            headers["Impersonate-Group"] = self.group
        answer = self.kube.cluster.rest.request(
            method,
            f"{path}/{name}" if name else path,
            content=None if body is None else json.dumps(body),
            headers=headers,
            params=query,
        )
        return Answer(answer.status_code, answer.json())


def complete(plural: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The object with apiVersion and kind, if it is one of ours and has none."""
    if plural not in OUR_KINDS:
        return dict(body)
    return {"apiVersion": "mcpgateway.dev/v1alpha1", "kind": OUR_KINDS[plural], **body}


def rule(group: str, resources: str, verbs: str, *names: str) -> dict[str, Any]:
    """A rule of a Role. Resources and verbs are separated by spaces."""
    named = {"resourceNames": list(names)} if names else {}
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split(), **named}


def grant_user(kube: Kube, user: str, *rules: Mapping[str, Any]) -> Caller:
    """Create a Role with these rules, bind it to the user, and return the user."""
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": user}}
    kube.apply({**head, "kind": "Role", "rules": list(rules)})
    kube.apply(
        {
            **head,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
    )
    return Caller(kube, user=user)
