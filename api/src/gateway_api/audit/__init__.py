"""The hash-chained audit log: records, writing, verification."""
