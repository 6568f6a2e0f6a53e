"""Tests of the rendered charts, without a cluster."""
