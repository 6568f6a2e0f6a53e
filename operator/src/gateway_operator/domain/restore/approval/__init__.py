"""Approvals of restores by a second person."""
