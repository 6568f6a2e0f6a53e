"""The commands of a drill pod's init containers: a temporary pod in which a backup is restored to prove it."""
