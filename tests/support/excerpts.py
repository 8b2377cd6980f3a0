"""Seals of excerpts whose key is in no file."""

from pathlib import Path

from hub.accounts.keys import KEY_BYTES, VARIABLE, KeyStore, encoded
from hub.runs.delivery import ExcerptSeals
from tests.support.clock import SeededChance


def excerpt_seals() -> ExcerptSeals:
    """Return seals with one key."""
    key = f"k1 {encoded(bytes(KEY_BYTES))}"
    return ExcerptSeals(KeyStore(Path("unused"), chance=SeededChance(), environ={VARIABLE: key}))
