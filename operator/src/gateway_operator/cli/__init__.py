"""``kubectl-gateway``: what a person types, and what the pods of schedules run."""
