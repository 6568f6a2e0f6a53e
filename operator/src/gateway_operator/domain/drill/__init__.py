"""A drill: the restore of a backup in a temporary pod, which proves that the gateway starts with it."""
