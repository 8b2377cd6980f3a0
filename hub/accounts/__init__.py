"""Accounts of connectors: sign-in, sealed credentials, and refresh of access tokens.

``sign_in`` leads a person to a provider's consent. ``desk`` opens connectors for runs, with an access token
that one process refreshes for all. ``keys`` seals what is stored (``storage.connectors.connectors``).
"""
