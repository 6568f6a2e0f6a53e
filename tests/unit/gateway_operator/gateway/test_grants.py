"""The commands that grant a permission: tests/operator/charts runs them."""

from __future__ import annotations

from gateway_operator.domain.gateway.grants import (
    account_line,
    drills_grant_line,
    identity_grant_line,
    restart_grant_line,
    schedules_grant_line,
    secrets_grant_line,
)
from gateway_operator.domain.model.identifiers import GatewayRef

OPERATOR = "ops:operator"
LINES = {
    "secrets": secrets_grant_line("prod", "gw", ["gw-admin", "gw-ca"], OPERATOR),
    "identity": identity_grant_line("prod", "gw", "key", OPERATOR),
    "restart": restart_grant_line("prod", GatewayRef("StatefulSet", "gw"), OPERATOR),
    "schedules": schedules_grant_line("prod", "gw", OPERATOR),
    "drills": drills_grant_line("prod", "gw", OPERATOR),
    "account": account_line("prod", "gw"),
}


def test_grant_command_has_the_smallest_role_and_binds_the_operator() -> None:
    assert LINES["secrets"] == (
        "kubectl -n prod create role gw-backup-secrets --verb=get --resource=secrets "
        "--resource-name=gw-admin --resource-name=gw-ca --dry-run=client -o yaml | kubectl apply -f - && "
        "kubectl -n prod create rolebinding gw-backup-secrets --role=gw-backup-secrets "
        "--serviceaccount=ops:operator --dry-run=client -o yaml | kubectl apply -f -"
    )
    assert "--verb=patch --resource=statefulsets.apps --resource-name=gw " in LINES["restart"]


def test_commands_can_run_again_and_name_the_namespace() -> None:
    for name, line in LINES.items():
        for command in line.split(" && "):
            create, apply = command.split(" | ")
            assert create.startswith("kubectl -n prod create "), name
            assert create.endswith(" --dry-run=client -o yaml"), name
            assert apply == "kubectl apply -f -", name


def test_commands_change_no_role_of_the_chart() -> None:
    charts = {"gw-backup-operator"}  # gw-backup is the role of account_line, with the same rules as in the chart
    for line in LINES.values():
        words = line.split()
        roles = {words[index + 1] for index, word in enumerate(words) if word in ("role", "rolebinding")}
        assert not roles & charts


def test_unknown_operator_account_is_a_placeholder() -> None:
    assert "--serviceaccount=NAMESPACE:SERVICEACCOUNT " in secrets_grant_line("prod", "gw", ["a"], "")
