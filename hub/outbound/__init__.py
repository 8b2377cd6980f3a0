"""Calls of others, as test kits of release 0.2 import them; the product uses ``hub.base.outbound``."""
