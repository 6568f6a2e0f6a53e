"""The gateway's admin API: owns the config file and the backup volume, and knows nothing of Kubernetes."""

from importlib.metadata import version

__version__ = version("gateway-backup-operator")
