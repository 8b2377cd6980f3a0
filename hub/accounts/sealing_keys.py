"""Keys that encrypt credentials and excerpts: where they are read from; never stored in the database.

The first existing source is used:

* the credential ``hub-keys`` from systemd (``LoadCredentialEncrypted=``),
* ``keys/credentials.keys`` in the state folder, readable only by the hub's user; created on first use,
* ``HUB_KEYS`` of the environment, as long as this file does not exist.

Each line has a key: its id and 32 bytes in base64url, newest first. The newest key seals, and all keys open.
A file changed by another process is read again.
"""

import os
import tempfile
from base64 import b32decode, b32encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from hub.base.atomic_file import write_atomically
from hub.base.clock import Chance
from protocol import keys as spelling
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import KeyId

FILE: Final = "keys/credentials.keys"  # in the state folder
NODE_FILE: Final = "keys/node.key"  # opens what other nodes seal for this one
CREDENTIAL: Final = "hub-keys"
VARIABLE: Final = "HUB_KEYS"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # of GCM
_FORM: Final = b"\x01"  # version of the sealed format
_HEAD: Final = (
    "# Keys that seal what sign-ins granted, the newest first. Keep a copy, but not beside the database's.\n"
)

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)  # RFC 9180

T = TypeVar("T")


class BadKeys(HubError):
    """The keys cannot be read, written or removed; ``str()`` gives place and reason."""

    code = ErrorCode.FORBIDDEN
    hint = "'hub keys ls' lists the keys there are, and what each seals"


class NotOpened(HubError):
    """Sealed data cannot be opened: its key is missing, or it belongs to another row."""

    code = ErrorCode.SIGN_IN_NEEDED


class KeyMissing(NotOpened):
    """The key of sealed data is not here; another node of the same database may have it."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"what was granted is sealed by the key {key_id}, which is gone")
        self.key_id = key_id


class Key(msgspec.Struct, frozen=True):
    """A key with its public *id*."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id!r})"


class _SealedBox(msgspec.Struct, frozen=True):
    """Sealed content with the id of its row, so that rows cannot be swapped."""

    row: str
    value: msgspec.Raw


class Keyring:
    """A snapshot of the keys: seals with the newest, opens with any.

    Args:
        keys: newest first; at least one.
    """

    def __init__(self, keys: Sequence[Key], chance: Chance) -> None:
        self.keys = tuple(keys)
        self._chance = chance
        self._cipher = AESGCM(keys[0].secret)  # of the newest key

    def __repr__(self) -> str:
        return f"Keyring({[key.id for key in self.keys]})"

    @property
    def newest(self) -> Key:
        """The key that seals."""
        return self.keys[0]

    def seal(self, value: Any, *, row: str, owner: str) -> tuple[str, bytes]:
        """Seal *value* for one row of one *owner*. Return the key's id and the sealed data."""
        inside = msgspec.json.encode(_SealedBox(row, msgspec.Raw(msgspec.json.encode(value))))
        return self.newest.id, self._sealed(inside, owner)

    def open(self, sealed: bytes, kind: type[T], *, row: str, owner: str, key_id: str) -> T:
        """Open sealed data and return its value.

        Raises:
            KeyMissing: the key is missing.
            NotOpened: the data belongs to another row or owner.
        """
        box = self._box(sealed, row=row, owner=owner, key_id=key_id)
        return msgspec.json.decode(box.value, type=kind)

    def reseal(self, row: str, owner: str, key_id: str, sealed: bytes) -> tuple[str, bytes]:
        """Seal data again with the newest key. Raises NotOpened."""
        box = self._box(sealed, row=row, owner=owner, key_id=key_id)
        return self.newest.id, self._sealed(msgspec.json.encode(box), owner)

    def _sealed(self, inside: bytes, owner: str) -> bytes:
        nonce = self._chance.token_bytes(_NONCE_BYTES)
        return _FORM + nonce + self._cipher.encrypt(nonce, inside, owner.encode())

    def _box(self, sealed: bytes, *, row: str, owner: str, key_id: str) -> _SealedBox:
        key = next((key for key in self.keys if key.id == key_id), None)
        if key is None:
            raise KeyMissing(key_id)
        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            inside = AESGCM(key.secret).decrypt(nonce, rest, owner.encode())
            box = msgspec.json.decode(inside, type=_SealedBox)
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            raise NotOpened("what was granted cannot be opened: it was changed, or is another's") from None
        if sealed[:1] != _FORM or box.row != row:
            raise NotOpened("what was granted cannot be opened: it is another row's")
        return box


class KeyStore:
    """Storage of the keys.

    Args:
        state: the state folder.
        environ: environment of the process.
        node_id: id of this node, for people.
    """

    def __init__(
        self, state: Path, *, chance: Chance, environ: Mapping[str, str], node_id: str = "NODE"
    ) -> None:
        self._file = state / FILE
        self._node_file = state / NODE_FILE
        self.node_id = node_id
        self._chance = chance
        folder = environ.get("CREDENTIALS_DIRECTORY", "")
        self._handed = Path(folder) / CREDENTIAL if folder else None
        self._variable = environ.get(VARIABLE, "")
        self._read: tuple[object, Keyring] | None = None

    @property
    def node_label(self) -> str:
        """End of this node's id, as 'hub nodes' shows it."""
        return self.node_id[-8:]

    @property
    def place(self) -> str:
        """Source of the keys, for people."""
        if self._is_handed():
            return f"systemd's credential {CREDENTIAL}"
        return VARIABLE if self._variable and not self._file.exists() else str(self._file)

    def missing(self, key_id: str) -> str:
        """Describe a key that other nodes have, and how it gets here."""
        return f"this node lacks the key {key_id}: {self.remedy}"

    @property
    def remedy(self) -> str:
        """Say how keys of other nodes get here."""
        if not self.is_ours:
            return f"add its line in {FILE} of another node to {self.place}"
        try:
            return f"at a node that has it: hub keys share {self.node_id} {self.code()}"
        except (OSError, BadKeys) as error:
            return f"{self._node_file} cannot be used: {error}"

    def code(self) -> str:
        """Return the public half of the key that opens what other nodes seal for this one.

        It is spelled like the id of a key, with characters that show where it is mistyped. Who has it can
        seal keys for this node: it is shown to people, and never written to the database.

        Raises:
            BadKeys: the file is broken.
            OSError: it cannot be read or created.
        """
        public = self._node_key().public_key().public_bytes_raw()
        return spelling.shown(KeyId(b32encode(public).rstrip(b"=").decode()))

    def seal_for(self, node_id: str, code: str) -> bytes:
        """Seal all keys for the node with this code.

        Raises:
            CodedError (BAD_PARAMS): *code* is none of a node.
            BadKeys: the keys cannot be read.
        """
        lines = _spelled(self.ring_now().keys)
        try:
            public = X25519PublicKey.from_public_bytes(b32decode(spelling.read(code) + "===="))
        except ValueError as error:
            raise CodedError(
                ErrorCode.BAD_PARAMS,
                f"this is not the code of a node: {error}",
                hint="copy it again: 'hub keys ls' at the node shows it",
            ) from None
        return _SUITE.encrypt(lines.encode("ascii"), public, info=_purpose(node_id))

    def accept(self, node_id: str, sealed: bytes) -> None:
        """Store the keys that another node sealed for this one, its newest first; the present ones stay.

        Raises:
            BadKeys: they were not sealed for this node, or cannot be stored.
        """
        try:
            opened = _SUITE.decrypt(sealed, self._node_key(), info=_purpose(node_id)).decode("ascii")
        except OSError as error:
            raise BadKeys(f"{self._node_file} cannot be used: {error.strerror}") from error
        except (InvalidTag, ValueError):
            raise BadKeys("the keys are not for the code of this node: 'hub keys ls' here shows it") from None
        given = _parse(opened, "keys of another node")
        ids = {key.id for key in given}
        with self._changing() as keys:
            self._replace([*given, *(key for key in keys if key.id not in ids)])

    def _node_key(self) -> X25519PrivateKey:
        if not self._node_file.exists():
            self._node_file.parent.mkdir(mode=0o700, exist_ok=True)
            fresh = f"{spelling.encode(self._chance.token_bytes(KEY_BYTES))}\n"
            with self._stored(fresh) as made, suppress(FileExistsError):
                os.link(made, self._node_file)
        try:
            return X25519PrivateKey.from_private_bytes(_decoded(self._node_file.read_text("ascii")))
        except ValueError:
            raise BadKeys(f"{self._node_file} is broken: remove it, and a new one is made") from None

    @property
    def is_ours(self) -> bool:
        """True if the hub itself stores and changes the keys."""
        return self.place == str(self._file)

    async def ring(self) -> Keyring:
        """Return the current keys; create the first key if there is none.

        Raises:
            BadKeys: the keys cannot be read or created.
        """
        return await anyio.to_thread.run_sync(self.ring_now)

    async def add(self) -> Key:
        """Add a new key, which seals from now on. Existing rows are not sealed again.

        Raises:
            BadKeys: the keys are not in the hub's own file, or the file cannot be written.
        """
        return await anyio.to_thread.run_sync(self._add)

    async def remove(self, key_id: str) -> None:
        """Delete a key. The caller checks that it is unused.

        Raises:
            BadKeys: the key is unknown, is the newest, or the file cannot be written.
        """
        await anyio.to_thread.run_sync(self._remove, key_id)

    def ring_now(self) -> Keyring:
        """Return the same as ``ring``; blocks."""
        try:
            return self._ring()
        except OSError as error:
            raise BadKeys(f"the keys in {self.place} cannot be used: {error.strerror}") from error

    def _ring(self) -> Keyring:
        if self._is_handed():
            assert self._handed is not None
            return self._cached_ring(self._handed)
        if not self._file.exists():
            if self._variable:
                return Keyring(_parse(self._variable, VARIABLE), self._chance)
            self._make()
        if self._file.stat().st_mode & 0o077:
            raise BadKeys(f"{self._file} can be read by others: chmod 600 it")
        return self._cached_ring(self._file)

    def _cached_ring(self, file: Path) -> Keyring:
        at = file.stat()
        mark = (file, at.st_ino, at.st_mtime_ns, at.st_size)
        if self._read is None or self._read[0] != mark:
            self._read = (mark, Keyring(_parse(file.read_text(encoding="ascii"), str(file)), self._chance))
        return self._read[1]

    def _is_handed(self) -> bool:
        return self._handed is not None and self._handed.is_file()

    def _make(self) -> None:
        """Create the file with one key, atomically; of concurrent processes, only one succeeds."""
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        with self._stored(_HEAD + _spelled([self._fresh()])) as made, suppress(FileExistsError):
            os.link(made, self._file)

    def _add(self) -> Key:
        with self._changing() as keys:
            key = self._fresh()
            self._replace([key, *keys])
            return key

    def _remove(self, key_id: str) -> None:
        with self._changing() as keys:
            if key_id not in [key.id for key in keys]:
                message = f"there is no key {key_id}; 'hub keys ls' lists all"
                raise CodedError(ErrorCode.UNKNOWN_NAME, message)
            if key_id == keys[0].id:
                raise BadKeys(f"{key_id} is the key that seals: 'hub keys rotate' makes another one")
            self._replace([key for key in keys if key.id != key_id])

    @contextmanager
    def _changing(self) -> Iterator[Sequence[Key]]:
        import fcntl  # imported here: Windows has none

        keys = self.ring_now().keys
        if not self.is_ours:
            raise BadKeys(f"the keys are in {self.place}: change them there, the newest first")
        try:
            with (self._file.parent / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self.ring_now().keys or keys
        except OSError as error:
            raise BadKeys(f"{self._file} cannot be written: {error.strerror}") from error

    def _replace(self, keys: Sequence[Key]) -> None:
        write_atomically(self._file, (_HEAD + _spelled(keys)).encode(), mode=0o600)

    @contextmanager
    def _stored(self, text: str) -> Iterator[Path]:
        """Yield a temporary file with *text*, synced to the disk and deleted at the end."""
        fd, name = tempfile.mkstemp(prefix=".keys.", dir=self._file.parent)  # mode 0600
        try:
            with open(fd, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(fd)
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def _fresh(self) -> Key:
        return Key(self._chance.token_bytes(6).hex(), self._chance.token_bytes(KEY_BYTES))


def _spelled(keys: Sequence[Key]) -> str:
    return "".join(f"{key.id} {spelling.encode(key.secret)}\n" for key in keys)


def _parse(text: str, where: str) -> list[Key]:
    keys = []
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        id, _, spelled = line.partition(" ")
        try:
            secret = _decoded(spelled)
        except ValueError:
            raise BadKeys(f"{where}, line {number}: no id and {KEY_BYTES} bytes in base64url") from None
        keys.append(Key(id, secret))
    if not keys:
        raise BadKeys(f"{where}: there is no key in it")
    if len({key.id for key in keys}) < len(keys):
        raise BadKeys(f"{where}: two keys have one id")
    return keys


def _decoded(spelled: str) -> bytes:
    """Return a key of base64url, with or without padding. Raises ValueError."""
    return spelling.decode(spelled.strip().rstrip("="), KEY_BYTES)


def _purpose(node_id: str) -> bytes:
    return b"keys of the hub for node " + node_id.encode()
