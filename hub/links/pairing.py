"""Pairing of unknown keys by a code or an invitation, and replacement of a connected device's key.

A device shows its code, and a person types it at the hub: eight symbols of an alphabet without similar
symbols, shown as ``K7QF-2M9X``. The codes are only in memory, by key, so that a device that reconnects gets
the same code; the database has their hashes. After a restart of the hub, a waiting device gets a new code.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from hub.clock import Chance, Clock, IdFactory, now_ms
from hub.links.link import DeviceLink
from hub.links.proof import DeviceKey, check_signature, read_key
from hub.links.refusals import Refusal, refuse
from hub.log import Channel
from hub.metrics import Metrics
from hub.tokens import hash_token
from protocol import keys
from protocol.errors import CloseCode, CodedError, ErrorCode
from protocol.handshake import DeviceHello
from protocol.ids import ConnectionId, DeviceId, KeyId, PairingId
from storage.devices import device_keys, pairings
from storage.devices.device_keys import KeyOwner, RotatedTooSoon
from storage.devices.devices import DeviceNameTaken
from storage.devices.pairings import Asked, BadInvitation, PairingAsk, TooManyPairings
from storage.kernel.database import Conflict
from storage.store import Store

COME_BACK_MS: Final = 2_000  # a person types the code meanwhile, so a longer wait would be annoying
LABEL_CHARACTERS: Final = 64  # limit of device names
_UNFIT: Final = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingLimits:
    """Lifetime of a code, and limits on waiting keys: *most* and *most_per_network*."""

    ttl_s: float = 600.0
    most: int = 50
    most_per_network: int = 3


@dataclass(frozen=True, slots=True)
class _IssuedCode:
    """A code issued to a key, and when it expires (epoch milliseconds)."""

    code: str
    expires_at: int


class PairingDesk:
    """Pairing of devices with unknown keys."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        chance: Chance,
        metrics: Metrics,
        limits: PairingLimits | None = None,
    ) -> None:
        self.limits = limits or PairingLimits()
        self._store = store
        self._clock = clock
        self._chance = chance
        self._ids = IdFactory(clock, chance)
        self._issued: dict[KeyId, _IssuedCode] = {}
        self._limits_reached = metrics.limits_reached

    async def ask(
        self, key: DeviceKey, hello: DeviceHello, *, network: str, connection_id: ConnectionId
    ) -> Refusal:
        """Record the pairing request of a key. Return the refusal to send until a person decides."""
        at = now_ms(self._clock)
        self._issued = {key_id: issued for key_id, issued in self._issued.items() if issued.expires_at > at}
        known = self._issued.get(key.id)
        code = make(self._chance)
        asking = PairingAsk(
            id=PairingId(self._ids.fresh()),
            code_hash=hash_code(code),
            known_code_hash=None if known is None else hash_code(known.code),
            key_id=key.id,
            public_key=key.public,
            label=label_of(hello),
            platform=hello.client.platform if hello.client else "",
            network=network,
            connection_id=connection_id,
        )
        try:
            asked = await self._store.write(
                pairings.ask,
                asking,
                at=at,
                expires_at=at + int(self.limits.ttl_s * 1000),
                most=self.limits.most,
                most_per_network=self.limits.most_per_network,
            )
        except TooManyPairings as error:
            self._limits_reached.labels(error.limit).inc()
            wait_ms = max(COME_BACK_MS, error.retry_at - at)
            return refuse(
                error.code,
                str(error),
                CloseCode.TOO_MANY_ATTEMPTS,
                party=f"key:{key.id}",
                retry_after_ms=wait_ms,
            )
        if known is None or asked.is_new_code:
            known = _IssuedCode(code, asked.pairing.expires_at)
        return self._answer(key.id, asked, known)

    async def redeem(self, key: DeviceKey, invitation: str, hello: DeviceHello) -> KeyOwner:
        """Admit the key by an invitation, and return its device.

        Raises:
            Refusal: the invitation is not valid; nothing was written.
        """
        try:
            return await self._store.write(
                pairings.redeem,
                hash_token(invitation),
                key_id=key.id,
                public_key=key.public,
                fresh_id=DeviceId(self._ids.fresh()),
                label=label_of(hello),
                at=now_ms(self._clock),
            )
        except (BadInvitation, DeviceNameTaken) as error:
            hint = "ask for a new one: hub pair invite"
            raise refuse(
                error.code, str(error), CloseCode.AUTH_FAILED, party=f"key:{key.id}", hint=hint
            ) from error

    def forget(self, key_id: KeyId) -> None:
        """Forget the code of a key that no longer waits."""
        self._issued.pop(key_id, None)

    def _answer(self, key_id: KeyId, asked: Asked, issued: _IssuedCode) -> Refusal:
        if asked.pairing.decision == "denied":
            self.forget(key_id)
            message = "who runs the hub does not let this device in"
            return refuse(
                ErrorCode.PAIRING_DENIED, message, CloseCode.PAIRING_REQUIRED, party=f"key:{key_id}"
            )
        # approved in the meantime: the next hello is admitted
        is_approved = asked.pairing.decision is not None
        if not is_approved:
            self._issued[key_id] = issued
        message = "this hub does not know the device's key yet; a person has to type its code there"
        return refuse(
            ErrorCode.PAIRING_REQUIRED,
            message,
            CloseCode.PAIRING_REQUIRED,
            is_failure=False,
            pairing_code=None if is_approved else issued.code,
            retry_after_ms=COME_BACK_MS,
            hint=None if is_approved else f"at the hub: hub pair approve {issued.code}",
        )


def label_of(hello: DeviceHello) -> str:
    """Return the device's own name in the form of a device name; ``device`` if nothing is left."""
    label = _UNFIT.sub("-", hello.device_id or "").strip("-.")[:LABEL_CHARACTERS]
    return label or "device"


ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # without 0 O, 1 I L, and U, which is read as V
LENGTH: Final = 8  # 39 bits: enough for a lifetime of ten minutes and few guesses
_CHANCE_BYTES: Final = 16  # far more than 39 bits, so that all symbols are practically equally likely


class BadCode(ValueError):
    """The typed text cannot be a code; ``str()`` gives the reason."""


def make(chance: Chance) -> str:
    """Return a new code in the displayed form."""
    drawn, symbols = int.from_bytes(chance.token_bytes(_CHANCE_BYTES), "big"), []
    for _ in range(LENGTH):
        drawn, symbol = divmod(drawn, len(ALPHABET))
        symbols.append(ALPHABET[symbol])
    return _shown("".join(symbols))


def read(typed: str) -> str:
    """Return the typed code in the displayed form; case, dash and spaces are ignored.

    Raises:
        BadCode: the text is not a code.
    """
    symbols = "".join(typed.split()).replace("-", "").upper()
    if strange := sorted(set(symbols) - set(ALPHABET)):
        raise BadCode(f"a code never has {strange[0]!r} in it; look at it again")
    if len(symbols) != LENGTH:
        raise BadCode(f"a code has {LENGTH} letters and digits, as in K7QF-2M9X; this has {len(symbols)}")
    return _shown(symbols)


def hash_code(code: str) -> bytes:
    """Return the stored hash of a code in the displayed form."""
    return hashlib.sha256(code.encode()).digest()


def _shown(symbols: str) -> str:
    half = LENGTH // 2
    return f"{symbols[:half]}-{symbols[half:]}"


log = Channel(__name__)

WAIT_S: Final = 60.0  # between two key replacements of a device

_KEY = "key:"


class KeyRotation:
    """Checks that the old key signed the new one, and that the device holds the new key."""

    def __init__(
        self, store: Store, *, hub_id: str, clock: Clock, metrics: Metrics, wait_s: float = WAIT_S
    ) -> None:
        """Set up the rotation.

        Args:
            wait_s: minimum seconds between two key replacements of a device.
        """
        self.wait_s = wait_s
        self._limits_reached = metrics.limits_reached
        self._store = store
        self._hub_id = hub_id
        self._clock = clock

    async def rotate(self, link: DeviceLink, *, public_key: str, signature: str, proof: str) -> KeyId:
        """Replace the device's key. The old key is no longer valid; this connection stays open.

        Args:
            public_key: the new key in wire format.
            signature, proof: signatures over ``protocol.keys.rotation_text``, by the old and the new key.

        Raises:
            CodedError (FORBIDDEN, BAD_PARAMS): it has no key, or the new one is in use; nothing was written.
            BadProof: the new key or a signature is invalid; nothing was written.
            KeyRevoked: the old key was revoked meanwhile; nothing was written.
            RotatedTooSoon: the last replacement was too recent, as every key stays registered; nothing was
                written.
        """
        if not link.credential.startswith(_KEY):
            raise CodedError(
                ErrorCode.FORBIDDEN, "this connection was opened by a token, so there is no key to replace"
            )
        old_id, new = KeyId(link.credential.removeprefix(_KEY)), read_key(public_key)
        old = next(
            key
            for key in await self._store.read(device_keys.list_keys, device_id=link.device_id)
            if key.id == old_id
        )
        text = keys.rotation_text(self._hub_id, link.device_id, old_key=old.public_key, new_key=new.public)
        check_signature(old.public_key, signature, text)
        check_signature(new.public, proof, text)
        try:
            await self._store.write(
                device_keys.rotate_key,
                link.device_id,
                old=old_id,
                new=new.id,
                public_key=new.public,
                at=now_ms(self._clock),
                wait_ms=int(self.wait_s * 1000),
            )
        except RotatedTooSoon:
            self._limits_reached.labels("key_rotation_wait_s").inc()
            raise
        except Conflict as error:
            raise CodedError(
                ErrorCode.BAD_PARAMS, "the new key is on record already; make another one"
            ) from error
        link.credential = f"{_KEY}{new.id}"
        log.info("device.key_rotated", device_id=link.device_id)
        return new.id
