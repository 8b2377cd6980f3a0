"""Credentials of a device at its hub (a token, or its own key), and the hubs that it knows by their keys.

Device's key: an Ed25519 key pair, created by the device, in a file that only its owner can read. The private
key never leaves the file and this process. During a rotation, the next key is stored next to the current one:
the device tries both at the hub, so a crash at any time loses nothing.

Known hubs of this device, similar to SSH's known_hosts: each hub proves its key at every connection.

A file next to the device's database has one hub per line: its dialled address, its public key, and the file
of the device key used only for that hub. A hub that proves another key at a known address is refused until
the owner accepts that key by its fingerprint. Lines of replaced hubs stay above the newer line; a replaced
hub that the owner accepts again gets its former device key.
"""

import contextlib
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from websockets.headers import build_host
from websockets.uri import parse_uri

from hub.base.atomic_file import write_atomically
from hub.base.clock import Chance, Clock, now_ms
from hub.base.log import Channel
from hub.base.system.files import create_private, publish, replace
from hub.device.connection import Line
from protocol import keys
from protocol.coordination import Method
from protocol.errors import ErrorCode, HubError
from protocol.frame import Parameters
from protocol.handshake import Challenge, DeviceHello, Identity, challenge_text, signed_text
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

    async def ask(self, line: Line, on_status: Callable[[str], None]) -> None:
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


SUFFIX: Final = ".hubs"
MAX_BYTES: Final = 1024 * 1024
_HEAD: Final = (
    "# Hubs that this device knows: address, key of the hub, file of this device's key there\n"
    "# Of several lines of one address the last one counts; the others are hubs that were there before.\n"
)


class HubNotTrusted(HubError):
    """Hub that does not prove the known key; ``str()`` gives a remedy."""

    code = ErrorCode.FORBIDDEN


class BadKnownHubs(HubError):
    """Unreadable or unwritable file of known hubs; ``str()`` gives the reason and the path."""

    code = ErrorCode.FORBIDDEN


class KnownHub(msgspec.Struct, frozen=True):
    """Line of the file.

    Attributes:
        address: host, and port unless it is the scheme's default.
        public_key: the hub's public key, base64url without padding.
        key_file: file of the device's key; a relative path is next to the file of known hubs.
    """

    address: str
    public_key: str
    key_file: str

    @property
    def fingerprint(self) -> str:
        """Hub's key in the form that people compare."""
        return fingerprint(self.public_key)


class KnownHubs:
    """File of known hubs.

    Args:
        file: may not exist yet.
        key_file: file of the device's key for the first hub; keys of further hubs get a numbered name.
        is_chosen: True if the owner named *key_file*; it is then used at every hub.
        accepted: id of the only hub key to accept now, known or not.
    """

    def __init__(
        self, file: Path, key_file: Path, *, is_chosen: bool = False, accepted: KeyId | None = None
    ) -> None:
        self._file = file
        self._is_chosen = is_chosen
        self._key_file = key_file
        self._accepted = accepted

    def key_file(self, address: str) -> Path | None:
        """Return the key file to use at *address*, before the hub has proved its key.

        None: the address is new, and which key the device uses there depends on the hub, which may be a known
        one.

        Raises:
            BadKnownHubs: the file cannot be read.
        """
        known = self.read()
        hub = _at_addresses(known).get(address)
        if hub is None and known and not self._is_chosen:
            return None
        return self._path(hub.key_file if hub else self._fresh_key_file(known))

    def addresses_of(self, public_key: str) -> list[str]:
        """Return the addresses at which the hub with this key is the current one. Raises BadKnownHubs."""
        return [at for at, hub in self.at_addresses().items() if hub.public_key == public_key]

    def judge(
        self, address: str, public_key: str, *, all_addresses: Collection[str] = ()
    ) -> tuple[KnownHub, KnownHub | None]:
        """Return the hub at *address*, which proved *public_key*, and the hub known there before.

        The caller stores a new hub by ``keep``. A hub known from another address, or replaced earlier,
        retains its key file.

        Args:
            all_addresses: addresses of the same hub, all of which must prove the same key.

        Raises:
            HubNotTrusted: another key is known at one of the addresses, or only another key is accepted.
            BadKnownHubs: the file cannot be read.
        """
        known = self.read()
        before = _at_addresses(known).get(address)
        shown, id = fingerprint(public_key), keys.key_id(keys.decode(public_key, keys.PUBLIC_KEY_BYTES))
        if self._accepted is not None and id != self._accepted:
            problem = f"the hub at {address} shows the key {shown}, and not {keys.shown(self._accepted)}"
            raise HubNotTrusted(f"{problem}, which you accept; nothing was shown to it")
        if before is not None and before.public_key == public_key:
            return before, before
        if before is not None and self._accepted is None:
            raise HubNotTrusted(
                f"the hub at {address} is not the one that this device knows: its key is {shown},"
                f" and was {before.fingerprint}. An attacker may be between the two, or the hub is a new one."
                f" Ask who runs it ('hub status' there shows the key); to accept it: hub connect"
                f" --accept-hub {shown} ..."
            )
        others = (hub for at, hub in _at_addresses(known).items() if at in all_addresses)
        if self._accepted is None and (other := next(others, None)) and other.public_key != public_key:
            raise HubNotTrusted(
                f"the hub at {address} is not the one at {other.address}: its key is {shown}, and not"
                f" {other.fingerprint}; give addresses of one hub only"
            )
        same = next((hub for hub in known if hub.public_key == public_key), None)
        key_file = same.key_file if same else self._fresh_key_file(known)
        return KnownHub(address, public_key, key_file), before

    def keep(self, hub: KnownHub) -> None:
        """Store *hub* as the current hub at its address.

        Raises:
            BadKnownHubs: the file cannot be read or written.
        """
        same = (hub.address, hub.public_key)
        self._write([*(one for one in self.read() if (one.address, one.public_key) != same), hub])

    def at_addresses(self) -> dict[str, KnownHub]:
        """Return the current hub at each address.

        Raises:
            BadKnownHubs: the file cannot be read, or has an invalid line.
        """
        return _at_addresses(self.read())

    def path_of(self, hub: KnownHub) -> Path:
        """Return the file of the key to use at *hub*."""
        return self._path(hub.key_file)

    def read(self) -> list[KnownHub]:
        """Return the hubs of all lines, in order; the last line of an address is current.

        Raises:
            BadKnownHubs: the file cannot be read, or has an invalid line.
        """
        try:
            with self._file.open("rb") as opened:
                text = opened.read(MAX_BYTES + 1).decode()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise BadKnownHubs(f"cannot read the known hubs in {self._file}: {error}") from error
        if len(text) > MAX_BYTES:
            raise BadKnownHubs(f"{self._file} is longer than {MAX_BYTES} bytes: no list of known hubs")
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
        return [self._parse(number, line) for number, line in lines if line and not line.startswith("#")]

    def _parse(self, number: int, line: str) -> KnownHub:
        try:
            address, public_key, key_file = line.split(maxsplit=2)
            keys.decode(public_key, keys.PUBLIC_KEY_BYTES)
        except ValueError as error:
            problem = f"{self._file}, line {number}: expected an address, a hub's key and a file"
            raise BadKnownHubs(f"{problem}; correct the line, or remove it to meet that hub anew") from error
        return KnownHub(address, public_key, key_file)

    def _fresh_key_file(self, known: list[KnownHub]) -> str:
        """Return a key file that no known hub uses. The first hub gets that of the previous version."""
        taken = {hub.key_file for hub in known}
        if not taken:
            return self._spelled(self._key_file)
        numbered = (
            self._key_file.with_name(f"{self._key_file.stem}.{number}{self._key_file.suffix}")
            for number in range(2, len(taken) + 1000)
        )
        return next(
            spelled
            for file in numbered
            if (spelled := self._spelled(file)) not in taken and not file.exists()
        )

    def _spelled(self, file: Path) -> str:
        return file.name if file.parent == self._file.parent else str(file.absolute())

    def _path(self, key_file: str) -> Path:
        return self._key_file if self._is_chosen else self._file.parent / key_file

    def _write(self, known: list[KnownHub]) -> None:
        lines = [f"{hub.address} {hub.public_key} {hub.key_file}\n" for hub in known]
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._file, "".join([_HEAD, *lines]).encode(), mode=0o600)
        except OSError as error:
            raise BadKnownHubs(f"cannot keep the hub's key in {self._file}: {error.strerror}") from error


def _at_addresses(known: list[KnownHub]) -> dict[str, KnownHub]:
    return {hub.address: hub for hub in known}


def check_proof(challenge: Challenge, *, address: str, nonce: str) -> str:
    """Verify the hub's proof in *challenge* for the dialled *address* and our *nonce*; return its public key.

    Raises:
        HubNotTrusted: the proof is missing or invalid.
    """
    proof = challenge.proof
    if proof is None:
        raise HubNotTrusted(
            f"the hub at {address} proves no key: it is older than this device, or an attacker removed it;"
            " upgrade the hub first"
        )
    if proof.address != address:
        raise HubNotTrusted(
            f"{address} leads to a hub that was asked for as {proof.address}: an attacker between passes"
            " on what belongs to that hub, or a proxy changes the Host header"
        )
    text = challenge_text(challenge, public_key=proof.public_key, address=address, device_nonce=nonce)
    if not is_signed(proof.public_key, proof.signature, text):
        raise HubNotTrusted(f"the hub at {address} does not prove the key that it shows")
    return proof.public_key


def is_signed(public_key: str, signature: str, text: bytes) -> bool:
    """Return True if the encoded *signature* is that of the encoded key over *text*."""
    try:
        public = keys.decode(public_key, keys.PUBLIC_KEY_BYTES)
        signed = keys.decode(signature, keys.SIGNATURE_BYTES)
        Ed25519PublicKey.from_public_bytes(public).verify(signed, text)
    except (ValueError, InvalidSignature):
        return False
    return True


def dialled(url: str) -> str:
    """Return the address of a request to *url*, as spelled in its ``Host`` header."""
    parts = parse_uri(url)
    return build_host(parts.host, parts.port, parts.secure).lower()


def fingerprint(public_key: str) -> str:
    """Return a hub's public key in the form that people compare."""
    return keys.shown(keys.key_id(keys.decode(public_key, keys.PUBLIC_KEY_BYTES)))
