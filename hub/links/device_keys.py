"""Verification that a device holds its key, by the signature of its hello."""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol import keys
from protocol.errors import ErrorCode, HubError
from protocol.handshake import (
    Challenge,
    DeviceHello,
    Identity,
    signed_text,
)
from protocol.ids import KeyId

_P: Final = 2**255 - 19  # RFC 8032, 5.1.3: y of a valid key is below this
_Y: Final = 2**255 - 1  # the bits of y; the last bit of a key is the sign of x
# y of the eight points of small order. With one of them as key, a signature that anyone can make fits every
# text, or one in a few. C2SP/CCTV, ed25519 (low_order_A): eight points, and six more spellings, all of y >=
# p. The points of order 8 are those that doubling takes to y = 0: d y^4 + 2 y^2 = 1.
_Y_OF_ORDER_8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER: Final = frozenset((1, _P - 1, 0, _Y_OF_ORDER_8, _P - _Y_OF_ORDER_8))


class BadProof(HubError):
    """The key or the signature is invalid; ``str()`` gives the reason."""

    code = ErrorCode.AUTH_FAILED


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A public key named by a device, which may or may not hold it."""

    id: KeyId
    public: bytes


def read_key(public_key: str) -> DeviceKey:
    """Parse the key of a hello or a request.

    Raises:
        BadProof: it is not a key, or its signatures prove nothing.
    """
    try:
        public = keys.decode(public_key, keys.PUBLIC_KEY_BYTES)
    except ValueError as error:
        raise BadProof(f"the public key is {error}") from error
    y = int.from_bytes(public, "little") & _Y
    if y >= _P:
        raise BadProof("the public key is not spelled as RFC 8032, 5.1.3 has it")
    if y in _SMALL_ORDER:
        raise BadProof("the public key is of small order: it proves nothing")
    return DeviceKey(keys.key_id(public), public)


def check_hello(key: DeviceKey, identity: Identity, challenge: Challenge, hello: DeviceHello) -> None:
    """Check that the sender of *hello* holds *key* and signed this challenge.

    Raises:
        BadProof: the signature is malformed, or belongs to another key or another text.
    """
    address = identity.address
    if address is not None and (challenge.proof is None or address != challenge.proof.address):
        raise BadProof(f"the device dialled {address!r}, which is not what this connection asked for")
    try:
        text = signed_text(challenge, hello, identity.signed_at_ms, address=address)
    except ValueError as error:
        raise BadProof(str(error)) from error
    check_signature(key.public, identity.signature, text)


def check_signature(public_key: bytes, signature: str, text: bytes) -> None:
    """Check that the encoded *signature* is the key's over *text*. Takes about 60 us.

    Raises:
        BadProof: it is not.
    """
    try:
        signed = keys.decode(signature, keys.SIGNATURE_BYTES)
    except ValueError as error:
        raise BadProof(f"the signature is {error}") from error
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signed, text)
    except InvalidSignature as error:
        raise BadProof("the signature does not fit: another key, another hub or another text") from error
