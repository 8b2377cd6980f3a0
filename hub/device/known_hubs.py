"""Hubs that this device knows, as SSH knows hosts: by the key that each proves at every connection.

A file beside the device's database, one hub a line: its address as it is dialled, its public key, and the
file of the key that this device shows there, the same at no other hub. Whoever proves another key at a known
address is refused, until the owner accepts that key by its fingerprint. Hubs whose place another one took
stay in the file, above it: one that the owner accepts again is shown the key that it knows.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from websockets.headers import build_host
from websockets.uri import parse_uri

from protocol import keys
from protocol.errors import ErrorCode, HubError
from protocol.handshake import Challenge, challenge_text
from protocol.ids import KeyId

SUFFIX: Final = ".hubs"
MOST_BYTES: Final = 1024 * 1024
_HEAD: Final = (
    "# Hubs that this device knows: address, key of the hub, file of this device's key there\n"
    "# Of several lines of one address the last one counts; the others are hubs that were there before.\n"
)


class HubNotTrusted(HubError):
    """The hub does not prove to be the one that this device knows; ``str()`` says what to do."""

    code = ErrorCode.FORBIDDEN


class BadKnownHubs(HubError):
    """The file of known hubs cannot be read or written; ``str()`` says why and where."""

    code = ErrorCode.FORBIDDEN


class KnownHub(msgspec.Struct, frozen=True):
    """A line of the file.

    Attributes:
        address: host, and port unless it is that of the scheme.
        public_key: of the hub, base64url without padding.
        key_file: with the device's key, beside the file of known hubs where relative.
    """

    address: str
    public_key: str
    key_file: str

    @property
    def fingerprint(self) -> str:
        """The hub's key, as people compare it."""
        return fingerprint(self.public_key)


class KnownHubs:
    """The file of known hubs.

    Args:
        file: need not be there yet.
        key_file: of the device's key for the first hub; further hubs get one with a number in its name.
        is_chosen: the owner named *key_file*, so it is shown whatever hub it is.
        accepted: the one key that the hub may prove now, known or not.
    """

    def __init__(
        self, file: Path, key_file: Path, *, is_chosen: bool = False, accepted: KeyId | None = None
    ) -> None:
        self._file = file
        self._is_chosen = is_chosen
        self._key_file = key_file
        self._accepted = accepted
        self._fresh: str | None = None  # a key that no hub knows; it may be made before a hub is met

    def key_file(self, address: str) -> Path:
        """Return the file of the key to show at *address*, before its hub has said anything.

        Raises:
            BadKnownHubs: the file cannot be read.
        """
        known = self.read()
        hub = _at_addresses(known).get(address)
        return self._path(hub.key_file if hub else self._fresh_key_file(known))

    def judge(self, address: str, public_key: str) -> tuple[KnownHub, KnownHub | None]:
        """Return the hub at *address*, which proved *public_key*, and the one that was known there.

        One that was not known yet is to be kept. One that is known from another address, or was here before,
        keeps its key file.

        Raises:
            HubNotTrusted: another key is known, or accepted.
            BadKnownHubs: the file cannot be read.
        """
        known = self.read()
        before = _at_addresses(known).get(address)
        shown, id = fingerprint(public_key), keys.key_id(keys.decode(public_key, keys.PUBLIC_KEY_BYTES))
        if self._accepted is not None and id != self._accepted:
            told = f"the hub at {address} shows the key {shown}, and not {keys.shown(self._accepted)}"
            raise HubNotTrusted(f"{told}, which you accept; nothing was shown to it")
        if before is not None and before.public_key == public_key:
            return before, before
        if before is not None and self._accepted is None:
            raise HubNotTrusted(
                f"the hub at {address} is not the one that this device knows: its key is {shown},"
                f" and was {before.fingerprint}. Somebody may be between the two, or the hub is a new one."
                f" Ask who runs it ('hub status' there shows the key); to accept it: hub connect"
                f" --accept-hub {shown} ..."
            )
        same = next((hub for hub in known if hub.public_key == public_key), None)
        key_file = same.key_file if same else self._fresh_key_file(known)
        return KnownHub(address, public_key, key_file), before

    def keep(self, hub: KnownHub) -> None:
        """Know *hub* from now on, in the place of any other at its address.

        Raises:
            BadKnownHubs: the file cannot be read or written.
        """
        same = (hub.address, hub.public_key)
        self._write([*(one for one in self.read() if (one.address, one.public_key) != same), hub])

    def at_addresses(self) -> dict[str, KnownHub]:
        """Return the hub that is known now at each address.

        Raises:
            BadKnownHubs: the file cannot be read, or a line is none.
        """
        return _at_addresses(self.read())

    def path_of(self, hub: KnownHub) -> Path:
        """Return the file of the key to show at *hub*."""
        return self._path(hub.key_file)

    def read(self) -> list[KnownHub]:
        """Return all lines, in their order; the hub at an address is the last one of it.

        Raises:
            BadKnownHubs: the file cannot be read, or a line is none.
        """
        try:
            with self._file.open("rb") as opened:
                text = opened.read(MOST_BYTES + 1).decode()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise BadKnownHubs(f"cannot read the known hubs in {self._file}: {error}") from error
        if len(text) > MOST_BYTES:
            raise BadKnownHubs(f"{self._file} is longer than {MOST_BYTES} bytes: no list of known hubs")
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
        return [self._parse(number, line) for number, line in lines if line and not line.startswith("#")]

    def _parse(self, number: int, line: str) -> KnownHub:
        try:
            address, public_key, key_file = line.split(maxsplit=2)
            keys.decode(public_key, keys.PUBLIC_KEY_BYTES)
        except ValueError as error:
            told = f"{self._file}, line {number}: expected an address, a hub's key and a file"
            raise BadKnownHubs(f"{told}; correct the line, or remove it to meet that hub anew") from error
        return KnownHub(address, public_key, key_file)

    def _fresh_key_file(self, known: list[KnownHub]) -> str:
        """Name a key file that no known hub has. The first hub gets the one of the version before."""
        taken = {hub.key_file for hub in known}
        if self._fresh is not None and self._fresh not in taken:
            return self._fresh
        if not taken:
            return self._spelled(self._key_file)
        numbered = (
            self._key_file.with_name(f"{self._key_file.stem}.{number}{self._key_file.suffix}")
            for number in range(2, len(taken) + 1000)
        )
        self._fresh = next(
            spelled
            for file in numbered
            if (spelled := self._spelled(file)) not in taken and not file.exists()
        )
        return self._fresh

    def _spelled(self, file: Path) -> str:
        return file.name if file.parent == self._file.parent else str(file.absolute())

    def _path(self, key_file: str) -> Path:
        return self._key_file if self._is_chosen else self._file.parent / key_file

    def _write(self, known: list[KnownHub]) -> None:
        """Replace the file, whole and on the disk."""
        fresh = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        lines = [f"{hub.address} {hub.public_key} {hub.key_file}\n" for hub in known]
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as written:
                written.write("".join([_HEAD, *lines]))
                written.flush()
                os.fsync(handle)
            fresh.replace(self._file)
        except OSError as error:
            raise BadKnownHubs(f"cannot keep the hub's key in {self._file}: {error.strerror}") from error
        finally:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)


def _at_addresses(known: list[KnownHub]) -> dict[str, KnownHub]:
    return {hub.address: hub for hub in known}


def check_proof(challenge: Challenge, *, address: str, nonce: str) -> str:
    """Return the public key that the hub proved in *challenge*, for the *address* dialled and our *nonce*.

    Raises:
        HubNotTrusted: it proved none.
    """
    proof = challenge.proof
    if proof is None:
        raise HubNotTrusted(
            f"the hub at {address} proves no key: it is older than this device, or somebody between removed"
            " it; upgrade the hub first"
        )
    if proof.address != address:
        raise HubNotTrusted(
            f"{address} leads to a hub that was asked for as {proof.address}: somebody between passes"
            " on what belongs to that hub, or a proxy changes the Host header"
        )
    text = challenge_text(challenge, public_key=proof.public_key, address=address, device_nonce=nonce)
    try:
        public = keys.decode(proof.public_key, keys.PUBLIC_KEY_BYTES)
        signature = keys.decode(proof.signature, keys.SIGNATURE_BYTES)
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (ValueError, InvalidSignature) as error:
        raise HubNotTrusted(f"the hub at {address} does not prove the key that it shows") from error
    return proof.public_key


def dialled(url: str) -> str:
    """Return the address that a request to *url* asks for, as its ``Host`` header has it."""
    parts = parse_uri(url)
    return build_host(parts.host, parts.port, parts.secure).lower()


def fingerprint(public_key: str) -> str:
    """Return a hub's public key as people compare it."""
    return keys.shown(keys.key_id(keys.decode(public_key, keys.PUBLIC_KEY_BYTES)))
