"""The pairing code that a device shows and a person types at the hub.

Eight symbols of an alphabet without similar symbols, shown as ``K7QF-2M9X``.
"""

import hashlib
from typing import Final

from hub.clock import Chance

ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # without 0 O, 1 I L, and U, which is read as V
LENGTH: Final = 8  # 39 bits: enough for a lifetime of ten minutes and few guesses
_CHANCE_BYTES: Final = 16  # far more than 39 bits, so that all symbols are practically equally likely


class BadCode(ValueError):
    """The typed text cannot be a code; ``str()`` gives the reason."""


def make(chance: Chance) -> str:
    """Return a new code in the displayed form."""
    drawn, symbols = int.from_bytes(chance.token_bytes(_CHANCE_BYTES), "big"), []
    for _ in range(LENGTH):
        drawn, symbol = divmod(drawn, len(ALPHABET))
        symbols.append(ALPHABET[symbol])
    return _shown("".join(symbols))


def read(typed: str) -> str:
    """Return the typed code in the displayed form; case, dash and spaces are ignored.

    Raises:
        BadCode: the text is not a code.
    """
    symbols = "".join(typed.split()).replace("-", "").upper()
    if strange := sorted(set(symbols) - set(ALPHABET)):
        raise BadCode(f"a code never has {strange[0]!r} in it; look at it again")
    if len(symbols) != LENGTH:
        raise BadCode(f"a code has {LENGTH} letters and digits, as in K7QF-2M9X; this has {len(symbols)}")
    return _shown(symbols)


def hash_code(code: str) -> bytes:
    """Return the stored hash of a code in the displayed form."""
    return hashlib.sha256(code.encode()).digest()


def _shown(symbols: str) -> str:
    half = LENGTH // 2
    return f"{symbols[:half]}-{symbols[half:]}"
