"""Decides the next step of a GatewayRestore."""
