"""Decides the CronJob and the status of a GatewayBackupSchedule."""
