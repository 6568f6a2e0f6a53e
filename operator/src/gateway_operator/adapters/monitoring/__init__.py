"""The HTTP servers of the operator itself: the probe of the kubelet and the metrics for Prometheus."""
