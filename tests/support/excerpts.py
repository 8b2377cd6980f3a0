"""Seals of excerpts whose key is in no file."""

from pathlib import Path

from hub.accounts.sealing_keys import KEY_BYTES, VARIABLE, KeyStore
from hub.runs.delivery import ExcerptSeals
from protocol.keys import encode
from tests.support.clock import SeededChance


def excerpt_seals() -> ExcerptSeals:
    """Return seals with one key."""
    key = f"k1 {encode(bytes(KEY_BYTES))}"
    return ExcerptSeals(KeyStore(Path("unused"), chance=SeededChance(), environ={VARIABLE: key}))
