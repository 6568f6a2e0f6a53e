"""The in-memory index of GatewayBackups, filled by the watch."""
