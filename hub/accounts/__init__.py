"""Accounts of connectors: sign-in, sealed credentials, and refresh of access tokens."""
