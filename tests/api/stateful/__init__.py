"""Stateful property test: hypothesis runs random sequences of requests and file changes against real servers.

A model holds the expected state. After every step the list of backups, the live config, the health and the audit log
are compared with the model.
"""
