"""Unit tests of drills: the pod, the reading of its state, and the decisions."""
