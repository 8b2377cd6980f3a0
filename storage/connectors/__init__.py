"""Connectors: accounts, sealed credentials, cursors and the messages that were read."""
