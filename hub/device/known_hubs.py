"""Trusted hubs of a device: their stored keys, and refusal of a hub with another key.

A file next to the device's database has one hub per line, as known_hosts of SSH has: its dialled address, its
public key, and the file of the device key used only for that hub. A hub that proves another key at a known
address is refused until the owner accepts that key by its fingerprint. Lines of replaced hubs stay above the
newer line; a replaced hub that the owner accepts again gets its former device key.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from websockets.headers import build_host
from websockets.uri import parse_uri

from hub.base.atomic_file import write_atomically
from protocol import keys
from protocol.errors import ErrorCode, HubError
from protocol.handshake import Challenge, challenge_text
from protocol.ids import KeyId

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
        self._write([*(known for known in self.read() if (known.address, known.public_key) != same), hub])

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


def fingerprint(public_key: str) -> str:
    """Return a hub's public key in the form that people compare."""
    return keys.shown(keys.key_id(keys.decode(public_key, keys.PUBLIC_KEY_BYTES)))


SUFFIX: Final = ".hubs"


def dialled(url: str) -> str:
    """Return the address of a request to *url*, as spelled in its ``Host`` header."""
    parts = parse_uri(url)
    return build_host(parts.host, parts.port, parts.secure).lower()
