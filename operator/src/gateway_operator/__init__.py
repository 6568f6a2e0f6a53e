"""The Gateway Backup Operator: reconciles GatewayBackup and GatewayRestore by calling the gateway's admin API."""
