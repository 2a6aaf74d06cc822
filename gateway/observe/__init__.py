"""Counts, metrics, logs and traces: what operators see of the gateway."""
