"""Outbound HTTP calls of the hub: ``rules`` for addresses and waits, and a ``client`` that enforces them."""
