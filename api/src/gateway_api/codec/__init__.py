"""Converts the bytes of a config to the bytes of a backup file and back: compression, age encryption, self-check."""
