"""Transactions that touch several subjects: hub.toml, connections, fires, retention, erasure, clock steps."""
