"""The Gateway Backup Operator: reconciles the custom resources by calling the gateways' admin APIs."""

from __future__ import annotations


def missing_package_message(error: ModuleNotFoundError, extra: str) -> str:
    """One sentence that names the package and the extra that installs it. Raises ``error`` for an own module.

    It is here because both commands need it before they can import anything else.
    """
    if (error.name or "").startswith("gateway_operator"):
        raise error
    return f"{error.name} is not installed: pip install 'gateway-backup-operator[{extra}]'"
