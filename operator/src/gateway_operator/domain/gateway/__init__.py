"""Finding the pod of a gateway and judging its rollout and permissions."""
