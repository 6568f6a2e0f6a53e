"""Decides which notifications are sent, when, and with which text. Nothing here does I/O."""
