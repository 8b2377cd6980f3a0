"""A device's key pair, and what it signs, written from PROTOCOL.md with nothing of ours."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOTHING: Mapping[str, str] = {}


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


class KeyPair:
    """Ed25519; the same *seed* is the same key."""

    def __init__(self, seed: int = 1) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = self._private.public_key().public_bytes_raw()

    @property
    def spelled(self) -> str:
        """The public key, as it travels."""
        return b64(self.public)

    def sign(self, *lines: str) -> str:
        """The signature over *lines*, as it travels."""
        return b64(self._private.sign("\n".join(lines).encode()))

    def identity(
        self,
        challenge: dict[str, Any],
        *,
        label: str = "",
        at_ms: int | None = None,
        signed: Mapping[str, str] = NOTHING,
    ) -> dict[str, Any]:
        """The ``identity`` of a hello that answers *challenge*, with a label and nothing else in it.

        Args:
            signed: parts that are signed as something else than they are, by their names.
        """
        at_ms = challenge["ts_ms"] if at_ms is None else at_ms
        parts = {
            "header": "hub-device-hello-v1",
            "hub_id": challenge["hub_id"],
            "nonce": challenge["nonce"],
            "label": label,
            "client": "",
            "version": "",
            "min": "1",
            "max": "1",
            "at": str(at_ms),
        }
        signature = self.sign(*(parts | dict(signed)).values())
        return {"public_key": self.spelled, "signature": signature, "signed_at_ms": at_ms}
