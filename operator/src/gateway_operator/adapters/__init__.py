"""Implements the ports: the Kubernetes API, the gateways' admin APIs and the clock."""
