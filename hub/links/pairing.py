"""Pairing of devices: codes, their lifetime and number, and invitations.

A device shows its code, and a person types it at the hub: eight symbols of an alphabet without similar
symbols, shown as ``K7QF-2M9X``. A code is valid for ``PAIRING_TTL_S``. The codes are only in memory, by key,
so that a device that reconnects gets the same code; the database has their hashes. After a restart of the
hub, a waiting device gets a new code.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from hub.base.clock import Chance, Clock, IdFactory, now_ms
from hub.base.metrics import Metrics
from hub.base.tokens import hash_token
from hub.links.device_keys import DeviceKey
from hub.links.refusals import HelloRefusal
from protocol.errors import CloseCode, CodedError, ErrorCode
from protocol.handshake import (
    DeviceHello,
)
from protocol.ids import ConnectionId, DeviceId, KeyId, PairingId
from storage.devices import pairings
from storage.devices.keys import KeyOwner
from storage.devices.pairings import BadInvitation, PairingAsk, PairingRequested, TooManyPairings
from storage.store import Store

PAIRING_TTL_S: Final = 600.0  # lifetime of a code
PAIRINGS: Final = 50  # that wait
PAIRINGS_PER_NETWORK: Final = 3
COME_BACK_MS: Final = 2_000  # a person types the code meanwhile, so a longer wait would be annoying
LABEL_CHARACTERS: Final = 64  # limit of device names
_UNFIT: Final = re.compile(r"[^\w.-]+")


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
    ) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._ids = IdFactory(clock, chance)
        self._issued: dict[KeyId, _IssuedCode] = {}
        self._limits_reached = metrics.limits_reached

    async def ask(
        self, key: DeviceKey, hello: DeviceHello, *, network: str, connection_id: ConnectionId
    ) -> HelloRefusal:
        """Record the pairing request of a key. Return the refusal to send until a person decides."""
        at = now_ms(self._clock)
        self._issued = {key_id: issued for key_id, issued in self._issued.items() if issued.expires_at > at}
        known = self._issued.get(key.id)
        code = make_code(self._chance)
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
                expires_at=at + int(PAIRING_TTL_S * 1000),
                most=PAIRINGS,
                most_per_network=PAIRINGS_PER_NETWORK,
            )
        except TooManyPairings as error:
            self._limits_reached.labels(error.limit).inc()
            wait_ms = max(COME_BACK_MS, error.retry_at - at)
            return HelloRefusal(
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
        except (BadInvitation, CodedError) as error:
            hint = getattr(error, "hint", "") or "ask for a new one: hub pair invite"
            raise HelloRefusal(
                error.code, str(error), CloseCode.AUTH_FAILED, party=f"key:{key.id}", hint=hint
            ) from error

    def forget(self, key_id: KeyId) -> None:
        """Forget the code of a key that no longer waits."""
        self._issued.pop(key_id, None)

    def _answer(self, key_id: KeyId, asked: PairingRequested, issued: _IssuedCode) -> HelloRefusal:
        if asked.pairing.decision == "denied":
            self.forget(key_id)
            message = "who runs the hub does not let this device in"
            return HelloRefusal(
                ErrorCode.PAIRING_DENIED, message, CloseCode.PAIRING_REQUIRED, party=f"key:{key_id}"
            )
        # approved in the meantime: the next hello is admitted
        is_approved = asked.pairing.decision is not None
        if not is_approved:
            self._issued[key_id] = issued
        message = "this hub does not know the device's key yet; a person has to type its code there"
        return HelloRefusal(
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


def make_code(chance: Chance) -> str:
    """Return a new code in the displayed form."""
    drawn, symbols = int.from_bytes(chance.token_bytes(_CHANCE_BYTES), "big"), []
    for _ in range(LENGTH):
        drawn, symbol = divmod(drawn, len(ALPHABET))
        symbols.append(ALPHABET[symbol])
    return _shown("".join(symbols))


def read_code(typed: str) -> str:
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
