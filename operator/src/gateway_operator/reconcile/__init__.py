"""Reconciles: read the current state, let the domain decide, execute the action; repeat until done or waiting.

Everything that must survive a restart is in the status of an object. A conflict on a write never overwrites
the other writer: the reconcile reads again and decides again.
"""
