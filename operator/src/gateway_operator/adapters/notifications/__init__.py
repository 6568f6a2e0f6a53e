"""Implements the port of the receivers of notifications."""
