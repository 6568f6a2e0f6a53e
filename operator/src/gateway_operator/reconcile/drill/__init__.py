"""The reconcile of a GatewayRestore with ``mode: Drill``."""
