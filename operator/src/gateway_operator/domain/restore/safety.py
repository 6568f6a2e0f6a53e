"""The safety backup of a restore: the GatewayBackup that the operator writes, and the check of an existing one.

Its name follows from the restore's name and uid, so a run after a crash finds the object of the run before. Anyone may
create an object of that name. So the restore records the uid of the one that it uses. It accepts an existing object
only if that object equals the one that the operator would create.
"""

from __future__ import annotations

from typing import Any

from gateway_operator.domain.model.identifiers import Origin
from gateway_operator.domain.model.names import RESTORE_LABEL, SAFETY_GROUP, label_value, safety_backup_name
from gateway_operator.domain.model.resources import Backup, Json
from gateway_operator.domain.model.restore_resource import Restore


def safety_backup_body(restore: Restore) -> dict[str, Any]:
    """The GatewayBackup to create. The spec has a value for each field with a default, so that it can be compared."""
    name = restore.meta.ref.name
    return {
        "metadata": {
            "name": safety_backup_name(name, restore.uid),
            "namespace": restore.meta.ref.namespace,
            "labels": {RESTORE_LABEL: label_value(name)},
        },
        "spec": {
            "gatewayRef": restore.gateway.spec(),
            "group": SAFETY_GROUP,
            "pinned": False,
            "verification": {"level": "Verified", "maxShrinkPercent": 50},
            "timeoutSeconds": max(10, min(restore.timeout, 600)),
            "retryLimit": 5,
            "startingDeadlineSeconds": max(1, min(restore.starting_deadline, 300)),
            "description": f"The config that GatewayRestore {name} replaced.",
        },
    }


def is_usable_safety_backup(restore: Restore, body: Json) -> bool:
    """Whether an existing object can be the safety backup: created by a run before a crash, or not different from it.

    An object that has an origin already has been treated as someone else's, and its config may be an older one.
    """
    backup = Backup.parse(body)
    expected = safety_backup_body(restore)
    same_labels = backup.meta.labels.get(RESTORE_LABEL) == expected["metadata"]["labels"][RESTORE_LABEL]
    unclaimed = not backup.has_origin or (backup.origin is Origin.Restore and backup.restore_uid == restore.uid)
    return body.get("spec") == expected["spec"] and same_labels and unclaimed and backup.meta.deleting_since is None
