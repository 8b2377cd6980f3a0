"""The hub's key and token at a gateway, and which gateway addresses are allowed.

Both are in one file of the state folder that only the hub's user can read. A token is sent only to the
gateway that issued it, not to another URL in hub.toml. No secret appears in a ``repr``, a log line or a row.

The address of a gateway, checked by the rules for outbound connections.

The name is resolved, its addresses are checked, and the connection uses a checked address. So a DNS answer
that changes in between has no effect.
"""

import hashlib
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Final
from urllib.parse import quote

import anyio
import anyio.to_thread
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.base.atomic_file import write_atomically
from hub.base.clock import Chance
from hub.base.log import Channel
from hub.base.outbound.addresses import Resolve, parse_target, resolve
from hub.base.outbound.rules import AddressRefused, OutboundRules, is_this_machine
from hub.openclaw.frames import (
    CLIENT_ID,
    CLIENT_MODE,
    PLATFORM,
    ROLE,
    ConnectAuth,
    DeviceProof,
    GatewayChallenge,
)
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.keys import encode

FOLDER: Final = "gateways"  # in the state folder
_SEED_BYTES: Final = 32  # RFC 8032, 5.1.5

log = Channel(__name__)


class _Stored(msgspec.Struct, kw_only=True):
    """Content of the file."""

    private_key: str  # base64url of the seed
    device_token: str | None = None
    token_from: str | None = None  # URL of the issuing gateway

    def __repr__(self) -> str:
        return "_Stored(...)"


class OfferedCredentials(msgspec.Struct, frozen=True):
    """Credentials for the opening of one connection."""

    auth: ConnectAuth | None
    device: DeviceProof | None

    def __repr__(self) -> str:
        return "Shown(...)"


class GatewayCredentials:
    """The hub's credentials for one gateway, best first.

    Args:
        file: file of the key and the device token.
        url: URL of the gateway.
        token: the gateway's token from hub.toml, or None.
        has_device: True to present a key; False for the token only.
    """

    def __init__(self, file: Path, *, url: str, token: str | None, has_device: bool, chance: Chance) -> None:
        self._file = file
        self._url = url
        self._token = token
        self._has_device = has_device
        self._chance = chance
        self._stored: _Stored | None = None
        self._key: Ed25519PrivateKey | None = None
        self._opening = anyio.Lock()  # both connections to a gateway share the file

    def __repr__(self) -> str:
        return f"Identity({self._file.name!r})"

    @property
    def id(self) -> str | None:
        """Device id: SHA-256 of the public key, hex; None before ``open`` and without a device."""
        return None if self._key is None else _device_id(self._key)

    @property
    def device_token(self) -> str | None:
        """Token issued by the gateway at this URL for the hub's key, or None."""
        stored = self._stored
        return stored.device_token if stored is not None and stored.token_from == self._url else None

    @property
    def has_token(self) -> bool:
        """True if hub.toml has a token for this gateway."""
        return self._token is not None

    @property
    def count(self) -> int:
        """Number of different credentials; at least one."""
        return len(self._credentials())

    async def open(self) -> None:
        """Load the key, creating it on first use. It is stored before it is used anywhere.

        Raises:
            CodedError (FORBIDDEN): the file cannot be read or written.
        """
        if not self._has_device:
            return
        async with self._opening:
            if self._key is None:
                self._stored, self._key = await anyio.to_thread.run_sync(self._read)

    def show(self, turn: int, challenge: GatewayChallenge, scopes: list[str]) -> OfferedCredentials:
        """Return the credentials for the attempt number *turn*; attempts cycle through the credentials."""
        auth = self._credentials()[turn % self.count]
        shown = "" if auth is None else auth.token or auth.device_token or ""
        if not self._has_device:
            return OfferedCredentials(auth, None)
        assert self._key is not None, "open() first"
        public = self._key.public_key().public_bytes_raw()
        parts = (
            "v3",
            _device_id(self._key),
            CLIENT_ID,
            CLIENT_MODE,
            ROLE,
            ",".join(scopes),
            str(challenge.ts),
            shown,
            challenge.nonce,
            PLATFORM,
            "",
        )
        proof = DeviceProof(
            id=_device_id(self._key),
            public_key=encode(public),
            signature=encode(self._key.sign("|".join(parts).encode())),
            signed_at=challenge.ts,
            nonce=challenge.nonce,
        )
        return OfferedCredentials(auth, proof)

    async def forget(self, device_token: str | None) -> None:
        """Delete a rejected device token, unless a newer one was stored meanwhile."""
        if device_token is not None and device_token == self.device_token:
            await self._keep(None)

    async def welcomed(self, device_token: str | None) -> None:
        """Store the device token issued by the gateway. A failure is only logged."""
        if device_token is not None and device_token != self.device_token:
            await self._keep(device_token)

    async def _keep(self, device_token: str | None) -> None:
        if self._stored is None:
            return
        self._stored.device_token, self._stored.token_from = device_token, self._url
        try:
            await anyio.to_thread.run_sync(_write, self._file, self._stored)
        except OSError as error:
            log.warning("gateway.token_not_kept", file=self._file.name, reason=error.strerror)

    def scrubbed(self, text: str) -> str:
        """Return a gateway's text with the hub's secrets redacted, because it may repeat them."""
        device_token = None if self._stored is None else self._stored.device_token
        for secret in (self._token, device_token):
            if secret:
                text = text.replace(secret, "[redacted]")
        return text

    def _credentials(self) -> list[ConnectAuth | None]:
        found: list[ConnectAuth | None] = []
        if self._has_device and self.device_token:
            found.append(ConnectAuth(device_token=self.device_token))
        if self._token:
            found.append(ConnectAuth(token=self._token))
        return found or [None]

    def _read(self) -> tuple[_Stored, Ed25519PrivateKey]:
        try:
            stored = msgspec.json.decode(self._file.read_bytes(), type=_Stored)
            seed = urlsafe_b64decode(stored.private_key + "=" * (-len(stored.private_key) % 4))
            key = Ed25519PrivateKey.from_private_bytes(seed)
        except FileNotFoundError:
            key = Ed25519PrivateKey.from_private_bytes(self._chance.token_bytes(_SEED_BYTES))
            stored = _Stored(private_key=encode(key.private_bytes_raw()))
            try:
                _write(self._file, stored)
            except OSError as error:
                message = f"cannot keep the hub's key for this gateway in {self._file}: {error.strerror}"
                raise CodedError(ErrorCode.FORBIDDEN, message) from error
        except OSError as error:
            raise CodedError(ErrorCode.FORBIDDEN, f"cannot read {self._file}: {error.strerror}") from error
        except ValueError as error:  # invalid JSON, base64 or key
            message = (
                f"{self._file} does not hold the hub's key for this gateway; move it away to create a new one"
            )
            raise CodedError(ErrorCode.FORBIDDEN, message) from error
        return stored, key


def identity_file(state_folder: Path, gateway: str) -> Path:
    """Return the file of the hub's key for *gateway*."""
    return state_folder / FOLDER / f"{quote(gateway, safe='')}.json"


def _device_id(key: Ed25519PrivateKey) -> str:
    return hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()


def _write(file: Path, stored: _Stored) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(file, msgspec.json.encode(stored), mode=0o600)


class BadGatewayUrl(HubError):
    """The URL cannot be the address of a gateway."""

    code = ErrorCode.BAD_SETTINGS


class GatewayAddress(msgspec.Struct, frozen=True):
    """A WebSocket address without secrets.

    Attributes:
        url: the URL as configured.
    """

    url: str
    host: str
    port: int
    is_secure: bool

    @classmethod
    def parse(cls, url: str) -> "GatewayAddress":
        """Parse ``ws://`` or ``wss://`` with a host.

        Raises:
            BadAddress: the URL is malformed, or has a user, a query or a fragment.
        """
        try:
            scheme, host, port = parse_target(url)
        except ValueError as error:
            raise BadGatewayUrl(
                "expected a url such as wss://gateway.example or ws://127.0.0.1:18789"
            ) from error
        if scheme not in ("ws", "wss") or "?" in url or "#" in url:
            raise BadGatewayUrl("a gateway's url has no query and no user in it: the token is given apart")
        return cls(url, host, port, scheme == "wss")

    @property
    def where(self) -> str:
        """Host and port, for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_here(self) -> bool:
        """True if the host can only be this machine."""
        return is_this_machine(self.host)

    async def judged(self, rules: OutboundRules, resolve: Resolve = resolve) -> list[str]:
        """Return the allowed addresses, in the resolver's order.

        Raises:
            AddressRefused: no address is allowed; no data was sent.
            OSError: the name cannot be resolved.
        """
        if not (self.is_secure or self.is_here):
            raise AddressRefused(f"ws://{self.where}: a gateway on another machine is called over wss only")
        return rules.judge(self.host, await resolve(self.host, self.port))
