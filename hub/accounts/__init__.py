"""Accounts of connectors: sign-in, sealed credentials, and refresh of access tokens.

``sign_in`` leads a person to a provider's consent, by ``grants``. ``connector_accounts`` opens connectors for
runs, with an access token that one process refreshes for all (``access_tokens``). ``sealing_keys`` seals what
is stored (``storage.connectors.connectors``), and ``key_sharing`` brings the keys to other nodes.
"""
