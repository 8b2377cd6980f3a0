"""The hub's own key pair, by which devices recognize their hub; all nodes of a hub share it."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import keys
from protocol.handshake import (
    Challenge,
    HubProof,
    challenge_text,
)


class HubKey:
    """An Ed25519 key pair.

    Args:
        seed: private key, 32 bytes.

    Attributes:
        public_key: base64url without padding.
        shown: key id in the form that people compare.
    """

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._private.public_key().public_bytes_raw()
        self.public_key = keys.encode(public)
        self.shown = keys.shown(keys.key_id(public))

    def __repr__(self) -> str:
        return f"HubKey({self.shown})"

    def prove(self, challenge: Challenge, *, address: str, device_nonce: str) -> HubProof:
        """Sign *challenge* for a device that dialled *address*. Takes about 60 us."""
        text = challenge_text(
            challenge, public_key=self.public_key, address=address, device_nonce=device_nonce
        )
        return HubProof(public_key=self.public_key, address=address, signature=self.sign(text))

    def sign(self, text: bytes) -> str:
        """Sign *text* and return the encoded signature."""
        return keys.encode(self._private.sign(text))
