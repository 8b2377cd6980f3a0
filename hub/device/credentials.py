"""Credentials of a device: token or own key, the key's file, and its replacement.

Device's key: an Ed25519 key pair, created by the device, in a file that only its owner can read. The private
key never leaves the file and this process. During a rotation, the next key is stored next to the current one:
the device tries both at the hub, so a crash at any time loses nothing.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from hub.base.clock import Chance, Clock, now_ms
from hub.base.log import Channel
from hub.base.system.files import create_private, publish, replace
from hub.device.connection import HubConnection
from protocol import keys
from protocol.coordination import Method
from protocol.errors import ErrorCode, HubError
from protocol.frame import Parameters
from protocol.handshake import Challenge, DeviceHello, Identity, signed_text
from protocol.ids import DeviceId, KeyId

log = Channel(__name__)

NEXT: Final = ".next"  # suffix of the file with the next key
_SEED_BYTES: Final = 32  # RFC 8032, 5.1.5


class BadCredential(HubError):
    """Unusable token, key or invitation; ``str()`` gives the reason, and the path of a file."""

    code = ErrorCode.BAD_PARAMS


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
        BadCredential: the file cannot be read or written, or contains no Ed25519 key.
    """
    try:
        return read_identity(file)
    except FileNotFoundError:
        return make_identity(file, chance)


def read_identity(file: Path) -> DeviceIdentity:
    """Read the key in *file*.

    Raises:
        BadCredential: the file cannot be read, or contains no Ed25519 key.
        FileNotFoundError: the file does not exist.
    """
    try:
        private = load_pem_private_key(file.read_bytes(), password=None)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadCredential(f"cannot read the device's key {file}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadCredential(f"{file} holds no key without a password, as PEM") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise BadCredential(f"{file} holds a key of another kind than Ed25519")
    return DeviceIdentity(private)


def make_identity(file: Path, chance: Chance) -> DeviceIdentity:
    """Create a key in the new file *file*, atomically and synced to disk.

    Raises:
        BadCredential: the file exists or cannot be written.
    """
    private = Ed25519PrivateKey.from_private_bytes(chance.token_bytes(_SEED_BYTES))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        with create_private(fresh) as written:
            written.write(pem)
            written.flush()
            os.fsync(written.fileno())
        publish(fresh, file)
    except OSError as error:
        raise BadCredential(f"cannot make the device's key {file}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
    return DeviceIdentity(private)


def next_file(file: Path) -> Path:
    """Return the path of the next key, which is to replace the key in *file*."""
    return file.with_name(file.name + NEXT)


class Credential(Protocol):
    """Credential with which a device authenticates."""

    def read(self) -> None:
        """Read the files again, once before each connection.

        Raises:
            BadCredential: the credential cannot be used now.
        """
        ...

    def put_into(self, hello: DeviceHello, challenge: Challenge) -> DeviceHello:
        """Return *hello* with the credential, bound to the hub's *challenge*."""
        ...

    def welcomed(self) -> None:
        """Record that the hub accepted the credential."""
        ...

    def take_another(self, *, is_revoked: bool) -> str | None:
        """Switch to another credential after a refusal, if another exists.

        Args:
            is_revoked: True if the refused credential was revoked.

        Returns:
            A message for the person, or None if no other credential exists.
        """
        ...


class TokenCredential:
    """Token, or the file that contains it."""

    def __init__(self, token: str | Path) -> None:
        self._token = token
        self._text = ""

    def read(self) -> None:
        self._text = read_secret(self._token, "token")

    def put_into(self, hello: DeviceHello, challenge: Challenge) -> DeviceHello:
        return msgspec.structs.replace(hello, token=self._text)

    def welcomed(self) -> None:
        pass

    def take_another(self, *, is_revoked: bool) -> str | None:
        return None


class KeyCredential:
    """Key of the device, created on first use; with an invitation until the hub knows the device.

    Args:
        file: file of the key; None until a hub has proved which one it is.
        invitation: an invitation, or the file that contains it.
        renews: create a new key if the old one was revoked; once.

    Attributes:
        is_renewed: True if a new key replaced a revoked key.
    """

    def __init__(
        self,
        file: Path | None,
        *,
        clock: Clock,
        chance: Chance,
        invitation: str | Path | None = None,
        renews: bool = False,
    ) -> None:
        self._file = file
        self.is_renewed = False
        self._renews = renews
        self._clock = clock
        self._chance = chance
        self._invitation = invitation
        self._invitation_text: str | None = None
        self._identity: DeviceIdentity | None = None

    @property
    def file(self) -> Path:
        """File of the key in use."""
        assert self._file is not None, "no hub has proved its key"
        return self._file

    @property
    def identity(self) -> DeviceIdentity:
        """Key pair in use.

        Raises:
            BadCredential: the key cannot be read or created.
        """
        if self._identity is None:
            self._identity = open_identity(self.file, self._chance)
        return self._identity

    def read(self) -> None:
        if self._file is not None:
            assert self.identity
        if self._invitation is not None:
            self._invitation_text = read_secret(self._invitation, "invitation")

    def use(self, file: Path) -> bool:
        """Use the key in *file* from now on; return True if the file differs from the previous one."""
        is_other = file != self._file
        if is_other:
            self._file, self._identity = file, None
        return is_other

    def put_into(self, hello: DeviceHello, challenge: Challenge) -> DeviceHello:
        assert challenge.proof is not None  # checked before
        at, address = now_ms(self._clock), challenge.proof.address
        signature = self.identity.sign(signed_text(challenge, hello, at, address=address))
        shown = Identity(
            public_key=keys.encode(self.identity.public_key),
            signature=signature,
            signed_at_ms=at,
            address=address,
        )
        return msgspec.structs.replace(hello, identity=shown, invitation=self._invitation_text)

    def welcomed(self) -> None:
        self._invitation = self._invitation_text = None  # no longer needed, and a secret
        self._renews = False  # a revocation from now on is aimed at this device, not at an old key

    def take_another(self, *, is_revoked: bool) -> str | None:
        """Switch to the next key, which the hub may know already, or to a new one for a revoked key."""
        try:
            if is_revoked and self._renews and not next_file(self.file).exists():
                self.next_identity()
                self._renews, self.is_renewed = False, True
            self.take_next()
        except (BadCredential, FileNotFoundError):
            return None
        made = (
            "the key was revoked; the device has made a new one" if self.is_renewed else "trying the next key"
        )
        return f"{made}: {self.identity.shown}"

    def next_identity(self) -> DeviceIdentity:
        """Return the key that is to replace the current one; create it if it does not exist.

        Raises:
            BadCredential: the key cannot be read or created.
        """
        return open_identity(next_file(self.file), self._chance)

    def take_next(self) -> None:
        """Replace the current key by the next one.

        Raises:
            BadCredential: the next key cannot be read or renamed.
            FileNotFoundError: no next key exists.
        """
        fresh = read_identity(next_file(self.file))
        try:
            replace(next_file(self.file), self.file)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise BadCredential(str(error)) from error
        self._identity = fresh


def read_secret(secret: str | Path, name: str) -> str:
    """Return a token or an invitation, read from its file if it is a path.

    Raises:
        BadCredential: the file cannot be read, or the secret is empty.
    """
    try:
        text = secret.read_text("utf-8") if isinstance(secret, Path) else secret
    except (OSError, UnicodeDecodeError) as error:
        raise BadCredential(f"the {name} cannot be read: {error}") from error
    if not text.strip():
        raise BadCredential(f"the {name} is empty")
    return text.strip()


class Rotation:
    """Single request to the hub to accept a new key. Both keys are kept until the hub agrees."""

    def __init__(self, credential: KeyCredential) -> None:
        self._credential = credential
        self._is_done = False

    @property
    def is_due(self) -> bool:
        """True if the key is still the initial one."""
        return not self._is_done and not self._credential.is_renewed

    async def ask(self, line: HubConnection, on_status: Callable[[str], None]) -> None:
        """Send the new key, signed by both keys, and report the hub's response to *on_status*.

        Raises:
            BadCredential: the key cannot be created, or cannot replace the current one.
        """
        old, new = self._credential.identity, self._credential.next_identity()
        welcome = line.welcome
        text = keys.rotation_text(
            welcome.hub_id, DeviceId(welcome.device_id), old_key=old.public_key, new_key=new.public_key
        )
        params: Parameters = {
            "public_key": keys.encode(new.public_key),
            "signature": old.sign(text),
            "proof": new.sign(text),
        }
        response = await line.request(Method.KEYS_ROTATE, params)
        if response is None:
            return  # asked again at the next connection
        self._is_done = True
        if response.error is not None:
            log.warning("device.key.kept", code=response.error.code)
            on_status(f"the hub does not take a new key: {response.error.message}")
            return
        self._credential.take_next()
        on_status(f"the device has a new key: {self._credential.identity.shown}")
