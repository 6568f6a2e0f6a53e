"""What is tested without a cluster and without a process: functions, charts, CRDs, pages."""
