"""The gateway's admin API: owns the config file and the backup volume, and knows nothing of Kubernetes."""

__version__: str


def __getattr__(name: str) -> str:
    """The version, looked up when it is asked for: a worker process neither needs it nor has the time."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version

    return version("gateway-backup-operator")
