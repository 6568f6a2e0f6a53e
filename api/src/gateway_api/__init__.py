"""The gateway's admin API. It owns the config file and the backup directory, and does not use Kubernetes."""

__version__: str


def __getattr__(name: str) -> str:
    """Returns ``__version__``. It is read on first use, because a parse worker must start fast and never needs it."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version

    return version("gateway-backup-operator")
