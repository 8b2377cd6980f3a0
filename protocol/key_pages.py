"""Generated parts of PROTOCOL.md about keys: signed texts, and the spelling of ids."""

import hashlib

from protocol import keys
from protocol.examples import (
    CHALLENGE,
    DEVICE_NONCE,
    HELLO,
    HUB_KEY,
    KEY,
    NEXT_KEY,
    PROOF,
    ROTATION_PROOF,
    ROTATION_SIGNATURE,
    SIGNATURE,
    WELCOME,
)
from protocol.handshake import challenge_text, signed_text
from protocol.ids import DeviceId


def hello_text() -> str:
    """Return the text that a hello's signature covers, and a signature."""
    assert CHALLENGE.proof is not None
    text = signed_text(CHALLENGE, HELLO, CHALLENGE.ts_ms, address=CHALLENGE.proof.address)
    return (
        f"{_quoted(text)}\n\n"
        f"For the greeting above, signed at its `ts_ms`: {_measured(text)} The secret key"
        f" of RFC 8032, 7.1, test 1 (its public key travels as `{keys.encode(KEY)}`) signs it with\n\n"
        f"```\n{SIGNATURE}\n```"
    )


def challenge_lines() -> str:
    """Return the text that the hub's signature covers, and a signature."""
    text = challenge_text(
        CHALLENGE, public_key=keys.encode(HUB_KEY), address="hub.example", device_nonce=DEVICE_NONCE
    )
    return (
        f"{_quoted(text)}\n\n"
        f"{_measured(text)} The secret key of RFC 8032, 7.1, test 3 signs it with\n\n"
        f"```\n{PROOF}\n```"
    )


def key_id() -> str:
    """Return a key's id, with and without check characters."""
    return (
        f"That key's id is `{keys.key_id(KEY)}`, and people compare it as\n\n"
        f"```\n{keys.shown(keys.key_id(KEY))}\n```"
    )


def rotation_text() -> str:
    """Return the text that both keys sign, and their signatures."""
    text = keys.rotation_text(WELCOME.hub_id, DeviceId(WELCOME.device_id), old_key=KEY, new_key=NEXT_KEY)
    return (
        f"{_quoted(text)}\n\n"
        f"{_measured(text)} The new key is that of RFC 8032, 7.1, test 2. `signature` and `proof` are\n\n"
        f"```\n{ROTATION_SIGNATURE}\n{ROTATION_PROOF}\n```"
    )


def _quoted(text: bytes) -> str:
    return f"```\n{text.decode()}\n```"


def _measured(text: bytes) -> str:
    return f"{len(text)} bytes, SHA-256 `{hashlib.sha256(text).hexdigest()}`."
