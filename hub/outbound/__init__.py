"""Outbound HTTP calls of the hub: rules for addresses, and a client that enforces them."""
