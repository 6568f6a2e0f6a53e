"""Bytes of a config to bytes of a backup file and back: compression, age encryption, self-check."""
