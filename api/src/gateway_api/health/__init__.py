"""The detailed health of the server, and its readiness for a backup or a restore."""
