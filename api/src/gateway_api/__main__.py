"""The command `gateway-admin`, also as `python -m gateway_api`. Without the extra `api` it says so in one sentence."""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the command line. Returns the exit code; 2 if the packages of the extra `api` are not installed."""
    try:
        from gateway_api.cli import main as command_line
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gateway_api"):
            raise
        sys.stderr.write(f"{error.name} is not installed: pip install 'gateway-backup-operator[api]'\n")
        return 2
    return command_line()


if __name__ == "__main__":
    sys.exit(main())
