"""Backups on the volume: manifests, signatures, the index, storing and reading."""
