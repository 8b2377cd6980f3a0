"""Device's key: an Ed25519 key pair, created by the device, in a file that only its owner can read.

The private key never leaves the file and this process. During a rotation, the next key is stored next to the
current one: the device tries both at the hub, so a crash at any time loses nothing.
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

NEXT: Final = ".next"  # suffix of the file with the next key
_SEED_BYTES: Final = 32  # RFC 8032, 5.1.5


class BadKeyFile(HubError):
    """Unreadable or unwritable key file; ``str()`` gives the reason and the path."""

    code = ErrorCode.FORBIDDEN


class DeviceIdentity:
    """Key pair. Its signatures prove that this device owns the public key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_key = private.public_key().public_bytes_raw()

    @property
    def id(self) -> KeyId:
        """Id of the key."""
        return keys.key_id(self.public_key)

    @property
    def shown(self) -> str:
        """Id in the form that people compare."""
        return keys.shown(self.id)

    def sign(self, text: bytes) -> str:
        """Sign *text* and return the encoded signature."""
        return keys.encode(self._private.sign(text))


def open_identity(file: Path, chance: Chance) -> DeviceIdentity:
    """Return the key in *file*; create it with mode 0600 if the file does not exist.

    Raises:
        BadKeyFile: the file cannot be read or written, or contains no Ed25519 key.
    """
    try:
        return read_identity(file)
    except FileNotFoundError:
        return make_identity(file, chance)


def read_identity(file: Path) -> DeviceIdentity:
    """Read the key in *file*.

    Raises:
        BadKeyFile: the file cannot be read, or contains no Ed25519 key.
        FileNotFoundError: the file does not exist.
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
    """Create a key in the new file *file*, atomically and synced to disk.

    Raises:
        BadKeyFile: the file exists or cannot be written.
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
        os.link(fresh, file)  # unlike a rename, fails if another process created the file meanwhile
    except OSError as error:
        raise BadKeyFile(f"cannot make the device's key {file}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
    return DeviceIdentity(private)


def is_open_to_others(file: Path) -> bool:
    """Return True if other users of this machine can read the key."""
    try:
        return bool(file.stat().st_mode & 0o077)
    except OSError:
        return False


def next_file(file: Path) -> Path:
    """Return the path of the next key, which is to replace the key in *file*."""
    return file.with_name(file.name + NEXT)
