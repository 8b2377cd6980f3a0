"""Keys that seal what sign-ins granted. They are never in the database, nor in a backup of it.

The first of these that is there:

* the credential ``hub-keys`` that systemd hands over (``LoadCredentialEncrypted=``),
* ``keys/credentials.keys`` in the state folder, which only the hub's user can read; made on first use,
* ``HUB_KEYS`` of the environment, before there is such a file.

One key a line, its id and 32 bytes in base64url, the newest first: that one seals, each of them opens. A
file that another process changed is read again.
"""

import fcntl
import os
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.clock import Chance
from protocol.errors import ErrorCode, HubError

FILE: Final = "keys/credentials.keys"  # in the state folder
CREDENTIAL: Final = "hub-keys"
VARIABLE: Final = "HUB_KEYS"
KEY_BYTES: Final = 32
_ID_BYTES: Final = 6
_NONCE_BYTES: Final = 12  # of GCM
_FORM: Final = b"\x01"  # of what is sealed, should there ever be another
_HEAD: Final = (
    "# Keys that seal what sign-ins granted, the newest first. Keep a copy, but not beside the database's.\n"
)

T = TypeVar("T")


class BadKeys(HubError):
    """The keys cannot be read, written, or given up; ``str()`` says why and where."""

    code = ErrorCode.FORBIDDEN
    hint = "'hub keys ls' lists the keys there are, and what each seals"


class NotOpened(HubError):
    """What is sealed cannot be opened: its key is gone, or it was put where it does not belong."""

    code = ErrorCode.SIGN_IN_NEEDED


class Key(msgspec.Struct, frozen=True):
    """A key. *id* is no secret."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id!r})"


class _Box(msgspec.Struct, frozen=True):
    """What is inside: whose row it is, so that none can be put in the place of another."""

    row: str
    value: msgspec.Raw


class Keyring:
    """Keys at one moment: seals with the newest, opens with any.

    Args:
        keys: the newest first; at least one.
    """

    def __init__(self, keys: Sequence[Key], chance: Chance) -> None:
        self.keys = tuple(keys)
        self._chance = chance

    def __repr__(self) -> str:
        return f"Keyring({[key.id for key in self.keys]})"

    @property
    def newest(self) -> Key:
        """The one that seals."""
        return self.keys[0]

    def seal(self, value: Any, *, row: str, connector_id: str) -> tuple[str, bytes]:
        """The key's id, and *value* sealed for that row of that connector alone."""
        inside = msgspec.json.encode(_Box(row, msgspec.Raw(msgspec.json.encode(value))))
        return self.newest.id, self._sealed(inside, connector_id)

    def open(self, sealed: bytes, kind: type[T], *, row: str, connector_id: str, key_id: str) -> T:
        """What was sealed.

        Raises:
            NotOpened: the key is gone, or it belongs elsewhere.
        """
        box = self._box(sealed, row=row, connector_id=connector_id, key_id=key_id)
        return msgspec.json.decode(box.value, type=kind)

    def reseal(self, row: str, connector_id: str, key_id: str, sealed: bytes) -> tuple[str, bytes]:
        """The same, sealed by the newest key. Raises NotOpened."""
        box = self._box(sealed, row=row, connector_id=connector_id, key_id=key_id)
        return self.newest.id, self._sealed(msgspec.json.encode(box), connector_id)

    def _sealed(self, inside: bytes, connector_id: str) -> bytes:
        nonce = self._chance.token_bytes(_NONCE_BYTES)
        return _FORM + nonce + AESGCM(self.newest.secret).encrypt(nonce, inside, connector_id.encode())

    def _box(self, sealed: bytes, *, row: str, connector_id: str, key_id: str) -> _Box:
        key = next((key for key in self.keys if key.id == key_id), None)
        if key is None:
            raise NotOpened(f"what was granted is sealed by the key {key_id}, which is gone")
        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            inside = AESGCM(key.secret).decrypt(nonce, rest, connector_id.encode())
            box = msgspec.json.decode(inside, type=_Box)
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            raise NotOpened("what was granted cannot be opened: it was changed, or is another's") from None
        if sealed[:1] != _FORM or box.row != row:
            raise NotOpened("what was granted cannot be opened: it is another row's")
        return box


class KeyStore:
    """Where the keys are.

    Args:
        state: the state folder.
        environ: of the process.
    """

    def __init__(self, state: Path, *, chance: Chance, environ: Mapping[str, str]) -> None:
        self._file = state / FILE
        self._chance = chance
        folder = environ.get("CREDENTIALS_DIRECTORY", "")
        self._handed = Path(folder) / CREDENTIAL if folder else None
        self._variable = environ.get(VARIABLE, "")
        self._read: tuple[object, Keyring] | None = None

    @property
    def place(self) -> str:
        """Where they come from, for people."""
        if self._is_handed():
            return f"systemd's credential {CREDENTIAL}"
        return VARIABLE if self._variable and not self._file.exists() else str(self._file)

    @property
    def is_ours(self) -> bool:
        """Whether the hub itself keeps and changes them."""
        return self.place == str(self._file)

    async def ring(self) -> Keyring:
        """The keys as they are now; made where there are none yet.

        Raises:
            BadKeys: they cannot be read, or not be made.
        """
        return await anyio.to_thread.run_sync(self.ring_now)

    async def add(self) -> Key:
        """Make another key: from now on it seals. What is sealed stays until it is sealed anew.

        Raises:
            BadKeys: they are not kept in our file, or it cannot be written.
        """
        return await anyio.to_thread.run_sync(self._add)

    async def remove(self, key_id: str) -> None:
        """Forget a key. Whether it is in use is for the caller to know.

        Raises:
            BadKeys: there is none of that id, it is the one that seals, or the file cannot be written.
        """
        await anyio.to_thread.run_sync(self._remove, key_id)

    def ring_now(self) -> Keyring:
        """The same as ``ring``; blocks."""
        try:
            return self._ring()
        except OSError as error:
            raise BadKeys(f"the keys in {self.place} cannot be used: {error.strerror}") from error

    def _ring(self) -> Keyring:
        if self._is_handed():
            assert self._handed is not None
            return self._kept(self._handed)
        if not self._file.exists():
            if self._variable:
                return Keyring(_parse(self._variable, VARIABLE), self._chance)
            self._make()
        if self._file.stat().st_mode & 0o077:
            raise BadKeys(f"{self._file} can be read by others: chmod 600 it")
        return self._kept(self._file)

    def _kept(self, file: Path) -> Keyring:
        at = file.stat()
        mark = (file, at.st_ino, at.st_mtime_ns, at.st_size)
        if self._read is None or self._read[0] != mark:
            self._read = (mark, Keyring(_parse(file.read_text(encoding="ascii"), str(file)), self._chance))
        return self._read[1]

    def _is_handed(self) -> bool:
        return self._handed is not None and self._handed.is_file()

    def _make(self) -> None:
        """Make the file with one key, whole or not at all; of two who try, one does."""
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        with self._written([self._fresh()]) as made, suppress(FileExistsError):
            os.link(made, self._file)

    def _add(self) -> Key:
        with self._changing() as keys:
            key = self._fresh()
            self._replace([key, *keys])
            return key

    def _remove(self, key_id: str) -> None:
        with self._changing() as keys:
            if key_id not in [key.id for key in keys]:
                raise BadKeys(f"there is no key {key_id}")
            if key_id == keys[0].id:
                raise BadKeys(f"{key_id} is the key that seals: 'hub keys rotate' makes another one")
            self._replace([key for key in keys if key.id != key_id])

    @contextmanager
    def _changing(self) -> Iterator[Sequence[Key]]:
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
        with self._written(keys) as made:
            made.replace(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _written(self, keys: Sequence[Key]) -> Iterator[Path]:
        """A file with *keys* on the disk, of another name, which is gone after it."""
        fd, name = tempfile.mkstemp(prefix=".keys.", dir=self._file.parent)  # mode 0600
        try:
            with open(fd, "w", encoding="ascii") as file:
                file.write(_HEAD + "".join(f"{key.id} {_encoded(key.secret)}\n" for key in keys))
                file.flush()
                os.fsync(fd)
            yield Path(name)
        finally:
            with suppress(FileNotFoundError):
                Path(name).unlink()

    def _fresh(self) -> Key:
        return Key(self._chance.token_bytes(_ID_BYTES).hex(), self._chance.token_bytes(KEY_BYTES))


def _parse(text: str, where: str) -> list[Key]:
    keys = []
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        id, _, spelled = line.partition(" ")
        try:
            secret = urlsafe_b64decode(spelled.strip() + "=" * (-len(spelled.strip()) % 4))
        except (NotBase64, ValueError):
            secret = b""
        if len(secret) != KEY_BYTES:
            raise BadKeys(f"{where}, line {number}: no id and {KEY_BYTES} bytes in base64url")
        keys.append(Key(id, secret))
    if not keys:
        raise BadKeys(f"{where}: there is no key in it")
    if len({key.id for key in keys}) < len(keys):
        raise BadKeys(f"{where}: two keys have one id")
    return keys


def _encoded(secret: bytes) -> str:
    return urlsafe_b64encode(secret).rstrip(b"=").decode()
