"""What to do next with a GatewayRestore."""
