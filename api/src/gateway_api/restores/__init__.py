"""The restore operations: a journaled transaction with safety backup, commit and rollback."""
