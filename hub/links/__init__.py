"""Connections of devices: their acceptance, authentication, sessions and links."""
