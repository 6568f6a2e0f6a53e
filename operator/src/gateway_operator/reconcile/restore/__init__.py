"""Reconciles GatewayRestores: the run, its observations and its calls."""
