"""Decides the next step of a GatewayBackup."""
