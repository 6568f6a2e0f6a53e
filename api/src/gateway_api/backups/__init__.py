"""The backup operations: create, list, inspect, verify, download, upload, delete."""
