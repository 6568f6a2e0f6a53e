"""A GatewayBackupSchedule, its CronJob and its status."""
