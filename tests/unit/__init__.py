"""Tests without a cluster and without a process: pure functions, charts, CRDs, documentation."""
