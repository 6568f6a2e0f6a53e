"""Observe, decide, act: until there is nothing to do or something to wait for."""
