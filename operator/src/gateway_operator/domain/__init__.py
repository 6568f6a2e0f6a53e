"""Decisions of the operator, as pure functions of its observations and the time. It does no I/O."""
