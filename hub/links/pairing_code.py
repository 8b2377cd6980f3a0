"""The code that a device shows and a person types at the hub, so that this very device is let in.

Eight symbols of an alphabet in which no two look alike, shown as ``K7QF-2M9X``.
"""

import hashlib
from typing import Final

from hub.clock import Chance

ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # without 0 O, 1 I L, and U, which is read as V
LENGTH: Final = 8  # 39 bits: with ten minutes to live and few guesses, enough
_CHANCE_BYTES: Final = 16  # far more than 39 bits, so that each symbol is as likely as any other


class BadCode(ValueError):
    """What was typed cannot be a code; ``str()`` says why."""


def make(chance: Chance) -> str:
    """A fresh code, as it is shown."""
    drawn, symbols = int.from_bytes(chance.token_bytes(_CHANCE_BYTES), "big"), []
    for _ in range(LENGTH):
        drawn, symbol = divmod(drawn, len(ALPHABET))
        symbols.append(ALPHABET[symbol])
    return _shown("".join(symbols))


def read(typed: str) -> str:
    """The code in what somebody typed, as it is shown: any case, with or without dash and spaces.

    Raises:
        BadCode: it is none.
    """
    symbols = "".join(typed.split()).replace("-", "").upper()
    if strange := sorted(set(symbols) - set(ALPHABET)):
        raise BadCode(f"a code never has {strange[0]!r} in it; look at it again")
    if len(symbols) != LENGTH:
        raise BadCode(f"a code has {LENGTH} letters and digits, as in K7QF-2M9X; this has {len(symbols)}")
    return _shown(symbols)


def hash_code(code: str) -> bytes:
    """What is stored of a code, given as it is shown."""
    return hashlib.sha256(code.encode()).digest()


def _shown(symbols: str) -> str:
    half = LENGTH // 2
    return f"{symbols[:half]}-{symbols[half:]}"
