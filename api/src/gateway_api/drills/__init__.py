"""The commands of a drill pod's init containers: a throw-away pod in which a backup is restored to prove it."""
