"""What to do next with a GatewayBackup."""
