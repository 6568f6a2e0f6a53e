"""The two doors to the outside: the Kubernetes API and the gateways' admin APIs."""
