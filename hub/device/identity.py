"""The device's key: an Ed25519 pair that it made itself, in a file that only its owner can read.

The private half never leaves the file and this process. While the key is being
replaced, the next one lies beside it: which of the two the hub knows is found out by
asking, so nothing is lost whenever the device dies.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from hub.clock import Chance
from protocol import keys
from protocol.errors import ErrorCode, HubError
from protocol.ids import KeyId

NEXT: Final = ".next"  # behind the name of the key that it is to replace
_SEED_BYTES: Final = 32  # RFC 8032, 5.1.5


class BadKeyFile(HubError):
    """The device's key cannot be read, or cannot be made; ``str()`` says why and where."""

    code = ErrorCode.FORBIDDEN


class DeviceIdentity:
    """A key pair. What it signs proves that this device is the one with the public half."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_key = private.public_key().public_bytes_raw()

    @property
    def id(self) -> KeyId:
        """The id of the key."""
        return keys.key_id(self.public_key)

    @property
    def shown(self) -> str:
        """The id as people compare it."""
        return keys.shown(self.id)

    def sign(self, text: bytes) -> str:
        """The signature over *text*, as it travels."""
        return keys.encode(self._private.sign(text))


def open_identity(file: Path, chance: Chance) -> DeviceIdentity:
    """The key in *file*; made, for its owner alone (0600), when the file is not there.

    Raises:
        BadKeyFile: it cannot be read or written, or is no Ed25519 key.
    """
    try:
        return read_identity(file)
    except FileNotFoundError:
        return make_identity(file, chance)


def read_identity(file: Path) -> DeviceIdentity:
    """The key in *file*.

    Raises:
        BadKeyFile: it cannot be read, or is no Ed25519 key.
        FileNotFoundError: there is no such file.
    """
    try:
        private = load_pem_private_key(file.read_bytes(), password=None)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadKeyFile(f"cannot read the device's key {file}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKeyFile(f"{file} holds no key without a password, as PEM") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise BadKeyFile(f"{file} holds a key of another kind than Ed25519")
    return DeviceIdentity(private)


def make_identity(file: Path, chance: Chance) -> DeviceIdentity:
    """A new key in *file*, which must not be there; whole and on the disk, or not at all.

    Raises:
        BadKeyFile: it cannot be written.
    """
    private = Ed25519PrivateKey.from_private_bytes(chance.token_bytes(_SEED_BYTES))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as written:
            written.write(pem)
            written.flush()
            os.fsync(handle)
        os.link(fresh, file)  # unlike a rename, it fails where somebody made one meanwhile
    except OSError as error:
        raise BadKeyFile(f"cannot make the device's key {file}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
    return DeviceIdentity(private)


def is_open_to_others(file: Path) -> bool:
    """Whether somebody else on this machine could read the key."""
    try:
        return bool(file.stat().st_mode & 0o077)
    except OSError:
        return False


def next_file(file: Path) -> Path:
    """Where the key lies that is to replace the one in *file*."""
    return file.with_name(file.name + NEXT)
