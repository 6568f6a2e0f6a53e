"""The hash-chained audit log: format of the chain, writing, verification."""
