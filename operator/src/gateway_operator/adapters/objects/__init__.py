"""Implementations of the smaller ports over the operator's connection to the Kubernetes API."""
