"""A drill: the restore of a backup in a throw-away pod, which proves that the gateway starts with it."""
