"""Writes that are refused, and what their senders are told: one module of rows a resource."""
