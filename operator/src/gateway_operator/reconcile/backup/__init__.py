"""The reconcile of a GatewayBackup: its finalizer and deletion, its origin, and the run that makes its file."""
