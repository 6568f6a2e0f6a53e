"""Backups on the backup volume: manifests, signatures, the index, writing, reading and deleting."""
