"""``kubectl-gateway``: the kubectl plugin for users, also run by the pods of backup schedules."""
