"""Digests of what an owner saw: SHA-256 of a canonical JSON text, which each language has.

PROTOCOL.md describes the text; ``digests.json`` has examples for the tests of other programs.
"""

import hashlib

import msgspec


def digest_of(value: object) -> str:
    """Return the digest of a JSON value without numbers that have decimals, in lower-case hex."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
