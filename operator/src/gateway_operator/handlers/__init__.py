"""The functions that kopf calls. They feed the backup index and the work queues, and decide nothing."""
