"""Format of tokens: prefixes, length, creation, and detection of typing errors.

A token has 47 characters: ``hub_dev_``, ``hub_op_``, ``hub_inv_``, ``hub_agt_``, ``hub_lnk_``, ``hub_ses_``,
``hub_mcp_`` or ``hub_ref_``, at least 192 random bits in base62, and their CRC-32 as six more characters.
Secret scanners recognize the prefix. Only the hash and the last four characters of a token are stored.
"""

import hashlib
import zlib
from enum import StrEnum
from typing import Final

from hub.base.clock import Chance

LENGTH: Final = 47
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_LENGTH: Final = 6  # 62^6 > 2^32
_SPARE_BYTES: Final = 16  # more than the characters need, so that each is as likely as any other
_EARLIER_LENGTH: Final = len("hub_dev_") + 43  # tokens of the first releases: 256 bits, no check


class TokenKind(StrEnum):
    """Kind of a token; the value is the prefix."""

    DEVICE = "hub_dev_"
    OPERATOR = "hub_op_"
    INVITATION = "hub_inv_"
    AGENT = "hub_agt_"
    LINK = "hub_lnk_"  # opens a session of a browser, once
    SESSION = "hub_ses_"  # in the cookie of a browser
    ASSISTANT = "hub_mcp_"  # an operator's token for /mcp alone, which its assistant renews
    RENEWAL = "hub_ref_"  # renews that of an assistant, once


def make(kind: TokenKind, chance: Chance) -> str:
    """Return a new token of 47 characters."""
    length = LENGTH - len(kind) - _CHECK_LENGTH
    drawn = int.from_bytes(chance.token_bytes(length + _SPARE_BYTES), "big")
    return _with_check(kind + _base62(drawn, length))


def check(token: str, *kinds: TokenKind) -> str | None:
    """Return what is wrong with a token as a sentence, or None.

    Args:
        kinds: permitted kinds; by default all.
    """
    kind = next((kind for kind in TokenKind if token.startswith(kind)), None)
    allowed = kinds or tuple(TokenKind)
    if kind is None or kind not in allowed:
        return f"it does not begin with {' or '.join(allowed)}"
    if kind is TokenKind.DEVICE and len(token) == _EARLIER_LENGTH:
        return None
    if len(token) != LENGTH:
        return f"it has {len(token)} characters, not {LENGTH}: was all of it copied?"
    if _with_check(token[:-_CHECK_LENGTH]) != token:
        return "a character in it is wrong: copy it again"
    return None


def last4(token: str) -> str:
    """Return the part of a token that identifies it for people."""
    return token[-4:]


def hash_token(token: str) -> bytes:
    """Return the stored hash of a token. Tokens are long and random, so a slow hash would add nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _with_check(text: str) -> str:
    return text + _base62(zlib.crc32(text.encode("utf-8", "surrogatepass")), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    """Return the last *length* digits of *number*."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
