"""The documentation pages whose blocks the tests run, each as a list of parts in the order of the page.

A part begins at the command that contains its text, and ends at the next part. tests/unit/docs/test_page_commands.py
checks that the parts of a page contain all of its commands, and that a test runs each part.
"""

from __future__ import annotations

from pathlib import Path

from tests.node.page_commands import Page

ROOT = Path(__file__).resolve().parents[2]

README = Page(
    ROOT / "README.md",
    {"backup": "kind: GatewayBackup", "schedule": "kind: GatewayBackupSchedule", "restore": "kind: GatewayRestore"},
)
QUICKSTART = Page(
    ROOT / "docs" / "quickstart.md",
    {
        "operator": "helm install gateway-backup-operator",
        "gateway": "create namespace team-a",
        "own config": "create namespace team-b",
        "user": "KEY=",
        "backup": "apply -f examples/backup.yaml",
        "break": "truncate",
        "restore": "apply -f examples/restore.yaml",
        "uninstall": "helm uninstall",
    },
)
SCHEDULES = Page(
    ROOT / "docs" / "schedules.md",
    {
        "chart": "enabled: true",
        "list": "kubectl get gwbs",
        "suspend and run": "schedule suspend",
        "pods": "jobTemplate",
        "drills": "drill: {enabled: true",
        "quota": "ResourceQuota",
        "permissions": "create serviceaccount",
    },
)
KUBECTL_GATEWAY = Page(
    ROOT / "docs" / "kubectl-gateway.md",
    {"install": "python3 -m venv", "status": "status my-gateway", "problems": "-o json"},
)
FROM_CRON = Page(
    ROOT / "docs" / "from-cron.md",
    {"schedule": "kind: GatewayBackupSchedule", "run": "schedule run nightly", "adopt": "backup adopt"},
)
DRILLS = Page(
    ROOT / "docs" / "drills.md",
    {"chart": "restore:", "drill": "mode: Drill", "accept no isolation": "drillIsolation: Optional"},
)
RESTORES = Page(
    ROOT / "docs" / "restores.md",
    {
        "backup": "backup create before-change",
        "dry run": "mode: DryRun",
        "verified": "name: verified",
        "undo": "SAFETY=",
        "reset": "factoryReset",
        "undo the reset": "SAFETY=",
    },
)
UPGRADES = Page(
    ROOT / "docs" / "upgrades.md",
    {
        "backup before an upgrade": "backups.beforeUpgrade.enabled=true",
        "history": "helm history",
        "after a refused upgrade": "helm rollback my-gateway 3",
        "undo the upgrade": "helm rollback my-gateway 2",
    },
)
DISASTER_RECOVERY = Page(
    ROOT / "docs" / "disaster-recovery.md",
    {
        "keep": "get configmap",
        "retain": "VOLUME=",
        "volume": "remove",
        "identity": "create secret",
        "install": "existingClaim",
        "import": "kind: GatewayBackupImport",
        "restore": "NEWEST=",
        "clean up": "delete secret",
        "copy one file": "FILE=",
        "one file": "create namespace",
        "copy all files": "backup create last",
        "move": "create namespace",
    },
)
BACKUPS = Page(ROOT / "docs" / "backups.md", {"list": "get gwb", "import": "backup-import.yaml"})
RETENTION = Page(ROOT / "docs" / "retention.md", {"explain": "retention explain"})
APPROVALS = Page(
    ROOT / "docs" / "approvals.md",
    {
        "turn on": "restore.approval=Required",
        "permissions": "create rolebinding",
        "request": "restore create",
        "approve": "restore list",
    },
)
SECURITY = Page(
    ROOT / "docs" / "security.md",
    {
        "limits": "create quota",
        "open a backup": "sha256sum",
        "second recipient": "encryption.recipients",
        "signature": "-pubout",
        "public key": "get configmap",
    },
)
RUNBOOK = Page(
    ROOT / "docs" / "runbook.md",
    {"look": "gateway status", "alert": "get gwbs", "retain": "VOLUME=", "not ready": "port-forward"},
)
NOTIFICATIONS = Page(ROOT / "docs" / "notifications.md", {"secret": "create secret"})
OTHER_GATEWAYS = Page(
    ROOT / "docs" / "other-gateways.md",
    {"admin API": "PersistentVolumeClaim", "annotations": "create secret", "permissions": "kind: Role"},
)
ADMIN_API = Page(
    ROOT / "docs" / "admin-api.md",
    {
        "serve": "serve",
        "first backup": "ADMIN_KEY=",
        "encryption": "kill",
        "encrypted backup": "daily.json.zst.age",
        "restore": "input_file",
        "audit": "audit verify",
    },
)
